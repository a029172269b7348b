//! Scenarios made up from a seed.

use hivemind_mesh::settings::Preset;
use hivemind_shared::window::Unit;

use crate::fault::{Fault, TimedFault};
use crate::network::Quality;
use crate::pace::Pace;
use crate::random::{Seed, Stream};
use crate::scenario::{Scenario, WARM_UP_US};
use crate::time::{MILLISECOND_US, SECOND_US, whole};
use crate::workload::{Demand, Order, Spread};

/// The name of all of them.
pub const NAME: &str = "random";

/// Nodes they have at most unless somebody says otherwise.
pub const NODES_MAX: usize = 40;

/// How long traffic lasts, microseconds.
const TRAFFIC_US: u64 = 8 * SECOND_US;

/// Draws a scenario: 2 to `nodes_max` nodes, up to 40 % loss, delays of 0.1 to 100 ms, any demand, and
/// up to six faults, most of them put right again.
pub fn draw(seed: u64, nodes_max: usize) -> Scenario {
    let mut random = Seed::new(seed).stream("scenario");
    let nodes = 2 + random.place(nodes_max.saturating_sub(1));
    let mut scenario = Scenario::new(NAME, seed, nodes);
    if nodes_max != NODES_MAX {
        scenario.replay += &format!(" --nodes {nodes_max}");
    }
    scenario.traffic_until_us = WARM_UP_US + TRAFFIC_US;
    scenario.quality = quality(&mut random);
    if scenario.quality.delay_us > 10 * MILLISECOND_US {
        scenario.settings.preset = Preset::Wan;
    }
    for node in &mut scenario.nodes {
        node.start_us = random.between(0, SECOND_US);
        node.clock.uptime_us = random.between(0, 1_000_000 * SECOND_US);
        node.clock.drift_ppm = signed(&mut random, 100);
    }
    if random.chance(0.3) {
        for node in &mut scenario.nodes {
            node.clock.offset_us = signed(&mut random, 500_000);
        }
    }
    for _ in 0..=random.place(4) {
        let demand = demand(&mut random, nodes);
        scenario.demands.push(demand);
    }
    for _ in 0..random.place(7) {
        let faults = trouble(&mut random, nodes, scenario.quality);
        scenario.faults.extend(faults);
    }
    scenario
}

/// A number within so much of 0.
fn signed(random: &mut Stream, within: i64) -> i64 {
    let span = random.between(0, 2 * within.unsigned_abs());
    i64::try_from(span).unwrap_or(0) - within
}

fn quality(random: &mut Stream) -> Quality {
    let delay_us = whole(random.between_log(100.0, 100_000.0));
    // A third of the networks loses nothing.
    let mut share = |most: f64| (random.fraction() * 1.5 - 0.5).max(0.0) * most;
    let (loss, duplicate, reorder) = (share(0.4), share(0.1), share(0.2));
    Quality {
        delay_us,
        jitter_us: random.between(0, delay_us),
        loss,
        duplicate,
        reorder,
        late_us: random.between(delay_us, 4 * delay_us),
    }
}

fn demand(random: &mut Stream, nodes: usize) -> Demand {
    const UNITS: [Unit; 4] = [Unit::Second, Unit::Minute, Unit::Hour, Unit::Day];
    let spread = match random.place(3) {
        0 => Spread::Even,
        1 => Spread::One {
            node: random.place(nodes),
        },
        _ => Spread::Zipf {
            exponent: 2.0 * random.fraction(),
        },
    };
    Demand {
        keys: whole(random.between_log(1.0, 50.0)).try_into().unwrap_or(1),
        limit: whole(random.between_log(1.0, 20_000.0))
            .try_into()
            .unwrap_or(1),
        unit: UNITS[random.place(UNITS.len())],
        requests_per_s: random.between_log(10.0, 1_500.0),
        hits: if random.chance(0.2) { 3 } else { 1 },
        spread,
        pace: Pace::Steady,
        order: Order::Random,
        from_us: WARM_UP_US + random.between(0, SECOND_US),
    }
}

/// Something that goes wrong, with what puts it right.
fn trouble(random: &mut Stream, nodes: usize, quality: Quality) -> Vec<TimedFault> {
    let begin_us = WARM_UP_US + random.between(0, TRAFFIC_US / 2);
    let end_us = begin_us + random.between(100 * MILLISECOND_US, TRAFFIC_US / 2);
    let [node, other] = [random.place(nodes), random.place(nodes)];
    let comes_back = random.chance(0.8);
    let at = |at_us, fault| TimedFault { at_us, fault };
    let for_a_while = |fault, end| {
        let end = comes_back.then(|| at(end_us, end));
        [at(begin_us, fault)].into_iter().chain(end).collect()
    };
    match random.place(8) {
        0 => {
            let side_of = (0..nodes).map(|_| random.place(2)).collect();
            for_a_while(Fault::Partition { side_of }, Fault::Heal)
        }
        1 => for_a_while(
            Fault::Cut {
                from: node,
                to: other,
            },
            Fault::Heal,
        ),
        2 => {
            let worse = Quality {
                delay_us: quality.delay_us * 3,
                loss: 0.5,
                ..quality
            };
            let link = |quality| Fault::Link {
                from: node,
                to: other,
                quality,
            };
            for_a_while(link(worse), link(quality))
        }
        3 => for_a_while(Fault::Kill { node }, Fault::Start { node }),
        4 => for_a_while(Fault::Leave { node }, Fault::Start { node }),
        5 => for_a_while(Fault::LoseHost { node }, Fault::Start { node }),
        6 => {
            // Restarts in a row, each a moment after the last.
            let restarts = 2 + random.between(0, 3);
            let step_us = 300 * MILLISECOND_US;
            let restart = |number| {
                let kill_us = begin_us + number * step_us;
                [
                    at(kill_us, Fault::Kill { node }),
                    at(kill_us + step_us / 2, Fault::Start { node }),
                ]
            };
            (0..restarts).flat_map(restart).collect()
        }
        _ => {
            let by_us = signed(random, 2_000_000);
            vec![at(begin_us, Fault::StepClock { node, by_us })]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_draws_the_same_scenario_and_another_one_another() {
        let drawn = |seed| format!("{:?}", draw(seed, NODES_MAX));
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn what_is_drawn_is_within_its_ranges() {
        for seed in 0..500 {
            let scenario = draw(seed, 10);
            assert!((2..=10).contains(&scenario.nodes.len()));
            assert!((0.0..=0.4).contains(&scenario.quality.loss));
            assert!((100..=100_000).contains(&scenario.quality.delay_us));
            assert!((1..=5).contains(&scenario.demands.len()));
            assert!(scenario.quiet_from_us() < 20 * SECOND_US);
            assert!(
                scenario
                    .replay
                    .ends_with(&format!("--seed {seed} --nodes 10"))
            );
        }
    }
}
