//! Names of keys: any host shows what keys read as that only others have asked for.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Meshd, Site, eventually};

/// Limits of all kinds, in windows that do not end within a test.
const RULES: &str = "
domain: test
descriptors:
  - key: user
    rate_limit: {unit: year, requests_per_unit: 20}
  - key: list
    rate_limits:
      - {unit: year, requests_per_unit: 40}
      - {unit: year, unit_multiplier: 2, requests_per_unit: 40}
  - key: slide
    rate_limit: {unit: year, requests_per_unit: 20, hivemind: {algorithm: sliding_window}}
  - key: bucket
    rate_limit: {unit: year, requests_per_unit: 20, hivemind: {algorithm: token_bucket, debt: 0}}
  - key: path
    value: /files/*
    share_threshold: true
    rate_limit: {unit: year, requests_per_unit: 20}
";

/// Starts a daemon that looks for another one.
fn join(site: &Site, to: Option<&Meshd>, further: &[&str]) -> Meshd {
    let peer = to.map(|to| {
        let port = to.ports.mesh.expect("a port");
        format!("--mesh-bootstrap-peers=127.0.0.1:{port}")
    });
    let mut arguments = vec!["--mesh-bind=127.0.0.1:0"];
    arguments.extend(further);
    arguments.extend(peer.as_deref());
    let meshd = site.start_with(&arguments);
    eventually("meshd is ready", || {
        (meshd.http("/ready").0 == 200).then_some(())
    });
    meshd
}

fn ask(meshd: &Meshd, key: &str, value: &str, hits: u64) {
    let call = json!({
        "domain": "test",
        "descriptors": [{
            "entries": [{"key": key, "value": value}],
            "hitsAddend": hits.to_string(),
        }],
    });
    let (status, body) = meshd.json(&call.to_string());
    assert_eq!(status, 200, "{body}");
}

/// Counters as `hivectl ls --json` has them, hottest first.
fn counters(meshd: &Meshd) -> Vec<Value> {
    let (status, body) = meshd.admin("/counters");
    assert_eq!(status, 200, "{body}");
    let listing: Value = serde_json::from_str(&body).expect("JSON");
    listing["counters"].as_array().expect("an array").clone()
}

/// What a counter reads as, how many hits it has and how many it may have.
fn row(counter: &Value) -> (String, u64, Option<u64>) {
    let entry = &counter["entries"][0];
    let text = |part: &Value| part.as_str().unwrap_or("-").to_owned();
    let name = [&counter["domain"], &entry["key"], &entry["value"]].map(text);
    let hits = ["local", "remote"].map(|part| counter[part].as_u64().expect("a number"));
    let limit = counter["limit"].as_u64();
    (name.join(" "), hits.iter().sum(), limit)
}

fn await_rows(meshd: &Meshd, expected: &[(&str, u64, Option<u64>)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|&(name, hits, limit)| (name.to_owned(), hits, limit))
        .collect();
    let mut seen = Vec::new();
    for _ in 0..1_000 {
        seen = counters(meshd).iter().map(row).collect();
        if seen == expected {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{seen:#?}\n{expected:#?}\n{}", meshd.log());
}

#[test]
fn a_host_that_never_saw_a_key_shows_its_name_and_its_limit_among_the_hottest() {
    let sites = [(); 3].map(|()| Site::new(RULES));
    let first = join(&sites[0], None, &[]);
    let second = join(&sites[1], Some(&first), &[]);
    ask(&first, "user", "ann", 19);
    ask(&first, "list", "ann", 36);
    ask(&first, "slide", "ann", 17);
    ask(&first, "bucket", "ann", 16);
    ask(&first, "path", "/files/a", 15);
    ask(&second, "user", "bob", 1);
    let all = [
        ("test user ann", 19, Some(20)),
        ("test list ann", 36, Some(40)),
        ("test list ann", 36, Some(40)),
        ("test slide ann", 17, Some(20)),
        ("test bucket ann", 16, Some(20)),
        ("test path /files/*", 15, Some(20)),
        ("test user bob", 1, Some(20)),
    ];
    await_rows(&second, &all);
    await_rows(&first, &all);

    // Whoever comes when the one that counted them is gone hears the names from the others.
    assert_eq!(first.stop().code(), Some(0));
    let third = join(&sites[2], Some(&second), &[]);
    await_rows(&third, &all);

    // They are in the region, and without one they are asked for again.
    assert_eq!(second.stop().code(), Some(0));
    let second = join(&sites[1], None, &[]);
    await_rows(&second, &all);
    assert_eq!(second.stop().code(), Some(0));
    fs::remove_file(sites[1].path("region")).expect("removed");
    let second = join(&sites[1], Some(&third), &[]);
    await_rows(&second, &all);
}

#[test]
fn a_name_that_a_peer_had_no_room_for_gives_way_to_what_is_asked_for_here() {
    let sites = [(); 2].map(|()| Site::new(RULES));
    let first = join(&sites[0], None, &[]);
    let second = join(&sites[1], Some(&first), &["--region-label-bytes=128"]);
    let user = "u".repeat(80);
    ask(&first, "user", &user, 5);
    let name = |counters: &[Value]| {
        let (name, hits, _) = row(counters.first()?);
        let truncated = counters.first()?["label_truncated"].as_bool()?;
        Some((name, hits, truncated))
    };
    let mut seen = None;
    eventually("a name as far as there was room for it", || {
        seen = name(&counters(&second)).filter(|(name, ..)| name != "- - -");
        seen.as_ref().map(|_| ())
    });
    let (cut, _, truncated) = seen.expect("a name");
    assert!(truncated && cut.starts_with("test user uuuu"), "{cut}");
    assert!(format!("test user {user}").starts_with(&cut), "{cut}");
    ask(&second, "user", &user, 1);
    let whole = (format!("test user {user}"), 6, false);
    assert_eq!(name(&counters(&second)), Some(whole));
}
