//! The scenarios that have names.

use hivemind_mesh::settings::Preset;
use hivemind_shared::window::Unit;

use crate::fault::{Fault, TimedFault};
use crate::network::Quality;
use crate::pace::Pace;
use crate::scenario::{Scenario, WARM_UP_US};
use crate::time::{MILLISECOND_US, SECOND_US};
use crate::workload::{Demand, Order, Spread};

/// How large a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Few nodes and little traffic, for tests.
    Small,
    /// As in life.
    Full,
}

impl Size {
    /// One of two values.
    const fn pick(self, small: u64, full: u64) -> u64 {
        match self {
            Self::Small => small,
            Self::Full => full,
        }
    }

    fn nodes(self, small: usize, full: usize) -> usize {
        match self {
            Self::Small => small,
            Self::Full => full,
        }
    }
}

/// Every name.
pub const NAMES: [&str; 14] = [
    "lan",
    "lossy",
    "wan",
    "partition",
    "asymmetric",
    "crashes",
    "lost_regions",
    "join_storm",
    "rolling_restart",
    "resets",
    "clock_skew",
    "clock_steps",
    "idle_keys",
    "hundred_nodes",
];

/// The scenario of this name; `None` when there is none.
pub fn named(name: &str, seed: u64, size: Size) -> Option<Scenario> {
    let make = match name {
        "lan" => lan,
        "lossy" => lossy,
        "wan" => wan,
        "partition" => partition,
        "asymmetric" => asymmetric,
        "crashes" => crashes,
        "lost_regions" => lost_regions,
        "join_storm" => join_storm,
        "rolling_restart" => rolling_restart,
        "resets" => resets,
        "clock_skew" => clock_skew,
        "clock_steps" => clock_steps,
        "idle_keys" => idle_keys,
        "hundred_nodes" => hundred_nodes,
        _ => return None,
    };
    let mut scenario = make(seed, size);
    note_size(&mut scenario, size);
    Some(scenario)
}

/// Makes the command that runs a scenario again run it at its size.
fn note_size(scenario: &mut Scenario, size: Size) {
    if size == Size::Small {
        scenario.replay += " --small";
    }
}

/// A scenario with the usual demand: one key far over its limit every second, some around theirs, many
/// far below, some of those hardly ever, and one that a single node asks for.
fn usual(name: &str, seed: u64, size: Size, nodes: usize) -> Scenario {
    let demand = |keys, limit, unit, requests_per_s, spread| Demand {
        keys,
        limit,
        unit,
        requests_per_s,
        hits: 1,
        spread,
        pace: Pace::Steady,
        order: Order::Random,
        from_us: WARM_UP_US,
    };
    let zipf = Spread::Zipf { exponent: 1.0 };
    Scenario {
        demands: vec![
            demand(1, 400, Unit::Second, 2_000.0, Spread::Even),
            demand(4, 300, Unit::Minute, 200.0, zipf),
            demand(20, 100_000, Unit::Hour, 400.0, Spread::Even),
            demand(1, 500, Unit::Hour, 100.0, Spread::One { node: nodes - 1 }),
            demand(2, 800, Unit::Day, 300.0, Spread::Even),
            // Most of these are asked for once or twice: nothing later makes up for news that got lost.
            demand(500, 100, Unit::Hour, 100.0, Spread::Even),
        ],
        traffic_until_us: WARM_UP_US + size.pick(5, 17) * SECOND_US,
        ..Scenario::new(name, seed, nodes)
    }
}

fn at(at_us: u64, fault: Fault) -> TimedFault {
    TimedFault { at_us, fault }
}

fn lan(seed: u64, size: Size) -> Scenario {
    usual("lan", seed, size, size.nodes(5, 20))
}

fn lossy(seed: u64, size: Size) -> Scenario {
    let mut scenario = usual("lossy", seed, size, size.nodes(5, 20));
    scenario.quality = Quality {
        loss: 0.2,
        duplicate: 0.05,
        reorder: 0.1,
        late_us: 5 * MILLISECOND_US,
        ..scenario.quality
    };
    scenario
}

fn wan(seed: u64, size: Size) -> Scenario {
    let mut scenario = usual("wan", seed, size, size.nodes(5, 20));
    scenario.settings.preset = Preset::Wan;
    scenario.quality = Quality {
        delay_us: 40 * MILLISECOND_US,
        jitter_us: 10 * MILLISECOND_US,
        loss: 0.005,
        ..Quality::default()
    };
    scenario
}

fn partition(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(6, 20);
    let mut scenario = usual("partition", seed, size, nodes);
    let begin_us = WARM_UP_US + SECOND_US;
    let side_of = (0..nodes)
        .map(|node| usize::from(node >= nodes / 3))
        .collect();
    scenario.faults = vec![
        at(begin_us, Fault::Partition { side_of }),
        at(begin_us + size.pick(3, 12) * SECOND_US, Fault::Heal),
    ];
    scenario
}

fn asymmetric(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(5, 20);
    let mut scenario = usual("asymmetric", seed, size, nodes);
    // Node 0 does not hear node 1; nobody hears node 2.
    let cut = |from, to| at(WARM_UP_US + SECOND_US, Fault::Cut { from, to });
    scenario.faults = (0..nodes)
        .filter(|&to| to != 2)
        .map(|to| cut(2, to))
        .chain([cut(1, 0)])
        .collect();
    let heal_us = scenario.traffic_until_us - SECOND_US;
    scenario.faults.push(at(heal_us, Fault::Heal));
    scenario
}

/// Every second or so something stops at another node, and starts again a little later.
fn stops(scenario: &mut Scenario, down_us: u64, stop: impl Fn(usize) -> Fault) {
    let nodes = scenario.nodes.len();
    let step_us = 700 * MILLISECOND_US;
    let mut now_us = WARM_UP_US + SECOND_US;
    let mut node = 0;
    while now_us + down_us + SECOND_US < scenario.traffic_until_us {
        scenario.faults.push(at(now_us, stop(node)));
        scenario
            .faults
            .push(at(now_us + down_us, Fault::Start { node }));
        now_us += step_us;
        // Not one neighbour after the other.
        node = (node + nodes / 2 + 1) % nodes;
    }
}

/// Keys are reset again and again, two nodes at once now and then, while datagrams are lost and daemons are
/// killed.
fn resets(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(5, 20);
    let mut scenario = usual("resets", seed, size, nodes);
    scenario.quality.loss = 0.1;
    stops(&mut scenario, 900 * MILLISECOND_US, |node| Fault::Kill {
        node,
    });
    let keys: usize = scenario.demands.iter().map(|demand| demand.keys).sum();
    let mut now_us = WARM_UP_US + SECOND_US;
    for reset in 0_usize.. {
        now_us += 37 * MILLISECOND_US;
        if now_us >= scenario.traffic_until_us {
            break;
        }
        // Most are of the few keys that come first, which are busy.
        let key = if reset % 4 == 3 {
            reset % keys
        } else {
            reset % 6
        };
        let node = reset % nodes;
        scenario.faults.push(at(now_us, Fault::Reset { node, key }));
        if reset % 3 == 0 {
            let node = (node + 1) % nodes;
            scenario.faults.push(at(now_us, Fault::Reset { node, key }));
        }
    }
    scenario
}

fn crashes(seed: u64, size: Size) -> Scenario {
    let mut scenario = usual("crashes", seed, size, size.nodes(5, 20));
    scenario.quality.loss = 0.05;
    stops(&mut scenario, 900 * MILLISECOND_US, |node| Fault::Kill {
        node,
    });
    scenario
}

fn lost_regions(seed: u64, size: Size) -> Scenario {
    let mut scenario = usual("lost_regions", seed, size, size.nodes(5, 20));
    scenario.quality.loss = 0.05;
    stops(&mut scenario, 1_500 * MILLISECOND_US, |node| {
        Fault::LoseHost { node }
    });
    scenario
}

fn join_storm(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(10, 60);
    let mut scenario = usual("join_storm", seed, size, nodes);
    for (number, node) in scenario.nodes.iter_mut().enumerate() {
        if number >= nodes / 3 {
            node.start_us = WARM_UP_US + 2 * SECOND_US;
        }
    }
    scenario
}

fn rolling_restart(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(5, 20);
    let mut scenario = usual("rolling_restart", seed, size, nodes);
    scenario.quality.loss = 0.05;
    for node in 0..nodes {
        let leave_us = WARM_UP_US + SECOND_US + node as u64 * 800 * MILLISECOND_US;
        scenario.faults.extend([
            at(leave_us, Fault::Leave { node }),
            at(leave_us + 300 * MILLISECOND_US, Fault::Start { node }),
        ]);
    }
    scenario
}

fn clock_skew(seed: u64, size: Size) -> Scenario {
    let mut scenario = usual("clock_skew", seed, size, size.nodes(5, 20));
    for (node, offset_ms) in scenario
        .nodes
        .iter_mut()
        .zip([0, 500, -500, 250, -120].iter().cycle())
    {
        node.clock.offset_us = offset_ms * 1_000;
        node.clock.drift_ppm = offset_ms / 5;
    }
    scenario
}

fn clock_steps(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(5, 20);
    let mut scenario = usual("clock_steps", seed, size, nodes);
    let steps_ms = [300, -2_500, 30_000, -500, 70_000, -70_000];
    for (number, by_ms) in (0..).zip(steps_ms) {
        let step_us = WARM_UP_US + SECOND_US + number * 600 * MILLISECOND_US;
        let node = usize::try_from(number).unwrap_or(0) % (nodes - 1);
        let by_us = by_ms * 1_000;
        scenario
            .faults
            .push(at(step_us, Fault::StepClock { node, by_us }));
    }
    scenario
}

fn idle_keys(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(4, 8);
    let keys = size.nodes(4_000, 100_000);
    let mut scenario = Scenario::new("idle_keys", seed, nodes);
    scenario.demands = vec![Demand {
        keys,
        limit: 1_000,
        unit: Unit::Day,
        requests_per_s: keys as f64 / 2.0,
        hits: 1,
        spread: Spread::Even,
        pace: Pace::Steady,
        order: Order::Once,
        from_us: WARM_UP_US,
    }];
    // A key lives in one of few places, so a table is never quite full.
    let room = keys + keys / 2;
    scenario.max_keys = u32::try_from(room).unwrap_or(u32::MAX);
    scenario.settings.keys_max = room;
    scenario.traffic_until_us = WARM_UP_US + 4 * SECOND_US;
    scenario.rest_us = size.pick(5, 20) * SECOND_US;
    scenario
}

fn hundred_nodes(seed: u64, size: Size) -> Scenario {
    let nodes = size.nodes(30, 100);
    let mut scenario = usual("hundred_nodes", seed, size, nodes);
    let side_of = (0..nodes).map(|node| node % 2).collect();
    let begin_us = WARM_UP_US + SECOND_US;
    scenario.faults = vec![
        at(begin_us, Fault::Partition { side_of }),
        at(begin_us + size.pick(3, 10) * SECOND_US, Fault::Heal),
    ];
    scenario
}

/// One scenario for each row of the table of what to expect: numbers of nodes, delays and losses. One
/// key, asked for five times as often as its limit allows, evenly at all nodes, in windows of a second.
pub fn table(seed: u64, size: Size) -> Vec<Scenario> {
    const LIMIT: u32 = 1_000;
    let (nodes, seconds): (&[usize], u64) = match size {
        Size::Small => (&[2, 5], 3),
        Size::Full => (&[2, 10, 50], 10),
    };
    let mut scenarios = Vec::new();
    for &nodes in nodes {
        for loss in [0.0, 0.01, 0.1] {
            for delay_us in [250, 5_000, 50_000] {
                let mut scenario = Scenario::new("table", seed, nodes);
                scenario.quality = Quality {
                    delay_us,
                    jitter_us: delay_us / 5,
                    loss,
                    ..Quality::default()
                };
                if delay_us >= 50_000 {
                    scenario.settings.preset = Preset::Wan;
                }
                scenario.demands = vec![Demand {
                    keys: 1,
                    limit: LIMIT,
                    unit: Unit::Second,
                    requests_per_s: 5.0 * f64::from(LIMIT),
                    hits: 1,
                    spread: Spread::Even,
                    pace: Pace::Steady,
                    order: Order::Random,
                    from_us: WARM_UP_US,
                }];
                scenario.traffic_until_us = WARM_UP_US + seconds * SECOND_US;
                note_size(&mut scenario, size);
                scenarios.push(scenario);
            }
        }
    }
    scenarios
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_scenario_in_both_sizes() {
        for name in NAMES {
            for size in [Size::Small, Size::Full] {
                let scenario = named(name, 1, size).unwrap();
                assert_eq!(scenario.name, name);
                assert_eq!(scenario.replay.contains("--small"), size == Size::Small);
            }
        }
        assert!(named("nothing", 1, Size::Small).is_none());
    }

    #[test]
    fn everything_that_goes_wrong_does_so_under_traffic() {
        let scenarios = NAMES.map(|name| named(name, 1, Size::Small).unwrap());
        for scenario in scenarios {
            let before = scenario.quiet_from_us() - scenario.traffic_until_us;
            assert!(before <= SECOND_US, "{}", scenario.name);
        }
    }
}
