//! Whole rule files: what is read from good ones, and what is said about others.

use super::{Loaded, Options, parse};
use crate::descriptor::Entry;
use crate::rules::{Lookup, Rule, RuleLimit};
use crate::window::Unit;
use crate::yaml::{Problems, Source};

fn load_files(texts: &[&str], options: &Options) -> Result<Loaded, Problems> {
    let sources: Vec<Source> = (b'a'..)
        .zip(texts)
        .map(|(name, text)| Source::new(format!("{}.yaml", char::from(name)), *text))
        .collect();
    parse(&sources, options)
}

fn load(text: &str) -> Loaded {
    load_files(&[text], &Options::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Loads descriptors of the domain `d`, indented by two.
fn load_descriptors(descriptors: &str) -> Loaded {
    load(&format!("domain: d\ndescriptors:\n{descriptors}"))
}

/// `line:column: message` of every problem, `warning: ` before those that are.
fn listed(problems: &Problems) -> Vec<String> {
    let line = |problem: &crate::yaml::Problem| {
        problem
            .to_string()
            .lines()
            .next()
            .unwrap()
            .replace("a.yaml:", "")
    };
    problems.iter().map(line).collect()
}

fn problems(text: &str) -> Vec<String> {
    match load_files(&[text], &Options::default()) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => listed(&problems),
    }
}

/// Problems of descriptors of the domain `d`; their lines begin at 3.
fn descriptor_problems(descriptors: &str) -> Vec<String> {
    problems(&format!("domain: d\ndescriptors:\n{descriptors}"))
}

fn warnings(descriptors: &str) -> Vec<String> {
    listed(&load_descriptors(descriptors).warnings)
}

fn find<'a>(loaded: &'a Loaded, domain: &str, entries: &[(&str, &str)]) -> Option<&'a Rule> {
    let entries: Vec<Entry<'_>> = entries
        .iter()
        .map(|(key, value)| Entry::new(*key, *value))
        .collect();
    match loaded.rules.find(domain.as_bytes(), &entries) {
        Lookup::Rule(id) => loaded.rules.rule(id),
        Lookup::NoRule | Lookup::UnknownDomain => None,
    }
}

fn per_hour(requests_per_unit: u32) -> RuleLimit {
    RuleLimit::Limited {
        requests_per_unit,
        period: Unit::Hour.into(),
    }
}

#[test]
fn every_key_of_a_rule_is_read() {
    let loaded = load(
        "domain: edge
descriptors:
  - key: tenant
    value_to_metric: true
    descriptors:
      - key: path
        value: /api/*
        shadow_mode: true
        quota_mode: yes
        share_threshold: on
        detailed_metric: true
        metadata: {team: edge, tags: [1, 2.5, true, null, \"a\\\"\\n\"], 7: x}
        rate_limit:
          unit: HOUR
          requests_per_unit: 100
          name: api
          replaces: [{name: default}]
      - key: path
        rate_limit: {unlimited: true, name: default}
",
    );
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let api = find(&loaded, "edge", &[("tenant", "1"), ("path", "/api/x")]).unwrap();
    let default = find(&loaded, "edge", &[("tenant", "1"), ("path", "/")]).unwrap();
    assert_eq!(api.limit, per_hour(100));
    assert_eq!(
        (&*api.name, api.origin.line, &*api.origin.file),
        ("api", 6, "a.yaml")
    );
    assert!(api.shadow_mode && api.quota_mode && api.detailed_metric);
    assert_eq!(
        (api.shared_levels(), api.metric_value_levels()),
        (0b10, 0b01)
    );
    assert_eq!(
        api.metadata.as_deref(),
        Some(r#"{"7":"x","tags":[1,2.5,true,null,"a\"\n"],"team":"edge"}"#)
    );
    assert_eq!(default.limit, RuleLimit::Unlimited);
    assert!(api.replaces(default) && !default.replaces(api));
    assert!(!default.shadow_mode && default.metadata.is_none());
}

#[test]
fn a_descriptor_without_a_limit_still_hides_the_bare_key() {
    let loaded = load_descriptors(
        "  - {key: client, rate_limit: {unit: hour, requests_per_unit: 1}}\n  - {key: client, value: trusted}\n",
    );
    assert!(find(&loaded, "d", &[("client", "trusted")]).is_none());
    assert!(find(&loaded, "d", &[("client", "other")]).is_some());
}

#[test]
fn unquoted_numbers_and_booleans_keep_the_way_they_are_written() {
    for written in ["404", "007", "0x1F", "true", "yes", "-1", "1_000"] {
        let loaded = load_descriptors(&format!(
            "  - key: 8080\n    value: {written}\n    rate_limit: {{unit: hour, requests_per_unit: 1}}\n"
        ));
        assert!(
            find(&loaded, "d", &[("8080", written)]).is_some(),
            "{written}"
        );
    }
}

#[test]
fn an_empty_value_is_none() {
    for value in ["''", "", "~", "null"] {
        let loaded = load_descriptors(&format!(
            "  - key: k\n    value: {value}\n    rate_limit: {{unit: hour, requests_per_unit: 1}}\n"
        ));
        assert!(
            find(&loaded, "d", &[("k", "anything")]).is_some(),
            "{value}"
        );
    }
}

#[test]
fn numbers_of_requests_are_whole_in_any_base() {
    for (written, value) in [
        ("0", 0),
        ("4294967295", u32::MAX),
        ("1_000", 1_000),
        ("0x10", 16),
        ("+5", 5),
    ] {
        let loaded = load_descriptors(&format!(
            "  - {{key: k, rate_limit: {{unit: hour, requests_per_unit: {written}}}}}\n"
        ));
        assert_eq!(
            find(&loaded, "d", &[("k", "")]).unwrap().limit,
            per_hour(value)
        );
        assert!(loaded.warnings.is_empty());
    }
}

#[test]
fn nothing_at_all_is_an_empty_set() {
    assert_eq!(
        load_files(&[], &Options::default())
            .unwrap()
            .rules
            .domains()
            .len(),
        0
    );
    assert_eq!(load("domain: d").rules.domains().collect::<Vec<_>>(), ["d"]);
    assert_eq!(load("domain: d\ndescriptors:\n").rules.rules().len(), 0);
}

#[test]
fn a_file_needs_a_domain() {
    assert_eq!(problems(""), ["1:1: config file cannot have empty domain"]);
    assert_eq!(
        problems("# rules\n"),
        ["1:1: config file cannot have empty domain"]
    );
    assert_eq!(
        problems("domain: ~\n"),
        ["1:9: config file cannot have empty domain"]
    );
    assert_eq!(
        problems("---\ndescriptors: []\n"),
        ["2:1: config file cannot have empty domain"]
    );
    assert_eq!(
        problems("[]"),
        ["1:1: the top of a rule file must be a mapping, not a list"]
    );
    assert_eq!(
        problems("domain: [d]\n"),
        ["1:9: 'domain' must be text, not a list"]
    );
    // One problem, not a second one about what is missing because of it.
    assert_eq!(
        problems("Domain: d\n"),
        ["1:1: config error, unknown key 'Domain'"]
    );
}

#[test]
fn all_problems_of_all_files_are_reported_at_once_and_in_order() {
    let files = [
        "domain: d\ndescriptors:\n  - key: a\n    color: red\n    rate_limit: {unit: fortnight}\n  - value: x\n",
        "domain: [\n",
        "domain: d\ndescriptors:\n  - key: ''\n    shadow_mode: 1\n",
    ];
    let problems = load_files(&files, &Options::default()).unwrap_err();
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| problem.to_string().lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            "a.yaml:4:5: config error, unknown key 'color'",
            "a.yaml:5:24: invalid rate limit unit 'fortnight'",
            "a.yaml:6:5: descriptor has empty key",
            "b.yaml:1:9: not valid YAML: unclosed bracket '['",
            "c.yaml:1:9: duplicate domain 'd' in config file",
            "c.yaml:3:10: descriptor has empty key",
            "c.yaml:4:18: 'shadow_mode' must be true or false, not the number 1",
        ]
    );
}

#[test]
fn keys_are_checked_where_they_stand() {
    assert_eq!(
        descriptor_problems(
            "  - key: a\n    unit: hour\n    rate_limit: {unit: hour, requests_per_unit: 1, shadow_mode: true}\n"
        ),
        [
            "4:5: config error, misplaced key 'unit'",
            "5:52: config error, misplaced key 'shadow_mode'",
        ]
    );
    assert_eq!(
        problems("domain: d\nkey: a\n"),
        ["2:1: config error, misplaced key 'key'"]
    );
    assert_eq!(
        problems("domain: d\n0.5: a\n"),
        ["2:1: config error, key is not of type string: 0.5"]
    );
    assert_eq!(
        problems("domain: d\n? [a]\n: b\n"),
        ["2:3: config error, key is not of type string: a list"]
    );
    assert_eq!(
        descriptor_problems(
            "  - key: a\n    rate_limit: {unit: hour, requests_per_unit: 1, replaces: [{id: x}]}\n"
        ),
        [
            "4:63: should not have an empty replaces entry",
            "4:64: config error, unknown key 'id'"
        ]
    );
}

#[test]
fn types_are_checked() {
    assert_eq!(
        problems("domain: d\ndescriptors: none\n"),
        ["2:14: 'descriptors' must be a list, not the string 'none'"]
    );
    assert_eq!(
        descriptor_problems("  - text\n  -\n"),
        [
            "3:5: config error, yaml file contains list of type other than map: the string 'text'",
            "4:4: config error, yaml file contains list of type other than map: nothing",
        ]
    );
    assert_eq!(
        descriptor_problems("  - key: 1.5\n  - key: [a]\n  - key: k\n    rate_limit: 5\n"),
        [
            "3:10: error checking config: 'key' is text, but 1.5 is a floating point number",
            "4:10: 'key' must be text, not a list",
            "6:17: 'rate_limit' must be a mapping, not the number 5",
        ]
    );
    assert_eq!(
        descriptor_problems("  - {key: k, value: 9223372036854775808}\n"),
        [
            "3:21: error checking config: 'value' is text, but 9223372036854775808 is a floating point number"
        ]
    );
    let number = |written: &str| {
        descriptor_problems(&format!(
            "  - {{key: k, rate_limit: {{unit: hour, requests_per_unit: {written}}}}}\n"
        ))
    };
    let range = "3:58: 'requests_per_unit' must be a whole number from 0 to 4294967295, not";
    assert_eq!(number("-1"), [format!("{range} the number -1")]);
    assert_eq!(
        number("4294967296"),
        [format!("{range} the number 4294967296")]
    );
    assert_eq!(number("'1'"), [format!("{range} the string '1'")]);
    assert_eq!(number("many"), [format!("{range} the string 'many'")]);
    assert_eq!(
        number("1e3"),
        [
            "3:58: error checking config: 'requests_per_unit' is a whole number, but 1e3 is a floating point number"
        ]
    );
}

#[test]
fn limits_are_checked() {
    let limit =
        |limit: &str| descriptor_problems(&format!("  - key: k\n    rate_limit: {limit}\n"));
    assert_eq!(
        limit("{unit: foo}"),
        ["4:24: invalid rate limit unit 'foo'"]
    );
    assert_eq!(limit("{}"), ["4:17: invalid rate limit unit ''"]);
    assert_eq!(
        limit("{unit: unknown}"),
        ["4:24: invalid rate limit unit 'unknown'"]
    );
    assert_eq!(
        limit("{unit: day, unlimited: true}"),
        ["4:24: should not specify rate limit unit when unlimited"]
    );
    assert_eq!(
        limit("{unit: day, requests_per_unit: 1, name: n, replaces: [{name: n}, {name: ''}]}"),
        [
            "4:78: replaces should not contain name of same descriptor",
            "4:89: should not have an empty replaces entry",
        ]
    );
    let problem = load_files(
        &["domain: d\ndescriptors: [{key: k, rate_limit: {unit: hours}}]"],
        &Options::default(),
    )
    .unwrap_err();
    assert_eq!(
        problem.iter().next().unwrap().hint.as_deref(),
        Some("did you mean 'hour'?")
    );
}

#[test]
fn share_threshold_needs_a_wildcard() {
    assert_eq!(
        descriptor_problems("  - key: a\n    value: b\n    share_threshold: true\n"),
        [
            "5:22: share_threshold can only be used with wildcard values (containing '*'), but found key 'a_b'"
        ]
    );
    assert!(warnings("  - {key: a*, share_threshold: true}\n").is_empty());
}

#[test]
fn metadata_has_to_be_a_mapping_that_json_can_hold() {
    let metadata = |metadata: &str| {
        descriptor_problems(&format!(
            "  - key: k\n    rate_limit: {{unit: hour, requests_per_unit: 1}}\n    metadata: {metadata}\n"
        ))
    };
    assert_eq!(
        metadata("text"),
        ["5:15: 'metadata' must be a mapping, not the string 'text'"]
    );
    assert_eq!(
        metadata("{a: !!binary gIGC}"),
        ["5:28: error parsing metadata: binary data"]
    );
    assert_eq!(
        metadata("{a: [.inf]}"),
        ["5:20: error parsing metadata: .inf is no number in JSON"]
    );
}

#[test]
fn duplicates_are_found_on_every_level_and_across_merged_files() {
    assert_eq!(
        descriptor_problems(
            "  - {key: a, value: 1}\n  - key: b\n    descriptors: [{key: c}, {key: c, value: ''}]\n  - {key: a, value: 1}\n"
        ),
        [
            "5:35: duplicate descriptor composite key 'd.b.c'",
            "6:11: duplicate descriptor composite key 'd.a_1'",
        ]
    );
    // Pairs that only read alike are different descriptors.
    assert!(warnings("  - {key: a, value: b_c}\n  - {key: a_b, value: c}\n").is_empty());

    let merge = Options {
        merge_domains: true,
        ..Options::default()
    };
    let file = "domain: d\ndescriptors: [{key: a, value: 1}]\n";
    let problems = load_files(&[file, file], &merge).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "b.yaml:2:21: duplicate descriptor composite key 'd.a_1'\n  |\n\
         2 | descriptors: [{key: a, value: 1}]\n  |                     ^\n  \
         = hint: the first one is at a.yaml:2\n"
    );
}

#[test]
fn merged_files_are_one_list_in_the_order_of_the_files() {
    let files = [
        "domain: d\ndescriptors: [{key: k, value: 'a*', rate_limit: {unit: hour, requests_per_unit: 1}}]",
        "domain: other\n",
        "domain: d\ndescriptors: [{key: k, value: '*', rate_limit: {unit: hour, requests_per_unit: 2}}]",
    ];
    let merge = Options {
        merge_domains: true,
        ..Options::default()
    };
    let loaded = load_files(&files, &merge).unwrap();
    assert_eq!(
        find(&loaded, "d", &[("k", "ab")]).unwrap().limit,
        per_hour(1)
    );
    assert_eq!(
        find(&loaded, "d", &[("k", "b")]).unwrap().limit,
        per_hour(2)
    );
    assert_eq!(loaded.rules.domains().collect::<Vec<_>>(), ["d", "other"]);

    let refused = load_files(&files, &Options::default()).unwrap_err();
    let problem = refused.iter().next().unwrap();
    assert_eq!(problem.message, "duplicate domain 'd' in config file");
    assert!(
        problem
            .hint
            .as_ref()
            .unwrap()
            .contains("rate_limiting.merge_domain_config")
    );
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    let limit = |limit: &str| warnings(&format!("  - key: k\n    rate_limit: {limit}\n"));
    assert_eq!(
        limit("{unit: day}"),
        ["4:17: warning: without 'requests_per_unit' the limit is 0: every request is refused"]
    );
    assert_eq!(
        limit("{unlimited: true, unit: fortnight}"),
        ["4:41: warning: 'fortnight' is no unit; it is ignored, since there is no limit"]
    );
    assert_eq!(
        limit("{unit: day, requests_per_unit: 010}"),
        ["4:48: warning: 010 is an octal number in YAML and means 8"]
    );
    assert_eq!(
        limit("{unit: day, unit: hour, requests_per_unit: 1}"),
        ["4:29: warning: 'unit' is given twice; the last one counts"]
    );
    assert_eq!(
        limit("{unit: day, requests_per_unit: 1, name: own, replaces: [{name: othr}]}"),
        ["4:80: warning: no rule of this domain is named 'othr'"]
    );
    assert_eq!(
        warnings("  - key: k\n    shadow_mode: true\n    quota_mode: false\n"),
        ["4:18: warning: 'shadow_mode' does nothing in a descriptor without 'rate_limit'"]
    );
    assert_eq!(
        listed(&load("domain: d\n---\ndomain: e\n").warnings),
        ["2:1: warning: only the first document of a file is read; this one is ignored"]
    );
}

#[test]
fn a_replaced_name_may_be_in_another_file_of_the_domain() {
    let files = [
        "domain: d\ndescriptors: [{key: a, rate_limit: {unit: hour, requests_per_unit: 1, replaces: [{name: n}]}}]",
        "domain: d\ndescriptors: [{key: b, descriptors: [{key: c, rate_limit: {unlimited: true, name: n}}]}]",
    ];
    assert!(
        load_files(
            &files,
            &Options {
                merge_domains: true,
                ..Options::default()
            }
        )
        .unwrap()
        .warnings
        .is_empty()
    );
}

#[test]
fn nesting_beyond_the_last_level_is_a_problem() {
    let nested = |levels: usize| {
        let mut text = String::from("domain: d\ndescriptors: [");
        text.push_str(&"{key: k, descriptors: [".repeat(levels - 1));
        text.push_str("{key: k}");
        text.push_str(&"]}".repeat(levels - 1));
        text.push(']');
        text
    };
    assert!(load_files(&[&nested(64)], &Options::default()).is_ok());
    let problems = load_files(&[&nested(65)], &Options::default()).unwrap_err();
    assert_eq!(
        problems.iter().next().unwrap().message,
        "descriptors are nested deeper than 64 levels"
    );
}

proptest::proptest! {
    #[test]
    fn no_file_makes_it_panic(
        lines in proptest::collection::vec(
            (0..4_usize, proptest::sample::select(LINES.to_vec())),
            0..20,
        )
    ) {
        let text: String = lines.iter().map(|(indent, line)| format!("{}{line}\n", "  ".repeat(*indent))).collect();
        let _ = load_files(&[&text, &text], &Options::default());
        let _ = load_files(&[&text, &text], &Options { merge_domains: true, ..Options::default() });
    }
}

const LINES: [&str; 24] = [
    "domain: d",
    "domain:",
    "descriptors:",
    "descriptors: []",
    "- key: a",
    "- key: a*",
    "- key:",
    "key: b",
    "value: 1",
    "value: '*'",
    "value: {a: b}",
    "rate_limit:",
    "rate_limit: {unit: day}",
    "unit: hour",
    "requests_per_unit: 1",
    "requests_per_unit: x",
    "unlimited: yes",
    "name: n",
    "replaces: [{name: n}]",
    "share_threshold: true",
    "metadata: {a: &x [1]}",
    "metadata: *x",
    "<<: {key: c}",
    "---",
];

#[test]
fn a_pattern_that_another_one_leaves_nothing_to_is_warned_of() {
    let warnings = |first: &str, second: &str| {
        let text = format!(
            "domain: d\ndescriptors:\n  - {{key: a, value: '{first}'}}\n  - {{key: a, value: '{second}'}}\n  - key: b\n"
        );
        parse(&[Source::new("r.yaml", text)], &Options::default())
            .unwrap()
            .warnings
            .to_string()
    };
    let shown = warnings("*", "x*");
    assert!(
        shown.contains("r.yaml:4:11: warning: '*' covers everything"),
        "{shown}"
    );
    assert!(shown.contains("put it before r.yaml:3;"), "{shown}");
    assert_ne!(warnings("/api/*", "/api/v1/*"), "");
    for (first, second) in [
        ("x*", "*"),
        ("x*", "y*"),
        ("*x", "x*"),
        ("*", "exact"),
        ("a*b", "a*"),
    ] {
        assert_eq!(warnings(first, second), "", "{first} {second}");
    }
}

/// The hints of the problems of a file, warnings included.
fn hints(text: &str) -> Vec<String> {
    let problems = match load_files(&[text], &Options::default()) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    let hints = problems.iter().filter_map(|problem| problem.hint.clone());
    hints.collect()
}

#[test]
fn whoever_means_two_limits_is_told_of_rate_limits() {
    let limit = "rate_limit: {unit: hour, requests_per_unit: 1}";
    for descriptors in [
        format!("  - key: k\n    {limit}\n    {limit}\n"),
        "  - key: k\n    rate_limit: [{unit: hour, requests_per_unit: 1}]\n".to_owned(),
        format!("  - key: k\n    {limit}\n  - key: k\n    {limit}\n"),
        format!(
            "  - key: a\n    descriptors:\n      - {{key: k, {limit}}}\n      - {{key: k, {limit}}}\n"
        ),
    ] {
        let found = hints(&format!("domain: d\ndescriptors:\n{descriptors}"));
        assert!(
            found.len() == 1 && found[0].contains("'rate_limits: [{…}, {…}]'"),
            "{found:?} of\n{descriptors}"
        );
    }
    let other = hints("domain: d\ndescriptors:\n  - {key: a, key: b}\n");
    assert_eq!(other, ["the first one is on line 3"]);
}

#[test]
fn what_cannot_be_seen_is_named_wherever_it_stands() {
    let limit = "rate_limit: {unit: hour, requests_per_unit: 1}";
    for (text, part) in [
        (
            format!("domain: d\u{200b}\ndescriptors: [{{key: a, {limit}}}]\n"),
            "1:9: warning: 'domain' contains U+200B (zero width space)",
        ),
        (
            format!("domain: d\ndescriptors:\n  - key: us\u{ad}er\n    {limit}\n"),
            "3:10: warning: 'key' contains U+00AD (soft hyphen)",
        ),
        (
            format!("domain: d\ndescriptors:\n  - key: a\n    value: |\n      x\n    {limit}\n"),
            "5:7: warning: 'value' contains U+000A (line feed)",
        ),
        (
            format!("domain: d\ndescriptors:\n  - key: a\n    value: 'x\u{a0}'\n    {limit}\n"),
            "4:12: warning: 'value' contains U+00A0 (no-break space)",
        ),
        (
            "domain: d\ndescriptors:\n  - key: a\n    rate_limit: {unit: hour, requests_per_unit\u{200b}: 1}\n"
                .to_owned(),
            "unknown key 'requests_per_unit\\u{200b}'",
        ),
        (
            "domain: d\ndescriptors:\n  - key:\u{a0}a\n".to_owned(),
            "there is U+00A0 (no-break space) in it",
        ),
        (
            format!("domain: d\ndescriptors:\n  - key: a\n\u{a0}\u{a0}\u{a0}\u{a0}{limit}\n"),
            "there is U+00A0 (no-break space) in it",
        ),
    ] {
        let said = match load_files(&[&text], &Options::default()) {
            Ok(loaded) => loaded.warnings.to_string(),
            Err(problems) => problems.to_string(),
        };
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    // Written as an escape it is seen, and meant. A byte order mark at the very beginning is no part of the text.
    let text = "\u{feff}domain: d\ndescriptors:\n  - key: \"a\\u200b\"\n    rate_limit: {unit: hour, requests_per_unit: 1}\n";
    assert!(load(text).warnings.is_empty(), "{}", load(text).warnings);
}

#[test]
fn a_service_file_is_told_from_a_file_of_rules() {
    for section in super::SERVICE_SECTIONS {
        let said = problems(&format!("# mine\n{section}:\n  x: 1\nother: {{}}\n"));
        assert_eq!(
            said,
            [format!(
                "2:1: this is a service file of meshd, not a file of rules: it has the section '{section}'"
            )]
        );
    }
    assert_eq!(
        hints("server: {}\n"),
        ["`meshd --check --config a.yaml` checks it"]
    );
    // Something of both is a file of rules with a wrong key in it.
    assert_eq!(
        problems("domain: d\nserver: {}\n"),
        ["2:1: config error, unknown key 'server'"]
    );
}
