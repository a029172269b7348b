//! Resets of counters: by the admin port, on one host and on all of a mesh.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::newcomer::Newcomer;
use support::{Meshd, Site, eventually, exchange};

/// Limits of all kinds, in windows that do not end within a test.
const RULES: &str = "
domain: test
descriptors:
  - key: user
    rate_limit: {unit: year, requests_per_unit: 20}
  - key: list
    rate_limits:
      - {unit: year, requests_per_unit: 20}
      - {unit: year, unit_multiplier: 2, requests_per_unit: 15}
  - key: slide
    rate_limit: {unit: year, requests_per_unit: 20, hivemind: {algorithm: sliding_window}}
  - key: bucket
    rate_limit: {unit: year, requests_per_unit: 20, hivemind: {algorithm: token_bucket}}
";

const ADA: &str = r#"{"domain":"test","entries":[{"key":"user","value":"ada"}]}"#;

const RESETS: &str = "--admin-reset=true";

/// Asks for a descriptor of one entry; the status, and what is left.
fn ask(meshd: &Meshd, key: &str, hits: u64) -> (u16, u64) {
    let call = json!({
        "domain": "test",
        "descriptors": [{
            "entries": [{"key": key, "value": "ada"}],
            "hitsAddend": hits.to_string(),
        }],
    });
    let (status, body) = meshd.json(&call.to_string());
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let left = &answer["statuses"][0]["limitRemaining"];
    // In the JSON form of protobuf, zero is left out.
    (status, left.as_u64().unwrap_or(0))
}

fn left(meshd: &Meshd, key: &str) -> u64 {
    ask(meshd, key, 0).1
}

/// Resets a descriptor of one entry; the status and the answer.
fn reset(meshd: &Meshd, key: &str) -> (u16, Value) {
    let body = json!({"domain": "test", "entries": [{"key": key, "value": "ada"}]});
    let (status, body) = meshd.admin_post("/reset", &body.to_string());
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[test]
fn resets_are_off_until_they_are_switched_on_and_say_how() {
    let site = Site::new(RULES);
    let meshd = site.start();
    ask(&meshd, "user", 5);
    let (status, body) = meshd.admin_post("/reset", ADA);
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("admin.reset"), "{body}");
    assert!(meshd.admin("/reset").1.contains("admin.reset"));
    assert_eq!(left(&meshd, "user"), 15);
    assert!(
        meshd.log().contains("a reset was refused"),
        "{}",
        meshd.log()
    );
}

#[test]
fn a_reset_lets_every_kind_of_limit_through_again_and_leaves_others_alone() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[RESETS]);
    for key in ["user", "list", "slide", "bucket"] {
        let full = left(&meshd, key);
        while ask(&meshd, key, 1).0 == 200 {}
        assert_eq!(ask(&meshd, key, 1).0, 429, "{key}");
        let (status, answer) = reset(&meshd, key);
        assert_eq!(status, 200, "{answer}");
        let counters = answer["counters"].as_array().expect("an array");
        assert_eq!(
            counters.len(),
            if key == "list" { 2 } else { 1 },
            "{answer}"
        );
        for counter in counters {
            assert!(counter["before"].as_u64() >= Some(15), "{answer}");
            assert_eq!(counter["after"], 0, "{answer}");
        }
        assert_eq!(left(&meshd, key), full, "{key}");
        assert_eq!(ask(&meshd, key, 1), (200, full - 1), "{key}");
    }
    assert_eq!(ask(&meshd, "user", 3), (200, 16));
    reset(&meshd, "list");
    assert_eq!(left(&meshd, "user"), 16);

    let log = meshd.log();
    let line = log.lines().find(|line| line.contains("counter reset"));
    let line = line.unwrap_or_else(|| panic!("no reset in {log}"));
    for part in ["127.0.0.1:", "test", "user=ada", "before"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[test]
fn a_dry_run_says_what_a_reset_would_do_and_does_nothing() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[RESETS]);
    ask(&meshd, "user", 5);
    let dry = ADA.replace("\"entries\"", "\"dry_run\":true,\"entries\"");
    let (status, body) = meshd.admin_post("/reset", &dry);
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let counter = &answer["counters"][0];
    assert_eq!((status, &counter["before"]), (200, &json!(5)));
    assert_eq!(
        (&counter["after"], &answer["admin_reset"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(left(&meshd, "user"), 15);
    assert!(!meshd.log().contains("counter reset"));
    drop(meshd);

    // It shows no more than anybody sees, so it need not be allowed.
    let meshd = site.start();
    let (status, body) = meshd.admin_post("/reset", &dry);
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, &answer["admin_reset"]),
        (200, &json!(false)),
        "{body}"
    );
    assert_eq!(left(&meshd, "user"), 15);
}

#[test]
fn wrong_resets_are_refused_with_a_reason() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[RESETS]);
    let large = format!("{}{}", ADA, " ".repeat(70_000));
    for (body, expected, part) in [
        ("", 400, "body"),
        ("{}", 422, "domain"),
        (
            r#"{"domain":"test","entries":[],"x":1}"#,
            422,
            "unknown field",
        ),
        (r#"{"domain":"test","entries":[]}"#, 400, "entries"),
        (ADA, 404, "user=ada in domain test"),
        (&large, 413, "body"),
    ] {
        let (status, answer) = meshd.admin_post("/reset", body);
        assert_eq!(status, expected, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let message = answer["message"].as_str().expect("a text");
        assert!(message.contains(part), "no {part} in {message}");
    }
    // As a form of a web page would have a browser send it.
    let length = ADA.len();
    let form = format!(
        "POST /reset HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: text/plain\r\n\
         content-length: {length}\r\n\r\n{ADA}"
    );
    assert_eq!(exchange(meshd.ports.admin, &form).0, 415);
    // And as a page would that has the address of this very port.
    let of_host = |host: &str| {
        let request = format!(
            "POST /reset HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{ADA}"
        );
        exchange(meshd.ports.admin, &request)
    };
    let (status, answer) = of_host("test");
    assert_eq!(status, 403, "{answer}");
    assert!(answer.contains("\"web_page\""), "{answer}");
    // And as one whose name was made to lead here.
    assert_eq!(of_host("rebound.example").0, 421);
    assert_eq!(meshd.http("/reset").0, 404, "not on the public port");
}

#[test]
fn a_reset_while_another_meshd_takes_over_is_refused_and_not_lost() {
    for mesh in [&[][..], &["--mesh-bind", "127.0.0.1:0"]] {
        let site = Site::new(RULES);
        let meshd = site.start_with(&[&[RESETS], mesh].concat());
        await_joined(&meshd);
        ask(&meshd, "user", 5);
        let newcomer = Newcomer::knock(&site);
        let offered = newcomer.ask();
        assert!(newcomer.take().contains("yours"));
        let (status, answer) = reset(&meshd, "user");
        assert_eq!(
            (status, &answer["error"]),
            (503, &json!("handed_over")),
            "{answer}"
        );
        assert_eq!(left(&meshd, "user"), 15);
        // It goes on once the newcomer is gone, and does it then.
        drop((newcomer, offered));
        eventually("a reset", || (reset(&meshd, "user").0 == 200).then_some(()));
        assert_eq!(left(&meshd, "user"), 20);
    }
}

#[test]
fn a_mesh_that_goes_on_stays_joined_and_resets_nothing_before_it_knows_what_each_peer_counted() {
    let sites = [(); 2].map(|()| site());
    let peer = join(&sites[0], None);
    let meshd = join_with(&sites[1], Some(&peer), &["--mesh-snapshot-timeout=60s"]);
    ask(&meshd, "user", 5);
    // What it has counted is not to be had for now.
    peer.signal(Signal::STOP);
    let newcomer = Newcomer::knock(&sites[1]);
    let offered = newcomer.ask();
    assert!(newcomer.take().contains("yours"));
    drop((newcomer, offered));
    let answer = eventually("the mesh goes on", || {
        let (_, answer) = reset(&meshd, "user");
        (answer["error"] != "handed_over").then_some(answer)
    });
    assert_eq!(answer["error"], "not_joined", "{answer}");
    // It is ready all along, so that this is nothing to wait for.
    assert_eq!(meshd.http("/ready").0, 200);
    let message = answer["message"].as_str().expect("a text");
    assert!(!message.contains("/ready"), "{message}");
    let (_, metrics) = meshd.http("/metrics");
    assert!(metrics.contains("\nhivemind_mesh_joined 1\n"), "{metrics}");
    peer.signal(Signal::CONT);
    eventually("a reset", || (reset(&meshd, "user").0 == 200).then_some(()));
    await_left(&[&peer, &meshd], "user", 20);
}

#[test]
fn a_reset_outlives_restarts_of_the_daemon() {
    for mesh in [&[][..], &["--mesh-bind", "127.0.0.1:0"]] {
        let site = Site::new(RULES);
        let arguments = [&[RESETS], mesh].concat();
        let meshd = site.start_with(&arguments);
        await_joined(&meshd);
        ask(&meshd, "user", 20);
        assert_eq!(reset(&meshd, "user").0, 200);
        ask(&meshd, "user", 2);
        meshd.kill();
        let meshd = site.start_with(&arguments);
        await_joined(&meshd);
        assert_eq!(ask(&meshd, "user", 1), (200, 17));
        assert_eq!(meshd.stop().code(), Some(0));
    }
}

fn await_joined(meshd: &Meshd) {
    eventually("meshd is ready", || {
        (meshd.http("/ready").0 == 200).then_some(())
    });
}

/// Starts a daemon that looks for another one.
fn join(site: &Site, to: Option<&Meshd>) -> Meshd {
    join_with(site, to, &[])
}

fn join_with(site: &Site, to: Option<&Meshd>, further: &[&str]) -> Meshd {
    let mut arguments = vec![RESETS.to_owned(), "--mesh-bind=127.0.0.1:0".to_owned()];
    arguments.extend(further.iter().map(|&argument| argument.to_owned()));
    if let Some(to) = to {
        let port = to.ports.mesh.expect("a port");
        arguments.push(format!("--mesh-bootstrap-peers=127.0.0.1:{port}"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let meshd = site.start_with(&arguments);
    await_joined(&meshd);
    meshd
}

/// A site whose daemons give counters the same names as those of the others.
fn site() -> Site {
    Site::new(RULES)
}

/// Waits until so much is left everywhere.
fn await_left(meshds: &[&Meshd], key: &str, expected: u64) {
    for meshd in meshds {
        let mut seen = 0;
        eventually(&format!("{expected} left of {key}"), || {
            seen = left(meshd, key);
            (seen == expected).then_some(())
        });
    }
}

#[test]
fn a_reset_on_one_host_is_one_on_all_and_on_those_that_start_later() {
    let sites = [(); 4].map(|()| site());
    let first = join(&sites[0], None);
    let second = join(&sites[1], Some(&first));
    let third = join(&sites[2], Some(&first));
    for key in ["user", "list", "slide", "bucket"] {
        let full = left(&first, key);
        for (meshd, hits) in [(&first, 3), (&second, 4), (&third, 5)] {
            assert_eq!(ask(meshd, key, hits).0, 200, "{key}");
        }
        // A host that did not see a bucket's key before takes hits of peers to have come evenly.
        if key != "bucket" {
            await_left(&[&first, &second, &third], key, full - 12);
        }
        eventually("a reset of all twelve", || {
            let dry = json!({
                "domain": "test",
                "entries": [{"key": key, "value": "ada"}],
                "dry_run": true,
            });
            let (_, answer) = second.admin_post("/reset", &dry.to_string());
            let answer: Value = serde_json::from_str(&answer).ok()?;
            (answer["counters"][0]["before"] == 12).then_some(())
        });
        let (status, answer) = reset(&second, key);
        assert_eq!(
            (status, &answer["counters"][0]["before"]),
            (200, &json!(12))
        );
        await_left(&[&first, &second, &third], key, full);
        // The limit passes once more, wherever, and no further.
        assert_eq!(ask(&first, key, full - 2).0, 200, "{key}");
        await_left(&[&second, &third], key, 2);
        assert_eq!(ask(&third, key, 2), (200, 0));
        await_left(&[&first, &second], key, 0);
        assert_eq!(ask(&second, key, 1).0, 429, "{key}");
    }

    assert_eq!(reset(&first, "user").0, 200);
    await_left(&[&second, &third], "user", 20);
    assert_eq!(ask(&second, "user", 6), (200, 14));
    await_left(&[&first, &third], "user", 14);
    // One that starts again, at once after being killed, and one that is new.
    first.kill();
    let first = join(&sites[0], Some(&second));
    let fourth = join(&sites[3], Some(&third));
    await_left(&[&first, &second, &third, &fourth], "user", 14);
    assert_eq!(reset(&fourth, "user").0, 200);
    await_left(&[&first, &second, &third, &fourth], "user", 20);
}
