//! The checks can fail: each is shown what it is there to find, and the same without it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use hivemind_mesh::settings::Settings;
use hivemind_mesh::status::{CauseCount, ProbeStatus, Status};
use hivemind_simulator::bound::Overshoot;
use hivemind_simulator::checks::{self, ACKNOWLEDGEMENT_BYTES, Agreement, CONTROL_BYTES, Reading};
use hivemind_simulator::failure::Failure;
use hivemind_simulator::named::{Size, named};
use hivemind_simulator::run::run;
use hivemind_simulator::tally::Tally;
use hivemind_simulator::time::SECOND_US;
use hivemind_simulator::traffic::Traffic;
use hivemind_simulator::window_ledger::WindowLedger;

/// Three nodes that counted 5, 7 and 0, and know it.
fn right() -> Agreement {
    let reading = |node, local, remote| Reading {
        node,
        local,
        remote,
        counted: local,
    };
    Agreement {
        key: "user=ann".to_owned(),
        window: 9,
        alive: 12,
        gone: 0,
        is_exact: true,
        is_reset: false,
        readings: vec![reading(0, 5, 7), reading(1, 7, 5), reading(2, 0, 12)],
    }
}

fn says(agreement: Agreement) -> String {
    checks::counts(&[right(), agreement]).map_or_else(String::new, |failure| failure.to_string())
}

#[test]
fn right_counts_are_right() {
    assert_eq!(checks::counts(&[right(), right()]), None);
}

#[test]
fn a_node_that_knows_too_little_is_reported() {
    let mut wrong = right();
    wrong.readings[2].remote = 11;
    assert_eq!(
        says(wrong),
        "1 counts are wrong:\n  node 2, user=ann, window 9: total 11, should be 12"
    );
}

#[test]
fn a_node_that_knows_too_much_is_reported() {
    let mut wrong = right();
    wrong.readings[0].remote = 8;
    assert!(says(wrong).contains("node 0, user=ann, window 9: total 13, should be 12"));
}

#[test]
fn a_hit_that_is_lost_in_its_own_region_is_reported() {
    let mut wrong = right();
    wrong.readings[1].local = 6;
    let text = says(wrong);
    assert!(
        text.contains("node 1, user=ann, window 9: local 6, should be 7"),
        "{text}"
    );
}

#[test]
fn where_hits_were_forgiven_all_nodes_have_to_have_the_same() {
    let reset = |remotes: [i64; 3]| {
        let mut agreement = right();
        (agreement.is_exact, agreement.is_reset) = (false, true);
        for (reading, remote) in agreement.readings.iter_mut().zip(remotes) {
            reading.remote = remote;
        }
        says(agreement)
    };
    assert_eq!(reset([-2, -4, 3]), "");
    // Less than nothing is nothing.
    assert_eq!(reset([-5, -9, 0]), "");
    assert!(reset([-2, -4, 4]).contains("node 2, user=ann, window 9: total 4, should be 3"));
    assert!(reset([20, 18, 25]).contains("should be 12"));
}

#[test]
fn all_nodes_being_wrong_alike_is_reported() {
    let mut wrong = right();
    wrong.alive = 13;
    assert!(says(wrong).starts_with("3 counts are wrong"));
}

#[test]
fn of_an_actor_that_is_gone_any_part_may_be_known_but_the_same_everywhere() {
    let with_gone = |known: [i64; 3]| {
        let mut agreement = right();
        agreement.gone = 4;
        for (reading, known) in agreement.readings.iter_mut().zip(known) {
            reading.remote += known;
        }
        says(agreement)
    };
    for known in [0, 2, 4] {
        assert_eq!(with_gone([known; 3]), "");
    }
    assert!(with_gone([2, 2, 3]).contains("node 2, user=ann, window 9: total 15, should be 14"));
    assert!(with_gone([5; 3]).starts_with("3 counts are wrong"));
}

#[test]
fn a_count_that_began_again_may_be_too_small_but_never_too_large() {
    let restarted = |change: fn(&mut Reading)| {
        let mut agreement = right();
        agreement.is_exact = false;
        change(&mut agreement.readings[0]);
        says(agreement)
    };
    assert_eq!(restarted(|reading| reading.local = 1), "");
    assert!(restarted(|reading| reading.local = 6).contains("local 6, should be 0 to 5"));
    assert!(restarted(|reading| reading.remote = 8).contains("total 13, should be 0 to 12"));
}

#[test]
fn of_many_differences_the_first_few_are_shown() {
    let mut wrong = right();
    wrong.readings[2].remote = 1;
    let failure = checks::counts(&vec![wrong; 100]).unwrap();
    let text = failure.to_string();
    assert!(text.starts_with("100 counts are wrong"), "{text}");
    assert!(text.ends_with("and 92 more"), "{text}");
}

#[test]
fn an_overshoot_beyond_the_bound_is_reported_and_one_within_is_not() {
    // Two nodes pass the limit of 10 each; nothing excuses that but a staleness as long as it took.
    let mut window = WindowLedger::new(2);
    for hit in 0..10 {
        for node in [0, 1] {
            window.hit(hit * 1_000, node as usize, node, 1, 10, true);
        }
    }
    let check = |staleness_us| {
        let overshoot = Overshoot::of(&window, 10, 2, 0.01, staleness_us);
        checks::overshoots([("user=ann".to_owned(), overshoot)])
    };
    assert_eq!(check(None), None);
    let text = check(Some(2_000)).unwrap().to_string();
    assert!(
        text.starts_with("user=ann: 20 passed of 10, that is 10 beyond"),
        "{text}"
    );
    assert!(
        text.ends_with("with a staleness of 2.0 ms it may be 4"),
        "{text}"
    );
}

#[test]
fn a_refusal_while_the_limit_is_not_used_up_is_reported() {
    let early = |early| checks::early([("key".to_owned(), Tally { passed: 9, early })]);
    assert_eq!(early(0), None);
    let text = early(2).unwrap().to_string();
    assert_eq!(
        text,
        "key: 2 hits were refused although the limit was not used up"
    );
}

#[test]
fn a_hit_that_took_too_long_is_reported() {
    assert_eq!(checks::staleness(100, 100), None);
    assert!(checks::staleness(101, 100).is_some());
}

fn traffic_failures(fill: impl FnOnce(&mut Traffic)) -> Vec<Failure> {
    let settings = Settings {
        send_bytes_per_s: 8_000,
        datagram_bytes_max: 1_000,
        ..Settings::new("test")
    };
    let mut traffic = Traffic::new(2);
    fill(&mut traffic);
    checks::traffic(&traffic, &settings).collect()
}

/// What a node may send in a second above: its budget, an eighth of it, and control.
const ALLOWED_BYTES: u64 = 8_000 + 1_000 + CONTROL_BYTES;

fn send(traffic: &mut Traffic, bytes: u64) {
    for _ in 0..bytes / 500 {
        traffic.sent(3 * SECOND_US, 1, 500);
    }
    traffic.sent(3 * SECOND_US, 1, usize::try_from(bytes % 500).unwrap());
}

#[test]
fn traffic_beyond_the_budget_is_reported() {
    assert!(traffic_failures(|traffic| send(traffic, ALLOWED_BYTES)).is_empty());
    let failures = traffic_failures(|traffic| send(traffic, ALLOWED_BYTES + 1));
    assert_eq!(
        failures,
        [Failure::Traffic {
            node: 1,
            second: 3,
            sent_bytes: ALLOWED_BYTES + 1,
            allowed_bytes: ALLOWED_BYTES,
        }]
    );
    let acknowledged = traffic_failures(|traffic| {
        send(traffic, ALLOWED_BYTES + ACKNOWLEDGEMENT_BYTES);
        traffic.received(3 * SECOND_US, 1);
    });
    assert!(acknowledged.is_empty(), "{acknowledged:?}");
}

#[test]
fn a_datagram_that_is_too_large_or_to_nobody_is_reported() {
    let failures = traffic_failures(|traffic| {
        traffic.sent(0, 0, 1_001);
        traffic.sent_nowhere();
    });
    let texts: Vec<_> = failures.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "a datagram had 1001 bytes, 1000 are allowed",
            "1 datagrams went to addresses of nobody",
        ]
    );
}

#[test]
fn a_request_without_room_is_reported() {
    assert_eq!(checks::uncounted(0), None);
    assert_eq!(
        checks::uncounted(3).unwrap().to_string(),
        "3 requests found no room in their region"
    );
}

/// A mesh that keeps so many keys and actors, and dropped this.
fn status(keys: usize, actors: usize, drops: &[(&str, u64)]) -> Vec<String> {
    let drops = drops.iter().map(|&(cause, count)| CauseCount {
        cause: cause.to_owned(),
        count,
    });
    let status = Status {
        actor: String::new(),
        name: String::new(),
        address: ([10, 0, 0, 1], 7946).into(),
        cluster: String::new(),
        sealed: false,
        rules: None,
        alone: None,
        joined: true,
        keys,
        actors,
        peers: Vec::new(),
        traffic: Vec::new(),
        drops: drops.collect(),
        probe: ProbeStatus::default(),
        overshoot: Vec::new(),
    };
    let settings = Settings {
        keys_max: 10,
        ..Settings::new("test")
    };
    let failures = checks::status(7, &status, &settings, 3);
    failures.iter().map(ToString::to_string).collect()
}

#[test]
fn a_mesh_that_keeps_too_much_is_reported() {
    assert!(status(10, 3, &[]).is_empty());
    assert_eq!(status(11, 3, &[]), ["node 7 keeps 11 keys, 10 are allowed"]);
    assert_eq!(status(10, 4, &[]), ["node 7 keeps 4 actors, 3 are allowed"]);
}

#[test]
fn a_mesh_that_drops_what_honest_peers_sent_is_reported() {
    assert!(
        status(
            0,
            0,
            &[("replayed", 9), ("outside_windows", 9), ("no_room", 0)]
        )
        .is_empty()
    );
    assert_eq!(
        status(0, 0, &[("bad_content", 2)]),
        ["node 7 dropped 2 times for `bad_content`"]
    );
}

#[test]
fn a_region_that_is_too_small_is_reported_with_the_command_to_see_it_again() {
    let mut scenario = named("idle_keys", 4, Size::Small).unwrap();
    scenario.max_keys = 16;
    scenario.converge_within_us = 0;
    scenario.rest_us = 0;
    let report = run(&scenario).unwrap();
    assert!(!report.is_good());
    let text = report.to_string();
    let command = "cargo xtask simulate --scenario idle_keys --seed 4 --small";
    assert!(text.starts_with("FAIL idle_keys seed 4"), "{text}");
    assert!(text.contains(command), "{text}");
}
