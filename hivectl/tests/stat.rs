//! `hivectl stat` on live and copied regions.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::HashMap;

use hivemind_shared::clock::unix_time_ms;
use serde_json::{Value, json};
use support::{AT_NOW, Finished, NOW_S, Place, copy, hit, hivectl};

/// The value of each row.
fn facts(text: &str) -> HashMap<&str, &str> {
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once("  ").unwrap();
            (name, value.trim())
        })
        .collect()
}

#[test]
fn text_has_a_fact_a_line_with_the_values_aligned() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "ann")], 1);
    hit(&region, "edge", &[("user", "bob")], 1);
    region.beat(unix_time_ms());
    // A day later in the life of the two counters.
    let text = place.hivectl(&["stat", "--at=1800086400"]).ok();
    let starts: Vec<_> = text
        .lines()
        .map(|line| line[18..].trim_start() == &line[18..] && line[..18].ends_with(' '))
        .collect();
    assert!(starts.iter().all(|aligned| *aligned), "{text}");
    let facts = facts(&text);
    let region_id = format!("{:016x}", region.region().region_id());
    let slots = region.region().slot_count().to_string();
    for (name, expected) in [
        ("region", place.region().to_str().unwrap()),
        ("region id", &region_id),
        ("layout version", "3"),
        ("live keys", "0 (0.0 % of 1000)"),
        ("expired keys", "2"),
        ("slots", &slots),
        ("keys claimed", "2"),
        ("evicted keys", "0"),
        ("table full", "0"),
        ("contended", "0"),
        ("rules generation", "1"),
        ("rules", "5"),
        ("domains", "2"),
    ] {
        assert_eq!(facts.get(name), Some(&expected), "{name} in\n{text}");
    }
    assert!(facts["size"].ends_with("KiB)"), "{text}");
    assert!(facts["created"].ends_with(" ago)"), "{text}");
}

#[test]
fn json_has_the_same_facts_as_numbers() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "ann")], 1);
    region.beat(NOW_S * 1_000 - 700);
    let view = region.region();
    let mut stat = place.hivectl(&["stat", "--json", AT_NOW]).json();
    let name = stat["owner_name"].take();
    assert!(name.is_string(), "{name}");
    let expected = json!({
        "path": place.region().to_str().unwrap(),
        "now_unix_ms": NOW_S * 1_000,
        "region_id": format!("{:016x}", view.region_id()),
        "layout_version": view.layout_version(),
        "size_bytes": std::fs::metadata(place.region()).unwrap().len(),
        "created_unix_ms": view.created_unix_ms(),
        "owner_pid": std::process::id(),
        "owner_presence": "running",
        "owner_name": null,
        "heartbeat_unix_ms": NOW_S * 1_000 - 700,
        "heartbeat_age_ms": 700,
        "heartbeat_stale": false,
        "live_keys": 1,
        "expired_keys": 0,
        "max_keys": 1_000,
        "slots": view.slot_count(),
        "fill_percent": 0.1,
        "keys_claimed": 1,
        "evicted_keys": 0,
        "evicted_keys_by_rule": [],
        "evicted_keys_of_request_limits": 0,
        "evicted_keys_of_peers": 0,
        "table_full": 0,
        "contended": 0,
        "rules_generation": 1,
        "rules": 5,
        "domains": 2,
        "rules_error": null,
    });
    assert_eq!(stat, expected);
}

#[test]
fn evicted_keys_are_named_by_rule() {
    let place = Place::new();
    let region = place.own_with_rules();
    for user in 0..3_000 {
        hit(&region, "edge", &[("user", &user.to_string())], 1);
    }
    let stat = place.hivectl(&["stat", "--json", AT_NOW]).json();
    let evicted = stat["evicted_keys"].as_u64().unwrap();
    assert!(evicted >= 3_000 - region.region().slot_count(), "{stat}");
    let by_rule = json!([{"rule": "edge.user", "keys": evicted}]);
    assert_eq!(stat["evicted_keys_by_rule"], by_rule);
    let text = place.hivectl(&["stat", AT_NOW]).ok();
    assert!(text.contains(&format!("{evicted} of edge.user")), "{text}");
}

#[test]
fn a_heartbeat_is_stale_after_five_seconds() {
    let place = Place::new();
    let region = place.own_with_rules();
    for (age_ms, stale) in [
        (0, false),
        (5_000, false),
        (5_001, true),
        (86_400_000, true),
    ] {
        region.beat(NOW_S * 1_000 - age_ms);
        let stat = place.hivectl(&["stat", "--json", AT_NOW]).json();
        assert_eq!(stat["heartbeat_stale"], stale, "{age_ms}");
        let text = place.hivectl(&["stat", AT_NOW]).ok();
        assert_eq!(facts(&text)["heartbeat"].contains("stale"), stale, "{text}");
    }
}

#[test]
fn a_live_region_is_read_by_the_clock() {
    let place = Place::new();
    let region = place.own_with_rules();
    region.beat(unix_time_ms());
    let stat = place.hivectl(&["stat", "--json"]).json();
    let age_ms = stat["heartbeat_age_ms"].as_u64().unwrap();
    assert!(age_ms < 60_000, "{age_ms}");
    let text = place.hivectl(&["stat"]).ok();
    let owner = format!("process {} (", std::process::id());
    assert!(facts(&text)["owner"].starts_with(&owner), "{text}");
    assert!(facts(&text)["owner"].ends_with("), running"), "{text}");
}

#[test]
fn an_owner_that_is_gone_is_told_from_one_that_cannot_be_seen() {
    let place = Place::new();
    let region = place.own_with_rules();
    region.beat(NOW_S * 1_000);
    drop(region);
    // The owner's process id: one word at offset 256, here a number no process has.
    let mut bytes = std::fs::read(place.region()).unwrap();
    bytes[256..264].copy_from_slice(&u64::from(u32::MAX).to_le_bytes());
    std::fs::write(place.region(), bytes).unwrap();

    let fresh = place.hivectl(&["stat", AT_NOW]).ok();
    assert!(
        facts(&fresh)["owner"].contains("not found from here"),
        "{fresh}"
    );
    let stale = place.hivectl(&["stat", "--at=1800000060"]).ok();
    assert!(facts(&stale)["owner"].ends_with("not running"), "{stale}");
    let json = place.hivectl(&["stat", "--json", AT_NOW]).json();
    assert_eq!(json["owner_presence"], "not_found");
    assert_eq!(json["owner_name"], Value::Null);
}

#[test]
fn a_copy_says_the_same_as_the_region() {
    let place = Place::new();
    let region = place.own_with_rules();
    region.beat(NOW_S * 1_000);
    hit(&region, "edge", &[("user", "ann")], 1);
    let copied = place.path("copy");
    copy(&place.region(), &copied);
    let mut of_region = place.hivectl(&["stat", "--json", AT_NOW]).json();
    let mut of_copy = Finished::of(
        hivectl()
            .args(["stat", "--json", AT_NOW, "--region"])
            .arg(&copied),
    )
    .json();
    assert_eq!(of_copy["path"].take(), copied.to_str().unwrap());
    of_region["path"].take();
    assert_eq!(of_copy, of_region);
}

#[test]
fn a_region_without_rules_and_heartbeat_says_so() {
    let place = Place::new();
    let region = place.own();
    let text = place.hivectl(&["stat"]).ok();
    assert_eq!(facts(&text)["rules generation"], "0");
    assert!(
        facts(&text)["rules"].starts_with("no rules have been published"),
        "{text}"
    );
    assert!(
        facts(&text)["heartbeat"].starts_with("stale (never)"),
        "{text}"
    );
    let json = place.hivectl(&["stat", "--json"]).json();
    for name in ["heartbeat_unix_ms", "heartbeat_age_ms", "rules", "domains"] {
        assert_eq!(json[name], Value::Null, "{name}");
    }
    assert_eq!(json["heartbeat_stale"], true);
    assert!(json["rules_error"].is_string());
    drop(region);
}
