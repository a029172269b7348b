//! What happens in a simulation, as plain data.

use hivemind_mesh::settings::Settings;

use crate::clock::NodeClock;
use crate::fault::TimedFault;
use crate::network::Quality;
use crate::time::{MILLISECOND_US, SECOND_US};
use crate::workload::Demand;

/// When traffic begins unless a scenario says otherwise: by then everybody knows everybody.
pub const WARM_UP_US: u64 = 3 * SECOND_US;

/// A whole simulation but for its chance, which the seed is for.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, by which it is asked for.
    pub name: String,
    /// The seed of everything random in it.
    pub seed: u64,
    /// The command that runs exactly this again.
    pub replay: String,
    /// How the daemons are set.
    pub settings: Settings,
    /// Live keys that each region has room for.
    pub max_keys: u32,
    /// Each node: when its daemon starts, microseconds, and its clocks. There are as many nodes as
    /// entries.
    pub nodes: Vec<Node>,
    /// The network before anything goes wrong.
    pub quality: Quality,
    /// What is asked for.
    pub demands: Vec<Demand>,
    /// What goes wrong.
    pub faults: Vec<TimedFault>,
    /// When requests stop and the network heals, microseconds; later when there are later faults.
    pub traffic_until_us: u64,
    /// How long everybody may take from then on until all counts agree, microseconds.
    pub converge_within_us: u64,
    /// How long it goes on after that, microseconds, to see how quiet it is and that counts stay.
    pub rest_us: u64,
    /// How long views may age for what they would decide to be noted beside the real decisions,
    /// microseconds; `None` to note nothing.
    pub aged_us: Option<u64>,
}

/// A node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// When its daemon starts for the first time, microseconds.
    pub start_us: u64,
    /// Its clocks.
    pub clock: NodeClock,
}

impl Scenario {
    /// Nodes that start one after the other within a few milliseconds, a network of a quarter of a
    /// millisecond, and nothing asked for. Everything is meant to be changed.
    pub fn new(name: impl Into<String>, seed: u64, nodes: usize) -> Self {
        let name = name.into();
        let node = |number: usize| Node {
            start_us: number as u64 * MILLISECOND_US,
            clock: NodeClock::default(),
        };
        Self {
            replay: format!("cargo xtask simulate --scenario {name} --seed {seed}"),
            name,
            seed,
            settings: Settings {
                keys_max: 4_096,
                ..Settings::new("simulator")
            },
            max_keys: 2_048,
            nodes: (0..nodes).map(node).collect(),
            quality: Quality {
                delay_us: 250,
                jitter_us: 100,
                ..Quality::default()
            },
            demands: Vec::new(),
            faults: Vec::new(),
            traffic_until_us: 10 * SECOND_US,
            converge_within_us: 60 * SECOND_US,
            rest_us: 2 * SECOND_US,
            aged_us: None,
        }
    }

    /// When requests have stopped and nothing goes wrong any more, microseconds.
    pub fn quiet_from_us(&self) -> u64 {
        let last_fault_us = self.faults.iter().map(|fault| fault.at_us).max();
        self.traffic_until_us.max(last_fault_us.unwrap_or(0))
    }

    /// The longest that a count which matters may be under way when nothing goes wrong at all: the wait
    /// for the next look at changed counters, with as much again to spare, and the network. `None` when
    /// datagrams are lost, something goes wrong, or clocks differ: then it is as long as it takes.
    pub fn prompt_us(&self) -> Option<u64> {
        let undisturbed = self.quality.loss == 0.0
            && self.faults.is_empty()
            && self
                .nodes
                .iter()
                .all(|node| node.start_us < WARM_UP_US / 2 && node.clock.offset_us == 0);
        undisturbed.then(|| 2 * self.settings.tick_us + self.quality.delay_us_max())
    }

    /// How long counts that may wait are held back beyond their time, so that datagrams are fuller.
    pub fn stride_us(&self) -> u64 {
        (self.nodes.len() as u64 / 8 + 1) * self.settings.tick_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, TimedFault};

    #[test]
    fn only_where_nothing_is_in_the_way_counts_have_to_be_prompt() {
        let scenario = Scenario::new("test", 1, 3);
        // Two ticks of 5 ms, and 0.35 ms of network.
        assert_eq!(scenario.prompt_us(), Some(10_350));
        let mut lossy = scenario.clone();
        lossy.quality.loss = 0.01;
        assert_eq!(lossy.prompt_us(), None);
        let mut skewed = scenario.clone();
        skewed.nodes[1].clock.offset_us = 1;
        assert_eq!(skewed.prompt_us(), None);
    }

    #[test]
    fn it_is_quiet_after_the_last_fault() {
        let mut scenario = Scenario::new("test", 1, 3);
        assert_eq!(scenario.quiet_from_us(), scenario.traffic_until_us);
        let at_us = scenario.traffic_until_us + 1;
        let fault = Fault::Heal;
        scenario.faults.push(TimedFault { at_us, fault });
        assert_eq!(scenario.quiet_from_us(), at_us);
    }
}
