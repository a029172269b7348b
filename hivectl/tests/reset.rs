//! `hivectl reset` against what answers like a meshd's admin port.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::{Value, json};
use support::admin::admin_port;
use support::{Finished, Place, hivectl};

fn ask(status: u16, body: &str, arguments: &[&str]) -> (Finished, Value) {
    let (address, thread) = admin_port("/reset", status, body);
    let admin = format!("--admin={address}");
    let mut command = hivectl();
    let finished = Finished::of(command.arg("reset").args(arguments).arg(&admin));
    (finished, thread.join().unwrap())
}

const DONE: &str = r#"{"domain":"edge","entries":[{"key":"user","value":"ann"}],"dry_run":false,
"counters":[
 {"unit":"hour","unit_multiplier":1,"window_start_unix_s":1800000000,"before":12,"after":0},
 {"unit":"minute","unit_multiplier":5,"window_start_unix_s":1800000000,"before":7,"after":0}]}"#;

#[test]
fn what_was_reset_is_a_table_with_the_hits_before_and_after() {
    let (finished, asked) = ask(200, DONE, &["edge", "user=ann,list=a\\,b"]);
    assert_eq!(
        asked,
        json!({
            "domain": "edge",
            "entries": [{"key": "user", "value": "ann"}, {"key": "list", "value": "a,b"}],
            "dry_run": false,
        })
    );
    let text = finished.ok();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "DOMAIN DESCRIPTOR UNIT WINDOW BEFORE AFTER",
            "edge user=ann,list=a\\,b hour 2027-01-15T08:00:00Z 12 0",
            "edge user=ann,list=a\\,b 5 minutes 2027-01-15T08:00:00Z 7 0",
        ]
    );
}

#[test]
fn json_is_what_meshd_says_and_a_dry_run_is_asked_for() {
    let (finished, asked) = ask(200, DONE, &["edge", "user=ann", "--json", "--dry-run"]);
    assert_eq!(asked["dry_run"], true);
    let expected: Value = serde_json::from_str(DONE).unwrap();
    assert_eq!(finished.json(), expected);
}

#[test]
fn a_dry_run_shows_what_would_be_and_says_that_nothing_was_done() {
    for (is_on, note) in [
        ("true", ""),
        (
            "false",
            "hivectl: meshd would refuse to do it: admin.reset is not true\n",
        ),
    ] {
        let answer = DONE.replace(
            r#""dry_run":false"#,
            &format!(r#""dry_run":true,"admin_reset":{is_on}"#),
        );
        let (finished, _) = ask(200, &answer, &["edge", "user=ann", "--dry-run"]);
        assert_eq!(finished.status, Some(0), "{finished:?}");
        assert_eq!(
            finished.stderr,
            format!("hivectl: nothing was reset (--dry-run)\n{note}")
        );
        let titles = finished.stdout.lines().next().unwrap();
        assert!(titles.ends_with("NOW  WOULD BE"), "{finished:?}");
    }
}

#[test]
fn what_meshd_refuses_is_said_in_its_words_with_a_status_of_its_own() {
    for (status, error, exit) in [
        (403, "off", 77),
        (404, "nothing_counted", 1),
        (503, "not_joined", 69),
        (400, "body", 69),
    ] {
        let body = json!({"error": error, "message": "set admin.reset \u{1b}[2J"}).to_string();
        let (finished, _) = ask(status, &body, &["edge", "user=ann"]);
        assert_eq!(
            (finished.status, &*finished.stdout),
            (Some(exit), ""),
            "{finished:?}"
        );
        assert!(finished.stderr.contains("set admin.reset"), "{finished:?}");
        assert!(!finished.stderr.contains('\u{1b}'), "{finished:?}");
    }
}

#[test]
fn a_meshd_without_resets_and_whoever_else_answers_is_status_69() {
    for (status, body) in [
        (404, ""),
        (405, ""),
        (200, "<html>"),
        (200, "{}"),
        (500, "{}"),
    ] {
        let (finished, _) = ask(status, body, &["edge", "user=ann"]);
        assert_eq!(finished.status, Some(69), "{finished:?}");
        assert!(finished.stderr.contains("no admin port"), "{finished:?}");
    }
}

#[test]
fn without_a_meshd_nothing_is_reset_and_the_way_out_is_named() {
    let place = Place::new();
    let region = place.own_with_rules();
    let finished = place.hivectl(&["reset", "edge", "user=ann"]);
    assert_eq!(finished.status, Some(69), "{finished:?}");
    assert!(
        finished.stderr.contains("names no admin port"),
        "{finished:?}"
    );

    let (address, thread) = admin_port("/reset", 200, DONE);
    region.set_admin_address(Some(address));
    assert!(
        place
            .hivectl(&["reset", "edge", "user=ann"])
            .ok()
            .contains("12")
    );
    thread.join().unwrap();

    let missing = Finished::of(hivectl().args(["reset", "edge", "user=ann", "--region=/no/where"]));
    assert_eq!(missing.status, Some(66), "{missing:?}");
    let wrong = Finished::of(hivectl().args(["reset", "edge", "user"]));
    assert_eq!(wrong.status, Some(64), "{wrong:?}");
}
