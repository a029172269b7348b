//! `hivectl ls` on live and copied regions.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::sync::Arc;

use hivemind_shared::clock::{CoarseClock, ManualClock};
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry, LimitOverride};
use hivemind_shared::region::{Name, OwnedRegion};
use hivemind_shared::table::Key;
use hivemind_shared::window::{Period, Unit};
use serde_json::{Value, json};
use support::{AT_NOW, Finished, MORE_RULES, NOW_S, Place, copy, hit, hit_by, hivectl, publish};

/// A region in which every rule has been hit.
fn busy(place: &Place) -> OwnedRegion {
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "ann")], 3);
    hit(&region, "edge", &[("user", "bob")], 6);
    hit(&region, "edge", &[("user", "batch")], 50);
    hit(&region, "edge", &[("user", "banned")], 1);
    hit(&region, "edge", &[("route", "files/a")], 1);
    hit(&region, "edge", &[("route", "files/b")], 1);
    hit(
        &region,
        "inner",
        &[("service", "cart"), ("peer", "shop")],
        70,
    );
    region
}

fn descriptors(listing: &Value) -> Vec<String> {
    let name = |counter: &Value| counter["entries"][0]["value"].as_str().unwrap().to_owned();
    listing["counters"]
        .as_array()
        .unwrap()
        .iter()
        .map(name)
        .collect()
}

#[test]
fn counters_are_listed_hottest_first_in_aligned_columns() {
    let place = Place::new();
    let _region = busy(&place);
    let expected = "\
DOMAIN  DESCRIPTOR              UNIT    WINDOW                LOCAL  REMOTE  LIMIT  PERCENT   RESET_S
edge    user=banned             day     2027-01-15T00:00:00Z      1       0      0      inf     57600
edge    user=bob                day     2027-01-15T00:00:00Z      6       0      4    150.0     57600
edge    user=ann                day     2027-01-15T00:00:00Z      3       0      4     75.0     57600
edge    user=batch              year    2026-12-18T00:00:00Z     50       0    100     50.0  29088000
edge    route=files/*           minute  2027-01-15T08:00:00Z      2       0     10     20.0        60
inner   service=cart,peer=shop  year    2026-12-18T00:00:00Z     70       0   1000      7.0  29088000
";
    assert_eq!(place.hivectl(&["ls", AT_NOW]).ok(), expected);
}

#[test]
fn json_has_everything_about_a_counter_and_the_rule_it_is_held_against() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "ann")], 3);
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    let fingerprint = listing["counters"][0]["fingerprint"].as_str().unwrap();
    assert_eq!(fingerprint.len(), 32);
    let expected = json!({
        "path": place.region().to_str().unwrap(),
        "region_id": format!("{:016x}", region.region().region_id()),
        "now_unix_s": NOW_S,
        "rules_generation": 1,
        "rules_error": null,
        "live_counters": 1,
        "counters": [{
            "domain": "edge",
            "entries": [{"key": "user", "value": "ann"}],
            "label_truncated": false,
            "fingerprint": fingerprint,
            "unit": "day",
            "unit_multiplier": 1,
            "window_start_unix_s": 1_799_971_200,
            "local": 3,
            "remote": 0,
            "limit": 4,
            "percent": 75.0,
            "reset_s": 57_600,
            "last_use_unix_s": NOW_S,
            "rule": {
                "path": "edge.user",
                "name": "per_user",
                "shadow_mode": false,
                "file": "rules-0.yaml",
                "line": 4,
            },
        }],
    });
    assert_eq!(listing, expected);
}

#[test]
fn a_limit_of_zero_has_no_percentage_and_comes_first() {
    let place = Place::new();
    let _region = busy(&place);
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    assert_eq!(descriptors(&listing)[0], "banned");
    assert_eq!(listing["counters"][0]["limit"], 0);
    assert_eq!(listing["counters"][0]["percent"], Value::Null);
    assert_eq!(listing["counters"][0]["rule"]["name"], Value::Null);
}

#[test]
fn equally_used_limits_are_listed_by_count() {
    let place = Place::new();
    let region = place.own_with_rules();
    for (user, hits) in [("ann", 1), ("batch", 25), ("bob", 1)] {
        hit(&region, "edge", &[("user", user)], hits);
    }
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    assert_eq!(descriptors(&listing), ["batch", "ann", "bob"]);
}

#[test]
fn what_peers_counted_is_shown_apart_and_counts_toward_the_limit() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(
        &region,
        "inner",
        &[("service", "cart"), ("peer", "shop")],
        100,
    );
    let now_window = Period::from(Unit::Year).window_at(NOW_S);
    let counter = region.region().counters(NOW_S).next().unwrap();
    let key = Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    };
    let clock = ManualClock::at(NOW_S);
    region
        .region()
        .put_remote(&key, now_window, 400, &clock)
        .unwrap();
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    let counter = &listing["counters"][0];
    assert_eq!(
        [&counter["local"], &counter["remote"], &counter["percent"]],
        [&json!(100), &json!(400), &json!(50.0)]
    );
}

#[test]
fn a_counter_that_only_peers_asked_for_shows_the_name_they_told_and_the_limit_of_the_rule() {
    let [ours, peers] = [(); 2].map(|()| Place::new());
    let [region, peer] = [&ours, &peers].map(Place::own_with_rules);
    hit(&region, "edge", &[("user", "ann")], 1);
    let escapes = "bob\u{1b}[2J";
    let named = Name::of(b"edge", &[Entry::new("user", escapes)]);
    let key = Key {
        fingerprint: {
            hit(&peer, "edge", &[("user", escapes)], 3);
            peer.region().counters(NOW_S).next().unwrap().fingerprint
        },
        period: Unit::Day.into(),
    };
    let window = key.period.window_at(NOW_S);
    let clock = ManualClock::at(NOW_S);
    region.region().put_remote(&key, window, 3, &clock).unwrap();
    region.region().put_name(&key, &named, true);
    let listing = ours.hivectl(&["ls", "--json", AT_NOW]).json();
    assert_eq!(descriptors(&listing), [escapes, "ann"]);
    let counter = &listing["counters"][0];
    assert_eq!(
        [
            &counter["local"],
            &counter["remote"],
            &counter["limit"],
            &counter["percent"]
        ],
        [&json!(0), &json!(3), &json!(4), &json!(75.0)]
    );
    assert_eq!(counter["rule"]["path"], "edge.user");
    let text = ours.hivectl(&["ls", AT_NOW]).ok();
    assert!(text.contains("user=bob\\u{1b}[2J "), "{text}");
}

#[test]
fn domain_prefix_and_top_leave_counters_out_and_the_total_stays() {
    let place = Place::new();
    let _region = busy(&place);
    let inner = place
        .hivectl(&["ls", "--json", AT_NOW, "--domain", "inner"])
        .json();
    assert_eq!(descriptors(&inner), ["cart"]);
    let top = place
        .hivectl(&["ls", "--json", AT_NOW, "--domain=edge", "--top=2"])
        .json();
    assert_eq!(descriptors(&top), ["banned", "bob"]);
    assert_eq!(top["live_counters"], 6);
    let begin_with_b = place
        .hivectl(&["ls", "--json", AT_NOW, "--prefix=user=b"])
        .json();
    assert_eq!(descriptors(&begin_with_b), ["banned", "bob", "batch"]);
    assert_eq!(begin_with_b["live_counters"], 6);
    let none = place
        .hivectl(&["ls", "--json", AT_NOW, "--domain", "nowhere"])
        .json();
    assert_eq!(none["counters"], json!([]));
    assert_eq!(
        place
            .hivectl(&["ls", AT_NOW, "--top", "1"])
            .ok()
            .lines()
            .count(),
        2
    );
}

#[test]
fn a_live_region_is_read_by_the_clock() {
    let place = Place::new();
    let region = place.own_with_rules();
    let limiter = Limiter::new(Arc::clone(region.region()), CoarseClock);
    hit_by(&limiter, "edge", &[("user", "batch")], 5);
    let listing = place.hivectl(&["ls", "--json"]).json();
    assert_eq!(descriptors(&listing), ["batch"]);
    assert_eq!(listing["counters"][0]["percent"], 5.0);
    let text = place.hivectl(&["ls"]).ok();
    assert!(text.contains("user=batch"), "{text}");
}

#[test]
fn a_copy_is_read_as_of_the_last_heartbeat_when_asked() {
    let place = Place::new();
    let region = place.own_with_rules();
    // Its minute has not come yet by the clock, as that of an old copy has passed.
    let beat_s = region.region().created_unix_ms() / 1_000 + 86_400;
    region.beat(beat_s * 1_000);
    let clock = ManualClock::at(beat_s);
    let limiter = Limiter::new(Arc::clone(region.region()), clock);
    hit_by(&limiter, "edge", &[("route", "files/a")], 2);
    let copied = place.path("copy");
    copy(&place.region(), &copied);
    drop(region);
    fs::remove_file(place.region()).unwrap();

    let run =
        |arguments: &[&str]| Finished::of(hivectl().args(arguments).arg("--region").arg(&copied));
    let listing = run(&["ls", "--json", "--at", "heartbeat"]).json();
    assert_eq!(listing["now_unix_s"], beat_s);
    assert_eq!(listing["counters"][0]["local"], 2);
    let now = run(&["ls"]);
    assert_eq!((now.status, now.stdout.lines().count()), (Some(0), 1));
    assert!(now.stderr.contains("--at heartbeat"), "{}", now.stderr);
}

#[test]
fn a_limit_the_request_brought_along_is_not_known() {
    let place = Place::new();
    let region = place.own_with_rules();
    let limiter = Limiter::new(Arc::clone(region.region()), ManualClock::at(NOW_S));
    let entries = [Entry::new("user", "ann")];
    let descriptor = Descriptor {
        limit: Some(LimitOverride {
            requests_per_unit: 9,
            period: Unit::Day.into(),
        }),
        ..Descriptor::new(&entries)
    };
    limiter
        .decide(b"edge", &[descriptor], 3, &mut Decision::new())
        .unwrap();
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    let counter = &listing["counters"][0];
    assert_eq!(counter["local"], 3);
    assert_eq!(
        [&counter["limit"], &counter["percent"], &counter["rule"]],
        [&Value::Null; 3]
    );
    let text = place.hivectl(&["ls", AT_NOW]).ok();
    assert!(text.contains(" -        -    57600"), "{text}");
}

#[test]
fn counters_that_changed_rules_left_behind_have_no_limit_and_come_last() {
    let place = Place::new();
    let mut region = busy(&place);
    publish(&mut region, &[MORE_RULES]);
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    assert_eq!(listing["rules_generation"], 2);
    assert_eq!(
        descriptors(&listing),
        ["cart", "batch", "bob", "ann", "files/*", "banned"]
    );
    assert_eq!(listing["counters"][1]["limit"], Value::Null);
}

#[test]
fn a_label_without_room_is_marked_and_the_limit_found_all_the_same() {
    let place = Place::new();
    let region = place.own_with_rules();
    let user = "u".repeat(200);
    hit(&region, "edge", &[("user", &user)], 1);
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    assert_eq!(listing["counters"][0]["label_truncated"], true);
    assert_eq!(listing["counters"][0]["limit"], 4);
    let text = place.hivectl(&["ls", AT_NOW]).ok();
    assert!(text.contains("uuu,…"), "{text}");
}

#[test]
fn a_counter_whose_label_is_lost_shows_its_fingerprint() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(
        &region,
        "inner",
        &[("service", "cart"), ("peer", "shop")],
        10,
    );
    drop(region);
    // Labels begin with their length and the domain's text behind its own.
    let mut bytes = fs::read(place.region()).unwrap();
    let at = bytes
        .windows(6)
        .position(|window| window == b"\x05inner")
        .unwrap();
    bytes[at + 1] = b'I';
    fs::write(place.region(), bytes).unwrap();

    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    let counter = &listing["counters"][0];
    assert_eq!([&counter["domain"], &counter["entries"]], [&Value::Null; 2]);
    assert_eq!(
        counter["limit"], 1_000,
        "found through the statistics index"
    );
    let fingerprint = counter["fingerprint"].as_str().unwrap();
    let text = place.hivectl(&["ls", AT_NOW]).ok();
    let row = text.lines().nth(1).unwrap();
    assert!(
        row.starts_with(&format!("-       {fingerprint}  year ")),
        "{text}"
    );
    assert_eq!(
        place
            .hivectl(&["ls", "--json", AT_NOW, "--domain=inner"])
            .json()["counters"],
        json!([])
    );
}

#[test]
fn terminal_escapes_in_a_key_are_shown_not_sent() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "\u{1b}[2J")], 1);
    let text = place.hivectl(&["ls", AT_NOW]).ok();
    assert!(text.contains("user=\\u{1b}[2J"), "{text}");
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    assert_eq!(descriptors(&listing), ["\u{1b}[2J"]);
}

#[test]
fn a_region_without_rules_is_listed_without_limits() {
    let place = Place::new();
    let region = place.own();
    let finished = place.hivectl(&["ls", AT_NOW]);
    assert_eq!(finished.status, Some(0));
    assert!(finished.stdout.starts_with("DOMAIN "), "{finished:?}");
    assert!(
        finished.stderr.contains("the limits are unknown: no rules"),
        "{finished:?}"
    );
    let listing = place.hivectl(&["ls", "--json", AT_NOW]).json();
    assert!(
        listing["rules_error"]
            .as_str()
            .unwrap()
            .starts_with("no rules")
    );
    drop(region);
}

#[test]
fn a_comma_in_a_value_is_told_from_one_between_entries() {
    let place = Place::new();
    let mut region = place.own();
    publish(
        &mut region,
        &["
domain: edge
descriptors:
  - key: list
    rate_limit: {unit: day, requests_per_unit: 9}
    descriptors:
      - {key: b, rate_limit: {unit: day, requests_per_unit: 9}}
"],
    );
    hit(&region, "edge", &[("list", "a,b=c")], 2);
    hit(&region, "edge", &[("list", "a"), ("b", "c\u{200b}")], 1);
    let shown = |arguments: &[&str]| {
        let text = place.hivectl(&[&["ls", AT_NOW], arguments].concat()).ok();
        let rows = text.lines().skip(1);
        let column = |row: &str| row.split_whitespace().nth(1).unwrap().to_owned();
        rows.map(column).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]), [r"list=a\,b=c", r"list=a,b=c\u{200b}"]);
    assert_eq!(shown(&[r"--prefix=list=a\,"]), [r"list=a\,b=c"]);
    assert_eq!(shown(&["--prefix=list=a,b"]), [r"list=a,b=c\u{200b}"]);
    // What is shown can be typed.
    for descriptor in shown(&[]) {
        let explained = place.hivectl(&["explain", AT_NOW, "--json", "edge", &descriptor]);
        let live = &explained.json()["descriptors"][0]["counter"]["live"];
        assert!(live["local"].as_u64() > Some(0), "{descriptor}: {live}");
    }
}
