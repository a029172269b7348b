//! `hivectl explain` on files and on regions.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::Limiter;
use hivemind_shared::table::Key;
use support::{AT_NOW, Finished, NOW_S, Place, RULES, hit, hit_by, hivectl, publish};

const WALK: &str = "\
domain: edge
descriptors:
  - key: path
    rate_limit: {unit: minute, requests_per_unit: 1}
    descriptors:
      - key: user
        rate_limit: {unit: minute, requests_per_unit: 2}
  - key: path
    value: /api/*
    share_threshold: true
    rate_limit: {unit: minute, requests_per_unit: 3, name: api}
  - key: path
    value: '*'
    rate_limit: {unit: minute, requests_per_unit: 9}
  - key: path
    value: /api/v1
    shadow_mode: true
    rate_limit: {unit: day, requests_per_unit: 0, replaces: [{name: api}]}
  - key: host
    descriptors:
      - key: client
        rate_limit: {unlimited: true}
  - key: open
";

fn explain(rules: &Path, arguments: &[&str]) -> Finished {
    Finished::of(hivectl().arg("explain").arg(rules).args(arguments))
}

/// Lines without what aligns them.
fn squeezed(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[track_caller]
fn assert_says(finished: Finished, parts: &[&str]) {
    let text = squeezed(&finished.ok()).join("\n");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn the_walk_says_of_each_descriptor_why_it_was_taken_or_not() {
    let place = Place::new();
    let rules = place.write("r.yaml", WALK);
    let at = |line: u32| format!("{}:{line}", rules.display());
    assert_says(
        explain(&rules, &["edge", "path=/api/v2"]),
        &[
            &format!("path matches, but the key alone comes last {}", at(3)),
            &format!(
                "> path=/api/* taken: the first pattern in file order that matches {}",
                at(8)
            ),
            &format!("path=* matches, but stands later in file order {}", at(12)),
            &format!("path=/api/v1 other value {}", at(15)),
            &format!("host other key {}", at(19)),
            "limit 3 per minute",
            &format!("rule edge.path_/api/* ({})", at(8)),
            "counter path=/api/* (shared by all that match) per minute",
            "statistics edge.path_/api/*",
            "1 hit on an empty counter would pass",
        ],
    );
    assert_says(
        explain(&rules, &["edge", "path=/x", "--hits=10"]),
        &[
            "limit 9 per minute",
            "10 hits on an empty counter would be refused",
        ],
    );
}

#[test]
fn rules_that_replace_each_other_are_shown_together() {
    let place = Place::new();
    let rules = place.write("r.yaml", WALK);
    let finished = explain(&rules, &["edge", "path=/api/v1", "path=/api/v2"]);
    assert_says(
        finished,
        &[
            "replaces the limit of path=/api/v2",
            "over the limit, and pass all the same: shadow_mode",
            "replaced by edge.path_/api/v1",
        ],
    );
}

#[test]
fn it_is_said_why_no_limit_applies() {
    let place = Place::new();
    let rules = place.write("r.yaml", WALK);
    for (domain, descriptor, parts) in [
        (
            "egde",
            "path=/x",
            &["no rules for the domain 'egde'", "did you mean 'edge'?"][..],
        ),
        ("edge", "paht=/x", &["did you mean the key 'path'?"]),
        (
            "edge",
            "host=a",
            &["shorter than the rules", "no limit of its own"],
        ),
        (
            "edge",
            "open=a",
            &["requests that end there are not limited"],
        ),
        (
            "edge",
            "host=a,clinet=b",
            &[
                "has no descriptor for clinet=b; its siblings are not tried; did you mean the key 'client'?",
            ],
        ),
        ("edge", "host=a,client=b,more=c", &["longer than the rules"]),
        (
            "edge",
            "path=/api/v2,user=ann",
            &[
                "longer than the rules",
                "'path' (",
                "would lead to 2 per minute",
                "not tried again",
            ],
        ),
    ] {
        assert_says(
            explain(&rules, &[domain, descriptor]),
            &["No limit applies."],
        );
        assert_says(explain(&rules, &[domain, descriptor]), parts);
    }
    assert_says(
        explain(&rules, &["edge", "host=a,client=b"]),
        &["limit unlimited", "nothing is counted"],
    );
}

#[test]
fn values_may_hold_equals_signs_and_commas() {
    let place = Place::new();
    let rules = place.write("r.yaml", WALK);
    // As it is shown it can be typed again.
    let shown = explain(&rules, &["edge", r"path=/q?a=b\,c\\d"]).ok();
    assert!(shown.starts_with("edge: path=/q?a=b\\,c\\\\d\n"), "{shown}");
    let json = explain(&rules, &["--json", "edge", r"path=/q?a=b\,c"]).json();
    let descriptor = &json["descriptors"][0];
    assert_eq!(descriptor["entries"][0]["value"], "/q?a=b,c");
    assert_eq!(descriptor["end"], "rule");
    assert_eq!(descriptor["rule"]["requests_per_unit"], 9);
    assert_eq!(descriptor["rule"]["line"], 12);
    assert_eq!(
        descriptor["steps"][0]["candidates"][2]["verdict"],
        "taken_pattern"
    );
    assert_eq!(descriptor["counter"]["live"], serde_json::Value::Null);
}

#[test]
fn of_a_wide_level_only_some_is_shown_unless_asked_for() {
    use std::fmt::Write as _;
    let mut text = "domain: d\ndescriptors:\n".to_owned();
    for number in 0..500 {
        writeln!(
            text,
            "  - {{key: a, value: v{number}, rate_limit: {{unit: hour, requests_per_unit: 1}}}}"
        )
        .unwrap();
    }
    let place = Place::new();
    let rules = place.write("r.yaml", text);
    assert_says(
        explain(&rules, &["d", "a=v400"]),
        &[
            "> a=v400 taken: equal value",
            "and 493 more that do not match (--all)",
        ],
    );
    let all = explain(&rules, &["d", "a=v400", "--all"]).ok();
    assert!(all.lines().count() > 500, "{all}");
    let json = explain(&rules, &["d", "a=v400", "--json"]).json();
    assert_eq!(json["descriptors"][0]["steps"][0]["omitted"], 399);
}

#[test]
fn broken_rules_are_shown_as_check_shows_them() {
    let place = Place::new();
    let rules = place.write("r.yaml", "domain: d\ndescriptors:\n  - kye: a\n");
    let finished = explain(&rules, &["d", "a=1"]);
    assert_eq!((finished.status, &*finished.stdout), (Some(65), ""));
    assert!(finished.stderr.contains("r.yaml:3:5: "), "{finished:?}");
    assert!(
        finished.stderr.contains("did you mean 'key'?"),
        "{finished:?}"
    );
}

#[test]
fn several_files_of_one_domain_are_merged_when_asked_for() {
    let place = Place::new();
    place.write("rules-a.yaml", RULES);
    place.write(
        "rules-b.yaml",
        "domain: edge\ndescriptors: [{key: other, rate_limit: {unit: day, requests_per_unit: 8}}]",
    );
    assert_eq!(
        explain(&place.path(""), &["edge", "other=1"]).status,
        Some(65)
    );
    assert_says(
        explain(&place.path(""), &["--merge-domains", "edge", "other=1"]),
        &["limit 8 per day"],
    );
}

#[test]
fn with_a_region_its_rules_and_counts_are_shown_and_nothing_is_counted() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "ann")], 3);
    hit(&region, "edge", &[("route", "files/b")], 4);
    let explain = |arguments: &[&str]| {
        place
            .hivectl(&[&["explain", AT_NOW, "--json"], arguments].concat())
            .json()
    };
    for _ in 0..2 {
        let json = explain(&["edge", "user=ann", "route=files/a"]);
        let live = |descriptor: usize| json["descriptors"][descriptor]["counter"]["live"].clone();
        assert_eq!(
            (&live(0)["local"], &live(0)["remaining"], &live(0)["remote"]),
            (&3.into(), &1.into(), &0.into())
        );
        // Another value of the pattern, the same counter.
        assert_eq!(live(1)["local"], 4);
        assert_eq!(json["descriptors"][0]["counter"]["over"], false);
    }
    assert_eq!(
        explain(&["edge", "user=ann", "--hits=2"])["descriptors"][0]["counter"]["over"],
        true
    );
    // What `ls` calls the counter.
    let listed = place.hivectl(&["ls", AT_NOW, "--json"]).json();
    let fingerprint =
        &explain(&["edge", "user=ann"])["descriptors"][0]["counter"]["live"]["fingerprint"];
    assert!(
        listed["counters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|counter| &counter["fingerprint"] == fingerprint)
    );

    let text = place.hivectl(&["explain", AT_NOW, "edge", "user=ann"]);
    let shown = squeezed(&text.stdout).join("\n");
    for part in [
        "counted 3 here, 0 at peers, 1 of 4 remaining",
        "rule edge.user (rules-0.yaml:4)",
        "1 more hit would pass",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}

#[test]
fn every_limit_shows_its_own_count_by_its_own_algorithm() {
    let place = Place::new();
    let mut region = place.own();
    publish(
        &mut region,
        &["
domain: edge
descriptors:
  - key: list
    rate_limits:
      - {unit: day, requests_per_unit: 4}
      - {unit: minute, requests_per_unit: 20, hivemind: {algorithm: sliding_window}}
  - key: bucket
    rate_limit: {unit: minute, requests_per_unit: 60, hivemind: {algorithm: token_bucket, burst: 10}}
"],
    );
    let clock = ManualClock::at(NOW_S - 10);
    let limiter = Limiter::new(Arc::clone(region.region()), clock.clone());
    hit_by(&limiter, "edge", &[("list", "x")], 4);
    clock.advance_s(10);
    hit_by(&limiter, "edge", &[("bucket", "x")], 7);
    let explain = |arguments: &[&str]| {
        let shown = place.hivectl(&[&["explain", AT_NOW, "edge"], arguments].concat());
        squeezed(&shown.stdout).join("\n")
    };

    let list = explain(&["list=x"]);
    for part in [
        // The day began at 00:00, the minute just now: of the one before, all counts.
        "counter list=x per day\nstatistics edge.list\ncounted 4 here, 0 at peers, 0 of 4 remaining\nwindow since 2027-01-15T00:00:00Z, ends in 57600 s",
        "counter list=x per minute\ncounted 0 here, 0 at peers, 16 of 20 remaining\nwindow since 2027-01-15T08:00:00Z, ends in 60 s\nnow 1 more hit would be refused",
    ] {
        assert!(list.contains(part), "no {part:?} in\n{list}");
    }
    let counter = region.region().counters(NOW_S);
    let keys = counter.map(|counter| Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    });
    for key in keys.collect::<Vec<_>>() {
        region.region().forgive(&key, &clock).unwrap();
    }
    hit_by(&limiter, "edge", &[("list", "x")], 1);
    let list_again = explain(&["list=x"]);
    let part = "counted 5 here, 4 forgiven, 3 of 4 remaining";
    assert!(list_again.contains(part), "no {part:?} in\n{list_again}");
    hit_by(&limiter, "edge", &[("bucket", "x")], 7);
    let bucket = explain(&["bucket=x"]);
    let part = "counted 14 here, 7 forgiven, 3 of 10 remaining\nbucket full in 7 s";
    assert!(bucket.contains(part), "no {part:?} in\n{bucket}");
    assert!(explain(&["bucket=y"]).contains("bucket full\n"));

    let json = place
        .hivectl(&["explain", AT_NOW, "--json", "edge", "list=x", "bucket=x"])
        .json();
    let further = &json["descriptors"][0]["rule"]["further"][0];
    assert_eq!(further["counter"]["live"]["remaining"], 15);
    assert_eq!(further["counter"]["over"], false);
    assert_eq!(json["descriptors"][0]["counter"]["over"], false);
    let live = &json["descriptors"][1]["counter"]["live"];
    assert_eq!(
        (&live["remaining"], &live["reset_s"]),
        (&3.into(), &7.into())
    );
}

#[test]
fn a_region_without_rules_says_so() {
    let place = Place::new();
    let _region = place.own();
    let finished = place.hivectl(&["explain", "edge", "user=ann"]);
    assert_eq!(finished.status, Some(66), "{finished:?}");
    assert!(
        finished.stderr.contains("no rules can be read"),
        "{finished:?}"
    );
    // One argument too many.
    let finished = place.hivectl(&["explain", "rules.yaml", "edge", "user=ann"]);
    assert_eq!(finished.status, Some(64), "{finished:?}");
    assert!(
        finished.stderr.contains("the domain comes first"),
        "{finished:?}"
    );
}

#[test]
fn the_rules_in_force_are_meant_unless_files_are_named() {
    let place = Place::new();
    let _region = place.own_with_rules();
    let rules = place.write("r.yaml", WALK);
    let rules = rules.to_str().unwrap();
    let explain = |region: &Path, arguments: &[&str]| {
        let mut command = hivectl();
        command.env("HIVEMIND_REGION_PATH", region).arg("explain");
        Finished::of(command.current_dir(place.path("")).args(arguments))
    };
    // As it is typed. A directory of the domain's name does not matter.
    std::fs::create_dir(place.path("edge")).unwrap();
    let finished = explain(&place.region(), &["edge", "user=alice"]);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("4 per day"), "{finished:?}");
    let beside = format!(
        "hivectl: rules of generation 1 in {} (from HIVEMIND_REGION_PATH)\n",
        place.region().display()
    );
    assert_eq!(finished.stderr, beside);
    // With files named, no region is looked at.
    let nowhere = Path::new("/no/where");
    assert_says(
        explain(nowhere, &[rules, "edge", "path=/x"]),
        &["limit 9 per minute"],
    );
    let finished = explain(nowhere, &["edge", "user=alice"]);
    assert_eq!(finished.status, Some(66), "{finished:?}");
    assert!(
        finished.stderr.contains("hivectl explain RULES DOMAIN"),
        "{finished:?}"
    );
    for (arguments, part) in [
        (
            &[rules, "user=alice"][..],
            "the domain behind it is missing",
        ),
        (&["user=alice"], "there is no domain"),
        (&[rules, "edge"], "there is no descriptor"),
        (
            &[rules, "edge", "user=alice", "bob"],
            "'bob' in 'bob' is no key=value",
        ),
        (&["edge", "list=a,b"], "'\\,' is a comma in one"),
    ] {
        let finished = explain(nowhere, arguments);
        assert_eq!(finished.status, Some(64), "{finished:?}");
        assert!(finished.stderr.contains(part), "no {part} in {finished:?}");
    }
    let odd = place.write(
        "odd.yaml",
        "domain: a=b\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 8}}]\n",
    );
    assert_says(
        explain(nowhere, &[odd.to_str().unwrap(), r"a\=b", "k=1"]),
        &["limit 8 per day"],
    );
}
