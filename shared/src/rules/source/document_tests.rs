//! Rules that were never text.

use super::{Options, from_documents};
use crate::rules::RuleLimit;
use crate::window::Unit;
use crate::yaml::{Document, Node, Source};

fn config(name: &str, domain: &str, descriptors: Vec<Node>) -> (Source, Document) {
    let root = Node::of_mapping([
        ("domain", Node::of_text(domain)),
        ("descriptors", Node::of_list(descriptors)),
    ]);
    (Source::new(name, ""), Document::of_root(root))
}

fn descriptor(key: &str, value: &str, unit: &str) -> Node {
    let limit = Node::of_mapping([
        ("unit", Node::of_text(unit)),
        ("requests_per_unit", Node::of_plain("7")),
    ]);
    Node::of_mapping([
        ("key", Node::of_text(key)),
        ("value", Node::of_text(value)),
        ("rate_limit", limit),
    ])
}

#[test]
fn they_are_rules_like_those_of_files() {
    let documents = [config(
        "one",
        "edge",
        vec![descriptor("404", "yes", "HOUR")],
    )];
    let loaded = from_documents(&documents, &Options::default()).unwrap();
    let (id, rule) = loaded.rules.rules().next().unwrap();
    let limit = RuleLimit::Limited {
        requests_per_unit: 7,
        period: Unit::Hour.into(),
    };
    assert_eq!(rule.limit, limit);
    assert_eq!(loaded.rules.path(id).to_string(), "edge.404_yes");
    assert_eq!(rule.origin.to_string(), "one");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn problems_name_the_document_and_the_descriptor() {
    let nested = Node::of_mapping([
        ("key", Node::of_text("user")),
        (
            "descriptors",
            Node::of_list(vec![
                descriptor("plan", "free", "fortnight"),
                descriptor("plan", "free", "day"),
                descriptor("", "", "day"),
            ]),
        ),
    ]);
    let documents = [
        config("one", "edge", vec![nested]),
        config("two", "edge", Vec::new()),
        config("three", "", Vec::new()),
    ];
    let problems = from_documents(&documents, &Options::default()).unwrap_err();
    let messages: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.file, problem.message))
        .collect();
    assert_eq!(
        messages,
        [
            "one: edge.user.plan_free: invalid rate limit unit 'fortnight'",
            "one: edge.user: descriptor has empty key",
            "one: edge.user: duplicate descriptor composite key 'edge.user.plan_free'",
            "three: config file cannot have empty domain",
            "two: duplicate domain 'edge' in config file",
        ]
    );
    assert!(!problems.to_string().contains(":0"), "{problems}");
}
