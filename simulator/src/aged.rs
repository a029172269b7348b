//! What nodes would gain by ageing their view of the others, and what it would cost: a set of scenarios
//! with all decisions made in three ways, see [`crate::aged_view`].

use hivemind_mesh::settings::Preset;
use hivemind_shared::window::Unit;

use crate::clock::START_UNIX_US;
use crate::named::Size;
use crate::network::Quality;
use crate::pace::Pace;
use crate::scenario::{Scenario, WARM_UP_US};
use crate::tally::Tally;
use crate::time::{MILLISECOND_US, SECOND_US};
use crate::window_ledger::WindowLedger;
use crate::workload::{Demand, Order, Spread};
use crate::world::{World, WorldError};

/// The name of all of them.
pub const NAME: &str = "aged";

/// Hits that pass in a window of a second.
const LIMIT: u32 = 1_000;

/// How long views age, microseconds: as long as a count may wait to be told.
const AGE_US: u64 = 100 * MILLISECOND_US;

/// How long a burst is, and how long it is quiet then, microseconds: two bursts in a window.
const LONG_US: [u64; 2] = [100 * MILLISECOND_US, 400 * MILLISECOND_US];

/// The same for short ones: ten in a window.
const SHORT_US: [u64; 2] = [20 * MILLISECOND_US, 80 * MILLISECOND_US];

/// A load in words, as a multiple of the limit, and how it spreads over time.
type Load = (&'static str, f64, Pace);

fn loads() -> [Load; 7] {
    let at_once = |[on_us, off_us]: [u64; 2]| Pace::Bursts {
        on_us,
        off_us,
        stagger_us: 0,
    };
    let in_turn = |[on_us, off_us]: [u64; 2]| Pace::Bursts {
        on_us,
        off_us,
        stagger_us: on_us,
    };
    [
        ("5 x limit", 5.0, Pace::Steady),
        ("limit", 1.0, Pace::Steady),
        ("95 % of limit", 0.95, Pace::Steady),
        ("limit, bursts at once", 1.0, at_once(LONG_US)),
        ("limit, bursts in turn", 1.0, in_turn(LONG_US)),
        ("limit, short bursts at once", 1.0, at_once(SHORT_US)),
        ("limit, short bursts in turn", 1.0, in_turn(SHORT_US)),
    ]
}

/// A scenario in which decisions are weighed.
#[derive(Clone, Debug)]
pub struct Case {
    /// The load in words.
    pub load: &'static str,
    /// The scenario.
    pub scenario: Scenario,
}

/// Every case: loads, numbers of nodes, delays, and one network that loses much. One key with windows of
/// a second, asked for evenly at all nodes.
pub fn cases(seed: u64, size: Size) -> Vec<Case> {
    let (nodes, seconds): (&[usize], u64) = match size {
        Size::Small => (&[2, 5], 4),
        Size::Full => (&[2, 10, 50], 11),
    };
    let networks = [(250, 0.0), (5_000, 0.0), (50_000, 0.0), (5_000, 0.1)];
    let mut cases = Vec::new();
    for load in loads() {
        for &nodes in nodes {
            for (delay_us, loss) in networks {
                let quality = Quality {
                    delay_us,
                    jitter_us: delay_us / 5,
                    loss,
                    ..Quality::default()
                };
                cases.push(case(seed, nodes, seconds, load, quality));
            }
        }
    }
    cases
}

fn case(seed: u64, nodes: usize, seconds: u64, load: Load, quality: Quality) -> Case {
    let (load, times, pace) = load;
    let mut scenario = Scenario::new(NAME, seed, nodes);
    if quality.delay_us >= 50_000 {
        scenario.settings.preset = Preset::Wan;
    }
    scenario.quality = quality;
    scenario.demands = vec![Demand {
        keys: 1,
        limit: LIMIT,
        unit: Unit::Second,
        requests_per_s: times * f64::from(LIMIT),
        hits: 1,
        spread: Spread::Even,
        pace,
        order: Order::Random,
        from_us: WARM_UP_US,
    }];
    scenario.traffic_until_us = WARM_UP_US + seconds * SECOND_US;
    scenario.aged_us = Some(AGE_US);
    Case { load, scenario }
}

/// A number of each window, over all windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spectrum {
    /// The sum.
    pub sum: u64,
    /// The largest.
    pub most: u64,
    /// How many windows there were.
    pub windows: u64,
}

impl Spectrum {
    fn add(&mut self, number: u64) {
        self.sum += number;
        self.most = self.most.max(number);
        self.windows += 1;
    }

    /// What a window has on average; 0 without any.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.windows.max(1) as f64
    }

    fn cell(&self) -> String {
        format!("{:.1} / {}", self.mean(), self.most)
    }
}

/// What one way of deciding came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Hits that passed beyond the limit.
    pub beyond: Spectrum,
    /// Hits that were refused too early.
    pub early: Spectrum,
}

impl Outcome {
    fn add(&mut self, tally: Tally) {
        self.beyond
            .add(tally.passed.saturating_sub(u64::from(LIMIT)));
        self.early.add(tally.early);
    }
}

/// The outcomes of one case.
#[derive(Clone, Debug)]
pub struct Weighed {
    case: Case,
    /// By the real decisions, by aged views, and by aged views that never fall.
    pub outcomes: [Outcome; 3],
}

impl Weighed {
    /// What the columns of [`Self::cells`] are. Numbers of hits are those of a window: mean / most.
    pub const COLUMNS: [&'static str; 10] = [
        "load",
        "nodes",
        "delay ms",
        "loss %",
        "beyond: real",
        "aged",
        "ratchet",
        "too early: real",
        "aged",
        "ratchet",
    ];

    /// The case as a row of a table.
    pub fn cells(&self) -> [String; 10] {
        let Case { load, scenario } = &self.case;
        let [real, free, ratchet] = self.outcomes;
        [
            (*load).to_owned(),
            scenario.nodes.len().to_string(),
            format!(
                "{:.2}",
                scenario.quality.delay_us as f64 / MILLISECOND_US as f64
            ),
            format!("{:.0}", scenario.quality.loss * 100.0),
            real.beyond.cell(),
            free.beyond.cell(),
            ratchet.beyond.cell(),
            real.early.cell(),
            free.early.cell(),
            ratchet.early.cell(),
        ]
    }
}

/// Runs a case. The first window, in which rates are not known yet, does not count.
///
/// # Errors
/// When the scenario itself is wrong, or there is no memory.
pub fn weigh(case: Case) -> Result<Weighed, WorldError> {
    let mut outcomes = [Outcome::default(); 3];
    for window in windows(&case.scenario)? {
        for (outcome, tally) in outcomes.iter_mut().zip(window.tallies()) {
            outcome.add(tally);
        }
    }
    Ok(Weighed { case, outcomes })
}

/// Runs a scenario and returns its windows but for the first.
fn windows(scenario: &Scenario) -> Result<Vec<WindowLedger>, WorldError> {
    let mut world = World::new(scenario)?;
    world.run_until(scenario.traffic_until_us)?;
    let first_s = (START_UNIX_US + WARM_UP_US) / SECOND_US;
    let windows = world.ledger().iter();
    Ok(windows
        .filter(|(_, at, _)| at.start_s() > first_s)
        .map(|(_, _, window)| window.clone())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Quality = Quality {
        delay_us: 5_000,
        jitter_us: 1_000,
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        late_us: 0,
    };

    fn outcomes(nodes: usize, load: &str) -> [Outcome; 3] {
        let load = loads().into_iter().find(|(name, ..)| *name == load);
        let case = case(1, nodes, 6, load.unwrap(), NETWORK);
        weigh(case).unwrap().outcomes
    }

    #[test]
    fn far_over_the_limit_aged_views_let_less_pass_beyond_it_and_refuse_some_too_early() {
        let [real, free, ratchet] = outcomes(5, "5 x limit");
        assert_eq!((real.beyond.windows, real.early.sum), (5, 0));
        for aged in [free, ratchet] {
            assert!(aged.beyond.sum * 4 < real.beyond.sum, "{aged:?} {real:?}");
            assert!(aged.early.sum > 0, "{aged:?}");
        }
    }

    #[test]
    fn where_others_fall_silent_aged_views_refuse_many_too_early() {
        let [real, free, ratchet] = outcomes(2, "limit, bursts in turn");
        assert_eq!(real.early.sum, 0);
        for aged in [free, ratchet] {
            assert!(aged.early.most > 50, "{aged:?}");
            assert!(aged.early.sum > 10 * real.beyond.sum, "{aged:?} {real:?}");
        }
    }

    #[test]
    fn views_that_do_not_age_decide_as_nodes_really_do() {
        for load in loads() {
            let mut still = case(1, 3, 3, load, NETWORK);
            still.scenario.aged_us = Some(0);
            let windows = windows(&still.scenario).unwrap();
            assert_eq!(windows.len(), 2);
            for window in windows {
                let [real, free, ratchet] = window.tallies();
                assert!(real.passed > 800);
                assert_eq!((free, ratchet), (real, real));
            }
        }
    }

    #[test]
    fn noting_what_aged_views_would_decide_changes_nothing() {
        let trace = |aged_us| {
            let mut case = case(1, 3, 2, loads()[0], NETWORK);
            case.scenario.aged_us = aged_us;
            let mut world = World::new(&case.scenario).unwrap();
            world.run_until(case.scenario.traffic_until_us).unwrap();
            world.trace()
        };
        assert_eq!(trace(None), trace(Some(AGE_US)));
    }
}
