//! The environment layer: variables that begin with `HIVEMIND_`.

use std::ffi::OsString;

use hivemind_shared::yaml::{Problem, closest};

use super::origin::Origin;
use super::ratelimit_env;
use super::schema::{KEYS, Key};
use super::setting::Value;

/// What every variable of ours begins with.
const PREFIX: &str = "HIVEMIND_";

/// Variables with the prefix that are no keys: the tests and the demo look for Envoy in the first, the
/// second says whether a layer below is read.
const OTHERS: [&str; 2] = ["HIVEMIND_ENVOY", ratelimit_env::SWITCH];

/// What the environment sets, and what is wrong or odd about it.
#[derive(Debug, Default)]
pub(super) struct EnvironmentLayer {
    pub(super) assignments: Vec<(&'static Key, Value, Origin)>,
    /// What holds where no layer says anything else.
    pub(super) defaults: Vec<(&'static Key, Value, Origin)>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// Sorts the variables of a process into settings, problems and warnings.
///
/// A variable nobody knows is only a warning: Kubernetes adds `HIVEMIND_PORT` and its like by itself
/// once there is a service named `hivemind`.
pub(super) fn read(variables: &[(OsString, OsString)]) -> EnvironmentLayer {
    let mut layer = EnvironmentLayer::default();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if OTHERS.contains(&name) {
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
            layer.warnings.push(unknown(name));
            continue;
        };
        let origin = Origin::Environment(name.to_owned());
        match value.to_str() {
            Some(text) => layer
                .assignments
                .push((key, Value::Text(text.to_owned()), origin)),
            None => layer
                .problems
                .push(Problem::with_file(name, "the value is not UTF-8")),
        }
    }
    // The order of an environment is arbitrary; that of messages should not be.
    layer.warnings.sort();
    layer
}

/// The warning about a variable no key answers to.
fn unknown(name: &str) -> String {
    let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
    let known = variables.iter().map(String::as_str);
    match closest(name, known) {
        Some(similar) => {
            format!("environment variable {name} is not known, did you mean {similar}?")
        }
        None => format!("environment variable {name} is not known and has no effect"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect()
    }

    #[test]
    fn only_our_own_prefix_is_looked_at() {
        let layer = read(&variables(&[
            ("PATH", "/bin"),
            ("HIVEMIND_ENVOY", "/usr/bin/envoy"),
            ("HIVEMIND_REGION_MAX_KEYS", "7"),
        ]));
        let keys: Vec<String> = layer
            .assignments
            .iter()
            .map(|(key, _, _)| key.path())
            .collect();
        assert_eq!(keys, ["region.max_keys"]);
        assert!(layer.warnings.is_empty());
    }

    #[test]
    fn an_unknown_variable_is_a_warning_that_names_a_similar_one() {
        let layer = read(&variables(&[
            ("HIVEMIND_REGION_MAXKEYS", "7"),
            ("HIVEMIND_SERVICE_HOST", "10.0.0.1"),
        ]));
        assert!(layer.assignments.is_empty() && layer.problems.is_empty());
        assert_eq!(layer.warnings.len(), 2);
        assert!(
            layer.warnings[0].contains("HIVEMIND_REGION_MAX_KEYS?"),
            "{:?}",
            layer.warnings
        );
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_a_problem() {
        use std::os::unix::ffi::OsStringExt;

        let value = OsString::from_vec(vec![0xff]);
        let layer = read(&[(OsString::from("HIVEMIND_NODE_NAME"), value)]);
        assert_eq!(layer.problems.len(), 1);
    }
}
