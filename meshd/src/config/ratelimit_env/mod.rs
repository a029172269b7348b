//! The layer of envoyproxy/ratelimit's environment variables, so that meshd can be started in its place.
//!
//! They are read when that is asked for, or when one is there that nobody else uses. They rank above the
//! service file and below `HIVEMIND_` variables. What they mean is from its `src/settings/settings.go`.

mod combined;
mod reading;
mod table;
mod variables;

use std::ffi::OsString;

use hivemind_shared::yaml::Problem;

use self::reading::boolean;
use self::table::{COMBINED, EQUALS, Equal, WITHOUT_EQUAL, is_unmistakable};
use self::variables::Variables;
use super::environment::EnvironmentLayer;
use super::origin::Origin;
use super::schema;
use super::setting::Value;

/// The variable that says whether the others are read.
pub(super) const SWITCH: &str = "HIVEMIND_RATELIMIT_ENV";

/// What envoyproxy/ratelimit's variables set, and what is wrong or without effect among them. `wanted`
/// is what the flag says, which wins over [`SWITCH`].
pub(super) fn read(environment: &[(OsString, OsString)], wanted: Option<bool>) -> EnvironmentLayer {
    let variables = Variables::of(environment);
    let mut layer = EnvironmentLayer::default();
    if is_wanted(&variables, wanted, &mut layer) {
        refuse_unreadable(&variables, &mut layer);
        read_equals(&variables, &mut layer);
        read_combined(&variables, &mut layer);
        name_those_without_effect(&variables, &mut layer);
    }
    layer
}

/// Whether the variables are to be read at all.
fn is_wanted(
    variables: &Variables<'_>,
    wanted: Option<bool>,
    layer: &mut EnvironmentLayer,
) -> bool {
    if let Some(wanted) = wanted {
        return wanted;
    }
    if variables.unreadable.contains(&SWITCH) {
        let problem = Problem::with_file(SWITCH, "the value is not UTF-8");
        layer.problems.push(problem);
        return false;
    }
    if let Some(text) = variables.get(SWITCH) {
        return boolean(text).unwrap_or_else(|| {
            let message = format!("expected true or false, not {text:?}");
            layer.problems.push(Problem::with_file(SWITCH, message));
            false
        });
    }
    let sign = variables
        .iter()
        .find(|(name, value)| is_unmistakable(name, value));
    if let Some((sign, _)) = sign {
        layer.warnings.push(format!(
            "{sign} is set, so the environment variables of envoyproxy/ratelimit are read: \
             {SWITCH}=true says that this is meant, {SWITCH}=false that it is not"
        ));
    }
    sign.is_some()
}

/// Values of known variables that cannot be read.
fn refuse_unreadable(variables: &Variables<'_>, layer: &mut EnvironmentLayer) {
    let known = variables.unreadable.iter().filter(|name| has_equal(name));
    let problems = known.map(|name| Problem::with_file(*name, "the value is not UTF-8"));
    layer.problems.extend(problems);
}

/// Variables that are one of our keys each.
fn read_equals(variables: &Variables<'_>, layer: &mut EnvironmentLayer) {
    for equal in &EQUALS {
        let Equal { variable, key, .. } = *equal;
        let Some(text) = variables.get(variable) else {
            continue;
        };
        if let Some(switch) = switched_off(equal, variables) {
            let message = format!("{variable} has no effect: {switch} is not true");
            layer.warnings.push(message);
            continue;
        }
        match equal.reading.read(text) {
            Ok(value) => assign(layer, key, value, variable.to_owned()),
            Err(expected) => layer
                .problems
                .push(Problem::with_file(variable, format!("{key}: {expected}"))),
        }
    }
}

/// The variable that would have to be true for `equal` to mean anything, if it is not.
fn switched_off(equal: &Equal, variables: &Variables<'_>) -> Option<&'static str> {
    let switch = equal.only_with?;
    let is_on = variables.get(switch).and_then(boolean).unwrap_or(false);
    (!is_on).then_some(switch)
}

/// Variables several of which make one of our keys.
fn read_combined(variables: &Variables<'_>, layer: &mut EnvironmentLayer) {
    let (made, wrong) = combined::all(variables);
    for made in made {
        assign(layer, made.key, made.value, made.variables.join(", "));
    }
    for default in combined::defaults(variables) {
        let origin = Origin::Environment(default.variables.join(", "));
        // A test holds that the keys exist.
        let key = schema::key(default.key);
        let default = key.map(|key| (key, Value::Text(default.value), origin));
        layer.defaults.extend(default);
    }
    let problems = wrong
        .into_iter()
        .map(|wrong| Problem::with_file(wrong.variable, wrong.message));
    layer.problems.extend(problems);
}

fn assign(layer: &mut EnvironmentLayer, path: &str, value: String, origin: String) {
    // A test holds that every key of the tables exists.
    if let Some(key) = schema::key(path) {
        let origin = Origin::Environment(origin);
        layer.assignments.push((key, Value::Text(value), origin));
    }
}

/// Says of every group without an equal what there is of it: the names alone, values may be secret.
fn name_those_without_effect(variables: &Variables<'_>, layer: &mut EnvironmentLayer) {
    let mut named: [Vec<&str>; WITHOUT_EQUAL.len()] = Default::default();
    for (name, _) in variables.iter() {
        if has_equal(name) {
            continue;
        }
        let group = WITHOUT_EQUAL.iter().position(|group| group.holds(name));
        if let Some(names) = group.and_then(|group| named.get_mut(group)) {
            names.push(name);
        }
    }
    for (group, names) in WITHOUT_EQUAL.iter().zip(named) {
        let verb = match names.len() {
            0 => continue,
            1 => "has",
            _ => "have",
        };
        let names = names.join(", ");
        layer
            .warnings
            .push(format!("{names} {verb} no effect: {}", group.reason));
    }
}

fn has_equal(variable: &str) -> bool {
    EQUALS.iter().any(|equal| equal.variable == variable)
        || COMBINED.iter().any(|(name, _)| *name == variable)
}

#[cfg(test)]
mod tests;
