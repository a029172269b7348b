//! From the resources of a management server to rules, through the checks of rule files.

use hivemind_proto::ratelimit::config::ratelimit::v3::{
    RateLimitConfig, RateLimitDescriptor, RateLimitPolicy, RateLimitUnit,
};
use hivemind_shared::rules::{DESCRIPTORS_MAX, source};
use hivemind_shared::yaml::{Document, Node, Problem, Problems, Source, printable};
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};
use tonic_prost::prost::Message;

use super::session::TYPE_URL;

/// The resources of a response, decoded and by name: servers send them in any order.
///
/// # Errors
///
/// Every resource that is not what was asked for, or too much altogether.
pub(super) fn decode(resources: &[Any]) -> Result<Vec<RateLimitConfig>, Problems> {
    let mut problems = Problems::default();
    let mut configs = Vec::with_capacity(resources.len());
    for (position, resource) in (1..).zip(resources) {
        let name = format!("xds resource {position}");
        if resource.type_url != TYPE_URL {
            let message = format!(
                "a resource of type {}, where rules were asked for",
                printable(&resource.type_url)
            );
            problems.push(Problem::with_file(name, message));
            continue;
        }
        match RateLimitConfig::decode(&*resource.value) {
            Ok(config) => configs.push(config),
            Err(error) => problems.push(Problem::with_file(name, error.to_string())),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let descriptors: usize = configs
        .iter()
        .map(|config| count(&config.descriptors))
        .sum();
    if descriptors > DESCRIPTORS_MAX {
        let message =
            format!("{descriptors} descriptors, more than the {DESCRIPTORS_MAX} there may be");
        return Err(Problem::with_file("xds", message).into());
    }
    configs.sort_by(|one, other| (&one.name, &one.domain).cmp(&(&other.name, &other.domain)));
    Ok(configs)
}

/// Checks and compiles the rules.
///
/// # Errors
///
/// Every problem, by resource and descriptor.
pub(super) fn compile(
    configs: &[RateLimitConfig],
    options: &source::Options,
) -> Result<source::Loaded, Problems> {
    let documents: Vec<(Source, Document)> = configs
        .iter()
        .map(|config| (Source::new(name(config), ""), document(config)))
        .collect();
    source::from_documents(&documents, options)
}

/// A resource as problems and the admin port name it.
pub(super) fn name(config: &RateLimitConfig) -> String {
    let name = if config.name.is_empty() {
        &config.domain
    } else {
        &config.name
    };
    format!("xds:{}", printable(name))
}

/// Descriptors on this level and below. The decoder has bounded the depth.
fn count(descriptors: &[RateLimitDescriptor]) -> usize {
    let below = |descriptor: &RateLimitDescriptor| count(&descriptor.descriptors);
    descriptors.len() + descriptors.iter().map(below).sum::<usize>()
}

/// A resource in the form of a rule file.
fn document(config: &RateLimitConfig) -> Document {
    Document::of_root(Node::of_mapping([
        ("domain", Node::of_text(&*config.domain)),
        ("descriptors", descriptors(&config.descriptors)),
    ]))
}

fn descriptors(list: &[RateLimitDescriptor]) -> Node {
    Node::of_list(list.iter().map(descriptor).collect())
}

fn descriptor(descriptor: &RateLimitDescriptor) -> Node {
    let mut pairs = Fields::default();
    pairs.text("key", &descriptor.key);
    pairs.text("value", &descriptor.value);
    if let Some(limit) = &descriptor.rate_limit {
        pairs.0.push(("rate_limit", policy(limit)));
    }
    if !descriptor.descriptors.is_empty() {
        pairs
            .0
            .push(("descriptors", descriptors(&descriptor.descriptors)));
    }
    pairs.flag("shadow_mode", descriptor.shadow_mode);
    pairs.flag("detailed_metric", descriptor.detailed_metric);
    pairs.flag("quota_mode", descriptor.quota_mode);
    if let Some(metadata) = &descriptor.metadata {
        pairs.0.push(("metadata", mapping(metadata)));
    }
    pairs.into_node()
}

fn policy(policy: &RateLimitPolicy) -> Node {
    let mut pairs = Fields::default();
    match RateLimitUnit::try_from(policy.unit) {
        // In a message, nothing said and `UNKNOWN` are the same.
        Ok(RateLimitUnit::Unknown) if policy.unlimited => {}
        Ok(unit) => pairs.text("unit", unit.as_str_name()),
        Err(_) => pairs.text("unit", &policy.unit.to_string()),
    }
    let number = policy.requests_per_unit.to_string();
    pairs.0.push(("requests_per_unit", Node::of_plain(number)));
    pairs.flag("unlimited", policy.unlimited);
    pairs.text("name", &policy.name);
    if !policy.replaces.is_empty() {
        let names = policy
            .replaces
            .iter()
            .map(|replaced| Node::of_mapping([("name", Node::of_text(&*replaced.name))]));
        pairs.0.push(("replaces", Node::of_list(names.collect())));
    }
    pairs.into_node()
}

/// The fields of a message; what has its default is not said, as in a file.
#[derive(Default)]
struct Fields(Vec<(&'static str, Node)>);

impl Fields {
    fn text(&mut self, key: &'static str, text: &str) {
        if !text.is_empty() {
            self.0.push((key, Node::of_text(text)));
        }
    }

    fn flag(&mut self, key: &'static str, is_set: bool) {
        if is_set {
            self.0.push((key, Node::of_plain("true")));
        }
    }

    fn into_node(self) -> Node {
        Node::of_mapping(self.0)
    }
}

fn mapping(fields: &Struct) -> Node {
    let pairs = fields.fields.iter();
    Node::of_mapping(pairs.map(|(key, field)| (key.as_str(), value(field))))
}

fn value(value: &Value) -> Node {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Node::of_plain("null"),
        Some(Kind::NumberValue(number)) => number_node(*number),
        Some(Kind::StringValue(text)) => Node::of_text(&**text),
        Some(Kind::BoolValue(flag)) => Node::of_plain(flag.to_string()),
        Some(Kind::StructValue(fields)) => mapping(fields),
        Some(Kind::ListValue(list)) => Node::of_list(list.values.iter().map(self::value).collect()),
    }
}

/// A number as YAML writes it.
fn number_node(number: f64) -> Node {
    Node::of_plain(if number.is_nan() {
        ".nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { ".inf" } else { "-.inf" }.to_owned()
    } else {
        number.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules_source::RulesHash;
    use hivemind_proto::ratelimit::config::ratelimit::v3::RateLimitReplace;
    use hivemind_shared::rules::{Rule, RuleLimit};
    use hivemind_shared::window::Unit;

    fn limited(key: &str, value: &str, unit: i32) -> RateLimitDescriptor {
        RateLimitDescriptor {
            key: key.to_owned(),
            value: value.to_owned(),
            rate_limit: Some(RateLimitPolicy {
                unit,
                requests_per_unit: 5,
                ..RateLimitPolicy::default()
            }),
            ..RateLimitDescriptor::default()
        }
    }

    fn config(name: &str, domain: &str, descriptors: Vec<RateLimitDescriptor>) -> RateLimitConfig {
        RateLimitConfig {
            name: name.to_owned(),
            domain: domain.to_owned(),
            descriptors,
        }
    }

    fn any(config: &RateLimitConfig) -> Any {
        Any {
            type_url: TYPE_URL.to_owned(),
            value: config.encode_to_vec(),
        }
    }

    fn rules(configs: &[RateLimitConfig]) -> Vec<(String, Rule)> {
        let loaded = compile(configs, &source::Options::default())
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        let rules = loaded.rules.rules();
        rules
            .map(|(id, rule)| (loaded.rules.path(id).to_string(), rule.clone()))
            .collect()
    }

    #[test]
    fn every_field_of_a_message_reaches_the_rule() {
        let number = |number| Value {
            kind: Some(Kind::NumberValue(number)),
        };
        let metadata = Struct {
            fields: [
                (
                    "team".to_owned(),
                    Value {
                        kind: Some(Kind::StringValue("007".to_owned())),
                    },
                ),
                ("cost".to_owned(), number(2.5)),
                ("size".to_owned(), number(1e21)),
            ]
            .into(),
        };
        let mut leaf = limited("path", "/api/*", RateLimitUnit::Week.into());
        leaf.shadow_mode = true;
        leaf.quota_mode = true;
        leaf.detailed_metric = true;
        leaf.metadata = Some(metadata);
        let limit = leaf.rate_limit.as_mut().unwrap();
        limit.name = "api".to_owned();
        limit.replaces = vec![RateLimitReplace {
            name: "free".to_owned(),
        }];
        let mut free = limited("free", "", 0);
        free.rate_limit = Some(RateLimitPolicy {
            unlimited: true,
            name: "free".to_owned(),
            ..RateLimitPolicy::default()
        });
        let top = RateLimitDescriptor {
            key: "tenant".to_owned(),
            descriptors: vec![leaf],
            ..RateLimitDescriptor::default()
        };
        let rules = rules(&[config("one", "edge", vec![top, free])]);
        let (path, rule) = &rules[0];
        assert_eq!(path, "edge.tenant.path_/api/*");
        let limit = RuleLimit::Limited {
            requests_per_unit: 5,
            period: Unit::Week.into(),
        };
        assert_eq!(rule.limit, limit);
        assert_eq!((&*rule.name, &*rule.replaces[0]), ("api", "free"));
        assert!(rule.shadow_mode && rule.quota_mode && rule.detailed_metric);
        let metadata: serde_json::Value =
            serde_json::from_str(rule.metadata.as_deref().unwrap()).unwrap();
        assert_eq!(
            metadata,
            serde_json::json!({"team": "007", "cost": 2.5, "size": 1e21})
        );
        assert_eq!(rule.origin.to_string(), "xds:one");
        assert_eq!(rules[1].1.limit, RuleLimit::Unlimited);
    }

    #[test]
    fn the_same_rules_have_the_same_hash_wherever_they_come_from() {
        let mut leaf = limited("path", "/api/*", RateLimitUnit::Week.into());
        leaf.shadow_mode = true;
        let fields = [("team", "edge"), ("cost", "high")].map(|(key, text)| {
            let kind = Some(Kind::StringValue(text.to_owned()));
            (key.to_owned(), Value { kind })
        });
        leaf.metadata = Some(Struct {
            fields: fields.into(),
        });
        let minute = RateLimitUnit::Minute.into();
        let sent = [
            config("1", "mail", vec![limited("sender", "", minute)]),
            config("2", "edge", vec![leaf, limited("user", "", minute)]),
        ];
        let edge = "
domain: edge
descriptors:
  - key: path
    value: /api/*
    shadow_mode: true
    metadata: {team: edge, cost: high}
    rate_limit: {unit: week, requests_per_unit: 5}
  - key: user
    rate_limit: {unit: minute, requests_per_unit: 5}
";
        let mail = "
domain: mail
descriptors: [{key: sender, rate_limit: {unit: minute, requests_per_unit: 5}}]
";
        let options = source::Options::default();
        let files = [Source::new("a.yaml", edge), Source::new("b.yaml", mail)];
        let of_files = source::parse(&files, &options).unwrap().rules;
        let of_server = compile(&sent, &options).unwrap().rules;
        assert_eq!(RulesHash::of(&of_server), RulesHash::of(&of_files));
    }

    #[test]
    fn problems_name_the_resource_and_the_descriptor() {
        let configs = [
            config(
                "one",
                "edge",
                vec![limited("user", "", 0), limited("plan", "", 99)],
            ),
            config("two", "", Vec::new()),
        ];
        let problems = compile(&configs, &source::Options::default()).unwrap_err();
        let text = problems.to_string();
        for expected in [
            "xds:one: edge.user: invalid rate limit unit 'UNKNOWN'\n",
            "xds:one: edge.plan: invalid rate limit unit '99'\n",
            "xds:two: config file cannot have empty domain\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }

    #[test]
    fn resources_are_taken_by_name_whatever_their_order() {
        let (one, two) = (
            config("one", "a", Vec::new()),
            config("two", "b", Vec::new()),
        );
        let decoded = decode(&[any(&two), any(&one)]).unwrap();
        assert_eq!(decoded, [one, two]);
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn resources_that_are_no_rules_are_problems_each() {
        let mut other = any(&config("one", "a", Vec::new()));
        other.type_url = "type.googleapis.com/x.Y".to_owned();
        let broken = Any {
            type_url: TYPE_URL.to_owned(),
            value: vec![0xff],
        };
        let problems = decode(&[other, broken]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems}");
        assert!(
            problems.to_string().contains("xds resource 2: "),
            "{problems}"
        );
    }

    #[test]
    fn numbers_no_json_knows_are_problems() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut descriptor = limited("user", "", RateLimitUnit::Day.into());
            let value = Value {
                kind: Some(Kind::NumberValue(number)),
            };
            descriptor.metadata = Some(Struct {
                fields: [("n".to_owned(), value)].into(),
            });
            let configs = [config("one", "edge", vec![descriptor])];
            let problems = compile(&configs, &source::Options::default()).unwrap_err();
            assert!(
                problems.to_string().contains("error parsing metadata"),
                "{problems}"
            );
        }
    }
}
