//! `hivectl diff` of files, and of a region and files.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;

use support::{Finished, MORE_RULES, Place, RULES, hivectl};

/// Compares two texts.
fn diff(old: &str, new: &str, arguments: &[&str]) -> Finished {
    let place = Place::new();
    let paths = [place.write("old.yaml", old), place.write("new.yaml", new)];
    Finished::of(hivectl().arg("diff").args(arguments).args(paths))
}

#[track_caller]
fn assert_differs(finished: &Finished, parts: &[&str]) {
    assert_eq!(finished.status, Some(1), "{finished:?}");
    for part in parts {
        assert!(
            finished.stdout.contains(part),
            "no {part:?} in\n{}",
            finished.stdout
        );
    }
}

#[test]
fn the_same_rules_in_other_files_and_order_are_no_difference() {
    let place = Place::new();
    for (name, text) in [
        ("old/a.yaml", RULES),
        ("old/b.yaml", MORE_RULES),
        ("new/x.yaml", MORE_RULES),
        ("new/y.yaml", RULES),
    ] {
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        place.write(name, format!("# moved\n\n{text}"));
    }
    let finished = Finished::of(
        hivectl()
            .arg("diff")
            .args([place.path("old"), place.path("new")]),
    );
    assert_eq!(finished.ok(), "the rules mean the same\n");
}

#[test]
fn every_kind_of_change_says_what_becomes_of_the_count() {
    let new = RULES
        .replace("requests_per_unit: 4", "requests_per_unit: 5")
        .replace(
            "unit: year, requests_per_unit: 100",
            "unit: month, requests_per_unit: 100",
        )
        .replace("    value: banned\n", "    value: blocked\n")
        .replace("    share_threshold: true\n", "");
    assert_differs(
        &diff(RULES, &new, &[]),
        &[
            "edge.user: changed\n  - 4 per day, name per_user  (",
            "  + 5 per day, name per_user  (",
            "old.yaml:4)\n",
            "  the count is kept\n",
            "edge.user_batch: changed\n  - 100 per year, shadow_mode  (",
            "  the unit is another one: counts from zero\n",
            "edge.user_blocked: added\n  + 0 per day  (",
            "  such requests were under edge.user (",
            "edge.user_banned: removed\n",
            "  such requests are under edge.user (",
            "edge.route_files/*: changed\n",
            "  another counter because of share_threshold: counts from zero\n",
            "1 added, 1 removed, 3 changed, 0 pairs",
        ],
    );
}

#[test]
fn patterns_in_another_order_are_a_difference() {
    let rules = |first: &str, second: &str| {
        format!(
            "domain: d\ndescriptors:\n  - {{key: a, value: '{first}', rate_limit: {{unit: hour, requests_per_unit: 1}}}}\n  - {{key: a, value: '{second}', rate_limit: {{unit: hour, requests_per_unit: 1}}}}\n"
        )
    };
    assert_differs(
        &diff(&rules("x*", "*y"), &rules("*y", "x*"), &[]),
        &["d.a_*y: now tried before d.a_x* (", "1 pair of patterns"],
    );
    assert_eq!(
        diff(&rules("x*", "y*"), &rules("y*", "x*"), &[]).status,
        Some(0)
    );
}

#[test]
fn programs_get_every_limit_of_a_list() {
    let with = |limits: &str| {
        format!("domain: d\ndescriptors:\n  - key: k\n    rate_limits: [{limits}]\n")
    };
    let minute = "{unit: minute, requests_per_unit: 1}";
    let old = with(minute);
    let new = with(&format!("{minute}, {{unit: hour, requests_per_unit: 5}}"));
    let finished = diff(&old, &new, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let change = &json["changes"][0];
    assert_eq!(change["old"]["rule"]["further"], serde_json::json!([]));
    assert_eq!(change["new"]["rule"]["further"][0]["requests_per_unit"], 5);
}

#[test]
fn programs_get_the_same_as_json() {
    let finished = diff(
        RULES,
        &RULES.replace("requests_per_unit: 4", "requests_per_unit: 5"),
        &["--json"],
    );
    assert_eq!(finished.status, Some(1));
    let json: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(json["same"], false);
    let change = &json["changes"][0];
    assert_eq!(
        (&change["kind"], &change["path"], &change["counters"]),
        (&"changed".into(), &"edge.user".into(), &"kept".into())
    );
    assert_eq!(change["old"]["rule"]["requests_per_unit"], 4);
    assert_eq!(change["new"]["line"], 4);
    assert_eq!(diff(RULES, RULES, &["--json"]).json()["same"], true);
}

#[test]
fn broken_rules_on_either_side_are_shown_as_check_shows_them() {
    for (old, new, name) in [
        (RULES, "domain: ''\n", "new.yaml:1:9"),
        ("domain: ''\n", RULES, "old.yaml:1:9"),
    ] {
        let finished = diff(old, new, &[]);
        assert_eq!((finished.status, &*finished.stdout), (Some(65), ""));
        assert!(finished.stderr.contains(name), "{finished:?}");
    }
}

#[test]
fn without_old_rules_those_in_force_take_their_place() {
    let place = Place::new();
    let _region = place.own_with_rules();
    let same = place.write("same.yaml", RULES);
    let other = place.write("inner.yaml", MORE_RULES);
    assert!(same.exists() && other.exists());
    let directory = place.path("new");
    fs::create_dir(&directory).unwrap();
    fs::rename(same, directory.join("same.yaml")).unwrap();
    fs::rename(other, directory.join("inner.yaml")).unwrap();
    let directory = directory.to_str().unwrap();
    let same = place.hivectl(&["diff", directory]);
    assert_eq!(
        (same.status, &*same.stdout),
        (Some(0), "the rules mean the same\n"),
        "{same:?}"
    );
    let beside = format!(
        "hivectl: compared with the rules of generation 1 in {} (from --region)\n",
        place.region().display()
    );
    assert_eq!(same.stderr, beside);
    fs::remove_file(place.path("new").join("inner.yaml")).unwrap();
    assert_differs(
        &place.hivectl(&["diff", directory]),
        &[
            "- domain inner\n",
            "inner.service.peer: removed\n",
            "no longer limited",
        ],
    );
}

#[test]
fn the_region_need_not_be_named() {
    let place = Place::new();
    let _region = place.own_with_rules();
    let new = place.write("new.yaml", RULES);
    let diff = |region: &std::path::Path, arguments: &[&std::path::Path]| {
        let mut command = hivectl();
        command.env("HIVEMIND_REGION_PATH", region).arg("diff");
        Finished::of(command.args(arguments))
    };
    let finished = diff(&place.region(), &[&new]);
    assert_differs(&finished, &["- domain inner\n"]);
    assert!(
        finished.stderr.contains("(from HIVEMIND_REGION_PATH)"),
        "{finished:?}"
    );
    // With both sets named, no region is looked at.
    assert_eq!(
        diff("/no/where".as_ref(), &[&new, &new]).ok(),
        "the rules mean the same\n"
    );
    let finished = diff("/no/where".as_ref(), &[&new]);
    assert_eq!(finished.status, Some(66), "{finished:?}");
    assert!(
        finished.stderr.contains("hivectl diff OLD NEW"),
        "{finished:?}"
    );
}
