//! What the service tells its caller to note about a request as dynamic metadata: what was asked, which
//! rules there were for it and which of them refused it, and what the rules that passed carry along.

use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use hivemind_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use hivemind_shared::decision::{Code, Decision};
use hivemind_shared::rules::RuleId;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// The metadata of an answer. Everything in it is as large as the request and the rules make it.
pub(super) fn describe(request: &RateLimitRequest, decision: &Decision) -> Struct {
    let mut all = Struct::default();
    put(&mut all, "domain", text(&request.domain));
    let descriptors = request.descriptors.iter().zip(&decision.statuses);
    let descriptors = descriptors.map(|(descriptor, status)| {
        let mut fields = Struct::default();
        let entries = descriptor.entries.iter();
        let entries = entries.map(|entry| {
            let [key, value] = [&entry.key, &entry.value].map(|it| String::from_utf8_lossy(it));
            text(&format!("{key}={value}"))
        });
        put(&mut fields, "entries", list(entries.collect()));
        if let Some(limit) = &descriptor.limit {
            put(&mut fields, "limit", text(&text_form(limit)));
        }
        if let Some(addend) = descriptor.hits_addend {
            put(&mut fields, "hitsAddend", count(addend));
        }
        if let Some(rule) = status.rule {
            let over = status.code == Code::OverLimit;
            let code = if over { "OVER_LIMIT" } else { "OK" };
            put(&mut fields, "code", text(code));
            put(&mut fields, "rule", described_rule(decision, rule));
        }
        structure(fields)
    });
    put(&mut all, "descriptors", list(descriptors.collect()));
    if request.hits_addend != 0 {
        put(&mut all, "hitsAddend", count(request.hits_addend.into()));
    }
    if let Some(rule) = decision.fired() {
        put(&mut all, "fired", described_rule(decision, rule));
    }
    let merged = merged_metadata(decision);
    if !merged.is_empty() {
        put(&mut all, "metadata", value_of(&merged.into()));
    }
    all
}

/// A request's own limit in the text form of protobuf, which leaves out what is 0.
fn text_form(limit: &RateLimitOverride) -> String {
    let number = Some(limit.requests_per_unit).filter(|number| *number > 0);
    let number = number.map(|number| format!("requests_per_unit:{number}"));
    let unit = Unit::try_from(limit.unit).unwrap_or(Unit::Unknown);
    let unit = (unit != Unit::Unknown).then(|| format!("unit:{}", unit.as_str_name()));
    let multiplier = limit.unit_multiplier.map(|multiplier| match multiplier {
        0 => "unit_multiplier:{}".to_owned(),
        _ => format!("unit_multiplier:{{value:{multiplier}}}"),
    });
    let parts: Vec<String> = [number, unit, multiplier].into_iter().flatten().collect();
    parts.join(" ")
}

fn described_rule(decision: &Decision, id: RuleId) -> Value {
    let mut fields = Struct::default();
    if let Some(rules) = decision.rules() {
        put(&mut fields, "path", text(&rules.path(id).to_string()));
        if let Some(rule) = rules.rule(id).filter(|rule| !rule.name.is_empty()) {
            put(&mut fields, "name", text(&rule.name));
        }
    }
    structure(fields)
}

type Object = serde_json::Map<String, serde_json::Value>;

/// What the rules that let the request pass carry along, merged: the first one has its say.
fn merged_metadata(decision: &Decision) -> Object {
    let mut merged = Object::new();
    for status in &decision.statuses {
        if status.code == Code::Ok
            && status.limit.is_some()
            && let Some(rules) = decision.rules()
            && let Some(rule) = status.rule.and_then(|id| rules.rule(id))
            && let Some(metadata) = &rule.metadata
            // It was made from a mapping, so it is one.
            && let Ok(metadata) = serde_json::from_str::<Object>(metadata)
        {
            merge(&mut merged, metadata);
        }
    }
    merged
}

/// Adds what is not there yet, also within mappings that both have.
fn merge(into: &mut Object, from: Object) {
    use serde_json::map::Entry;
    for (key, value) in from {
        match into.entry(key) {
            Entry::Vacant(place) => {
                place.insert(value);
            }
            Entry::Occupied(mut there) => {
                if let (serde_json::Value::Object(there), serde_json::Value::Object(value)) =
                    (there.get_mut(), value)
                {
                    merge(there, value);
                }
            }
        }
    }
}

fn value_of(json: &serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(values) => {
            return list(values.iter().map(value_of).collect());
        }
        serde_json::Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .iter()
                .map(|(key, value)| (key.clone(), value_of(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// Metadata in the JSON form of protobuf.
pub(super) fn json(fields: &Struct) -> serde_json::Value {
    let fields = fields.fields.iter();
    fields
        .map(|(key, value)| (key.clone(), json_of(value)))
        .collect::<Object>()
        .into()
}

fn json_of(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(number)) => number_of(*number),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json_of).collect(),
        Some(Kind::StructValue(fields)) => json(fields),
    }
}

/// A number, without a fraction where it has none: `2`, not `2.0`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "of whole numbers that a double holds exactly, as is checked"
)]
fn number_of(number: f64) -> serde_json::Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        return (number as i64).into();
    }
    number.into()
}

fn put(fields: &mut Struct, name: &str, value: Value) {
    fields.fields.insert(name.to_owned(), value);
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "numbers in metadata are floating point; beyond 2^53 the last digits go"
)]
fn count(number: u64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(number as f64)),
    }
}

fn list(values: Vec<Value>) -> Value {
    Value {
        kind: Some(Kind::ListValue(ListValue { values })),
    }
}

fn structure(fields: Struct) -> Value {
    Value {
        kind: Some(Kind::StructValue(fields)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_have_no_fraction_in_json() {
        let shown = [2.0, -3.0, 0.5, 1e300].map(|number| number_of(number).to_string());
        assert_eq!(shown, ["2", "-3", "0.5", "1e+300"]);
    }

    #[test]
    fn a_limit_of_the_request_leaves_out_what_is_zero() {
        let hour = Unit::Hour.into();
        for (requests_per_unit, unit, unit_multiplier, text) in [
            (4, hour, None, "requests_per_unit:4 unit:HOUR"),
            (0, hour, None, "unit:HOUR"),
            (4, 0, None, "requests_per_unit:4"),
            (4, 77, None, "requests_per_unit:4"),
            (0, hour, Some(2), "unit:HOUR unit_multiplier:{value:2}"),
            (0, hour, Some(0), "unit:HOUR unit_multiplier:{}"),
        ] {
            let limit = RateLimitOverride {
                requests_per_unit,
                unit,
                unit_multiplier,
            };
            assert_eq!(text_form(&limit), text);
        }
    }

    #[test]
    fn the_first_has_its_say_and_mappings_are_merged() {
        let object = |value: serde_json::Value| value.as_object().unwrap().clone();
        let mut merged = object(json!({"a": 1, "b": {"c": 2}, "e": [1]}));
        merge(
            &mut merged,
            object(json!({"a": {"x": 1}, "b": {"c": 3, "d": 4}, "e": [2], "f": null})),
        );
        let expected = json!({"a": 1, "b": {"c": 2, "d": 4}, "e": [1], "f": null});
        assert_eq!(serde_json::Value::Object(merged), expected);
    }
}
