//! Every exit status that is promised, by real runs; and that help and README promise the same.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::admin::admin_port;
use support::{Finished, Place, RULES, hit, hivectl};

/// What hivectl says of each status in its help.
fn promised() -> BTreeMap<i32, String> {
    let help = Finished::of(hivectl().arg("--help")).ok();
    let (_, table) = help.split_once("Exit status:\n").expect("a table");
    let lines = table.lines().map_while(|line| line.strip_prefix("  "));
    let row = |line: &str| {
        let (status, meaning) = line.split_once(' ').expect("a status and its meaning");
        let status = status.parse().expect("a number");
        (status, meaning.trim().to_owned())
    };
    lines.map(row).collect()
}

#[test]
fn help_and_readme_promise_the_same() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("a README");
    let promised = promised();
    assert_eq!(promised.len(), 9, "{promised:?}");
    for (status, meaning) in promised {
        let row = format!("| {status} | {meaning} |\n");
        assert!(readme.contains(&row), "no {row:?}");
    }
}

#[test]
fn every_status_is_what_it_is_promised_to_be() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "ann")], 1);
    let path = |name: &str, text: &str| {
        let path = place.write(name, text);
        path.to_str().unwrap().to_owned()
    };
    let (good, wrong) = (path("good.yaml", RULES), path("wrong.yaml", "domain: ''\n"));
    let other = path(
        "other.yaml",
        &RULES.replace("requests_per_unit: 4", "requests_per_unit: 5"),
    );
    let empty = place.path("empty");
    fs::create_dir(&empty).unwrap();
    let (good, wrong, other) = (&*good, &*wrong, &*other);
    let empty = empty.to_str().unwrap();
    let status = |arguments: &[&str]| {
        let finished = place.hivectl(arguments);
        finished.status.unwrap_or_else(|| panic!("{arguments:?}"))
    };
    let mut seen = BTreeMap::new();
    for (expected, arguments) in [
        (0, &["stat"][..]),
        (0, &["ls"]),
        (0, &["check", good]),
        (0, &["check", "--format=json", good]),
        (0, &["explain", "edge", "user=ann"]),
        (0, &["explain", "edge", "nothing=here"]),
        (0, &["keygen"]),
        (0, &["help"]),
        (1, &["diff", good]),
        (64, &["diff", good, other]),
        (64, &["explain", "edge"]),
        (64, &["nothing"]),
        (65, &["check", wrong]),
        (65, &["check", "--format=json", wrong]),
        (65, &["check", "--format=github", wrong]),
        // Wrong rules stay wrong when the others can be read.
        (65, &["check", wrong, "/no/where"]),
        (65, &["diff", wrong]),
        (65, &["keygen", "--add", wrong]),
        (66, &["check", "/no/where"]),
        (66, &["check", good, "/no/where"]),
        (66, &["check", "--format=json", "/no/where"]),
        (66, &["check", "--format=github", "/no/where"]),
        (66, &["check", empty]),
        (66, &["diff", "/no/where"]),
        (66, &["keygen", "--add", "/no/where"]),
        (69, &["peers"]),
        (69, &["reset", "edge", "user=ann"]),
        (69, &["log-level"]),
        (74, &["keygen", "--out", good]),
    ] {
        assert_eq!(status(arguments), expected, "{arguments:?}");
        seen.insert(expected, ());
    }
    let without_region = |arguments: &[&str]| {
        let mut command = hivectl();
        command.env("HIVEMIND_REGION_PATH", "/no/where");
        Finished::of(command.args(arguments)).status
    };
    for (expected, arguments) in [
        (0, &["diff", good, good][..]),
        (1, &["diff", good, other]),
        (0, &["explain", good, "edge", "user=ann"]),
        (65, &["explain", wrong, "edge", "user=ann"]),
        (65, &["diff", good, wrong]),
        (66, &["stat"]),
        (66, &["ls"]),
        (66, &["peers"]),
        (66, &["explain", "edge", "user=ann"]),
        (66, &["explain", "/no/rules", "edge", "user=ann"]),
        (66, &["diff", good]),
        (66, &["diff", good, "/no/rules"]),
        (66, &["reset", "edge", "user=ann"]),
        (66, &["log-level", "debug"]),
    ] {
        assert_eq!(without_region(arguments), Some(expected), "{arguments:?}");
    }
    for (expected, http, error, arguments) in [
        (
            1,
            404,
            "nothing_counted",
            &["reset", "edge", "user=ann"][..],
        ),
        (69, 503, "not_joined", &["reset", "edge", "user=ann"]),
        (69, 404, "", &["log-level", "debug"]),
        (77, 403, "off", &["reset", "edge", "user=ann"]),
        (77, 403, "off", &["log-level", "debug"]),
    ] {
        let body = format!(r#"{{"error": "{error}", "message": "no"}}"#);
        let (address, thread) = admin_port(&format!("/{}", arguments[0]), http, &body);
        let finished = Finished::of(hivectl().args(arguments).arg(format!("--admin={address}")));
        assert_eq!(finished.status, Some(expected), "{finished:?}");
        thread.join().unwrap();
        seen.insert(expected, ());
    }
    // All but that the system gives no random numbers, which cannot be brought about.
    let promised: Vec<i32> = promised()
        .into_keys()
        .filter(|status| *status != 71)
        .collect();
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), promised);
}
