//! The simulator itself: the same seed is the same run, requests really are counted in regions by the
//! real decision, and faults do what they say. None of this needs peers to hear of each other.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use hivemind_shared::window::Unit;
use hivemind_simulator::checks::{Agreement, agreements, counts};
use hivemind_simulator::draw::draw;
use hivemind_simulator::fault::{Fault, TimedFault};
use hivemind_simulator::host::Host;
use hivemind_simulator::named::{NAMES, Size, named};
use hivemind_simulator::pace::Pace;
use hivemind_simulator::scenario::{Scenario, WARM_UP_US};
use hivemind_simulator::time::SECOND_US;
use hivemind_simulator::workload::{Demand, Order, Spread};
use hivemind_simulator::world::World;

/// One key, asked for 100 times a second at a single node, 50 of which may pass in an hour.
fn lonely() -> Scenario {
    Scenario {
        demands: vec![Demand {
            keys: 1,
            limit: 50,
            unit: Unit::Hour,
            requests_per_s: 100.0,
            hits: 1,
            spread: Spread::One { node: 1 },
            pace: Pace::Steady,
            order: Order::Random,
            from_us: WARM_UP_US,
        }],
        ..Scenario::new("lonely", 1, 3)
    }
}

fn with_faults(faults: impl IntoIterator<Item = (u64, Fault)>) -> Scenario {
    let faults = faults.into_iter();
    Scenario {
        faults: faults
            .map(|(after_s, fault)| TimedFault {
                at_us: WARM_UP_US + after_s * SECOND_US,
                fault,
            })
            .collect(),
        ..lonely()
    }
}

fn world_after(scenario: &Scenario) -> World {
    let mut world = World::new(scenario).unwrap();
    world.run_until(scenario.quiet_from_us()).unwrap();
    world
}

/// What is known of node 1 in the only window.
fn node_1(world: &World) -> (Agreement, u64) {
    let mut agreements = agreements(world);
    assert_eq!(agreements.len(), 1);
    let (_, _, window) = world.ledger().iter().next().unwrap();
    (agreements.remove(0), window.passed())
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |scenario: &Scenario| world_after(scenario).trace();
    for name in NAMES {
        let scenario = |seed| named(name, seed, Size::Small).unwrap();
        assert_eq!(trace(&scenario(1)), trace(&scenario(1)), "{name}");
        assert_ne!(trace(&scenario(1)), trace(&scenario(2)), "{name}");
    }
    for seed in 1..=5 {
        assert_eq!(
            trace(&draw(seed, 8)),
            trace(&draw(seed, 8)),
            "random {seed}"
        );
    }
}

#[test]
fn requests_are_counted_in_the_region_and_held_against_the_limit() {
    let (agreement, passed) = node_1(&world_after(&lonely()));
    let reading = agreement.readings[1];
    assert!((600..800).contains(&reading.counted), "{reading:?}");
    assert_eq!(reading.local, reading.counted);
    assert_eq!(passed, 50);
}

#[test]
fn counting_goes_on_while_the_daemon_is_dead_and_stops_with_the_host() {
    let counted = |scenario: &Scenario| {
        let world = world_after(scenario);
        let (_, _, window) = world.ledger().iter().next().unwrap();
        window.total()
    };
    let whole = counted(&lonely());
    assert_eq!(counted(&with_faults([(1, Fault::Kill { node: 1 })])), whole);
    assert_eq!(
        counted(&with_faults([(1, Fault::Leave { node: 1 })])),
        whole
    );
    let lost = counted(&with_faults([(1, Fault::LoseHost { node: 1 })]));
    assert!((70..130).contains(&lost), "{lost}");
}

#[test]
fn a_restarted_daemon_finds_its_counts_and_is_the_same_actor() {
    let scenario = with_faults([(1, Fault::Kill { node: 1 }), (2, Fault::Start { node: 1 })]);
    let world = world_after(&scenario);
    assert_eq!((world.hosts()[1].run(), world.ledger().actors()), (2, 3));
    let (agreement, passed) = node_1(&world);
    assert_eq!((agreement.gone, passed), (0, 50));
    assert_eq!(agreement.readings[1].local, agreement.alive);
}

#[test]
fn a_lost_host_comes_back_empty_and_as_another_actor() {
    let scenario = with_faults([
        (1, Fault::LoseHost { node: 1 }),
        (2, Fault::Start { node: 1 }),
    ]);
    let world = world_after(&scenario);
    assert_eq!(world.ledger().actors(), 4);
    let (agreement, _) = node_1(&world);
    assert!(
        agreement.gone > 70 && agreement.alive > 400,
        "{agreement:?}"
    );
    assert_eq!(agreement.readings[1].local, agreement.alive);
}

#[test]
fn a_clock_set_back_over_an_edge_restarts_the_count_and_the_ledger_knows() {
    let back = |node| Fault::StepClock {
        node,
        by_us: -3_600 * 1_000_000,
    };
    let world = world_after(&with_faults([(1, back(1))]));
    let restarted: Vec<_> = world
        .ledger()
        .iter()
        .map(|(_, _, window)| window.is_restarted)
        .collect();
    assert_eq!(restarted, [true, true]);
    // Forward is just a new window.
    let forward = Fault::StepClock {
        node: 1,
        by_us: 3_600 * 1_000_000,
    };
    let world = world_after(&with_faults([(1, forward)]));
    assert!(
        world
            .ledger()
            .iter()
            .all(|(_, _, window)| !window.is_restarted)
    );
    assert_eq!(world.ledger().iter().count(), 2);
}

#[test]
fn a_clock_that_goes_far_ahead_and_comes_back_in_steps_lets_nothing_pass_again() {
    let year_us = 365 * 86_400 * 1_000_000;
    let set = |years: i64| Fault::StepClock {
        node: 1,
        by_us: years * year_us,
    };
    let world = world_after(&with_faults([(2, set(70)), (3, set(-10)), (4, set(-60))]));
    let passed: Vec<_> = world
        .ledger()
        .iter()
        .map(|(_, _, window)| (window.total(), window.passed()))
        .collect();
    let [(total, passed), ahead @ ..] = passed.as_slice() else {
        panic!("there is the window of the true time");
    };
    // A hit may pass between the moment the clock is right and the next tick, and none later.
    assert!(
        *total > 400 && (50..=51).contains(passed),
        "{total} {passed}"
    );
    assert_eq!(ahead.len(), 2);
    assert!(ahead.iter().all(|(_, passed)| *passed == 50), "{ahead:?}");
}

#[test]
fn counts_that_nobody_heard_of_are_found_missing() {
    // Without anybody listening there is no way to agree, whatever the mesh is like.
    let side_of = vec![0, 1, 2];
    let scenario = with_faults([(0, Fault::Partition { side_of })]);
    let world = world_after(&scenario);
    let failure = counts(&agreements(&world))
        .expect("nodes 0 and 2 cannot know")
        .to_string();
    assert!(failure.contains("node 0, demand_0=0"), "{failure}");
    assert!(!failure.contains(": local"), "{failure}");
}

#[test]
fn every_key_of_a_demand_in_turn_is_counted_once() {
    let scenario = named("idle_keys", 1, Size::Small).unwrap();
    let world = world_after(&scenario);
    let totals: Vec<_> = world
        .ledger()
        .iter()
        .map(|(_, _, window)| window.total())
        .collect();
    assert_eq!(totals, vec![1; world.keys().iter().count()]);
    assert_eq!(world.ledger().uncounted, 0);
}

#[test]
fn hosts_that_nobody_asks_hear_what_the_keys_read_as() {
    let scenario = lonely();
    let world = world_after(&scenario);
    let named = |host: &Host| {
        let now = host.clock.now(scenario.quiet_from_us());
        let counters = host.region().counters(now.unix_s());
        let labels = counters.filter_map(|counter| counter.label);
        labels.count()
    };
    let all: Vec<usize> = world.hosts().iter().map(named).collect();
    assert_eq!(all, [1; 3]);
}
