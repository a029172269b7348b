//! The world: hosts, the network between them, and everything that happens, in order.

mod events;

use hivemind_mesh::outbox::Outbox;
use hivemind_mesh::seal::KeyRing;
use hivemind_shared::region::RegionOptions;
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::{Problems, Source};

use crate::fault::Fault;
use crate::host::{Common, Host, HostError};
use crate::keys::Keys;
use crate::network::Network;
use crate::payloads::Payloads;
use crate::queue::{Event, Queue};
use crate::random::{Seed, Stream};
use crate::scenario::Scenario;
use crate::time::MILLISECOND_US;
use crate::trace::Trace;
use crate::traffic::Traffic;
use crate::truth::Ledger;
use crate::workload::Flow;

/// How often is looked whether all counts agree, microseconds.
const LOOK_EVERY_US: u64 = 5 * MILLISECOND_US;

/// Bytes each region has for rules; every demand has one short rule.
const RULES_BYTES: u64 = 4_096;

/// Why a world could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// Its rules.
    #[error("the scenario's rules are wrong:\n{0}")]
    Rules(Problems),
    /// A host.
    #[error("node {node}: {source}")]
    Host {
        /// Which.
        node: usize,
        /// What is wrong.
        source: HostError,
    },
}

/// A running simulation.
#[derive(Debug)]
pub struct World {
    now_us: u64,
    common: Common,
    keys: Keys,
    hosts: Vec<Host>,
    network: Network,
    queue: Queue,
    payloads: Payloads,
    flows: Vec<Flow>,
    faults: Vec<Fault>,
    traffic_until_us: u64,
    phases: Stream,
    ledger: Ledger,
    traffic: Traffic,
    trace: Trace,
    /// Used again and again.
    outbox: Outbox,
    datagram: Vec<u8>,
}

impl World {
    /// The world at the beginning of a scenario.
    ///
    /// # Errors
    /// When the scenario's rules or sizes are out of range, or there is no memory.
    pub fn new(scenario: &Scenario) -> Result<Self, WorldError> {
        let seed = Seed::new(scenario.seed);
        let ring = KeyRing::open(&scenario.settings.cluster);
        let hash_key = ring.hash_key();
        let keys = Keys::new(&scenario.demands, &hash_key);
        let source = Source::new("simulator.yaml", keys.rules());
        let rules = parse(&[source], &Options::default()).map_err(WorldError::Rules)?;
        let common = Common {
            settings: scenario.settings.clone(),
            ring,
            rules: rules.rules,
            region: RegionOptions {
                max_keys: scenario.max_keys,
                rules_bytes: RULES_BYTES,
                hash_key: Some(hash_key),
                ..RegionOptions::default()
            },
            seed,
        };
        let count = scenario.nodes.len();
        let mut hosts = Vec::with_capacity(count);
        for (node, data) in scenario.nodes.iter().enumerate() {
            let host = Host::new(node, data.clock, &common);
            hosts.push(host.map_err(|source| WorldError::Host { node, source })?);
        }
        let mut ledger = Ledger::new(keys.iter().count(), count);
        if let Some(age_us_max) = scenario.aged_us {
            ledger = ledger.with_aged_views(age_us_max);
        }
        let mut world = Self {
            now_us: 0,
            hosts,
            network: Network::new(count, scenario.quality, seed),
            queue: Queue::default(),
            payloads: Payloads::default(),
            flows: flows(scenario, seed),
            faults: Vec::new(),
            traffic_until_us: scenario.traffic_until_us,
            phases: seed.stream("tick phases"),
            ledger,
            traffic: Traffic::new(count),
            trace: Trace::default(),
            outbox: Outbox::new(),
            datagram: Vec::new(),
            common,
            keys,
        };
        for (node, data) in scenario.nodes.iter().enumerate() {
            world.queue.add(data.start_us, Event::Start { node });
        }
        for timed in &scenario.faults {
            let fault = world.faults.len();
            world.faults.push(timed.fault.clone());
            world.queue.add(timed.at_us, Event::Fault { fault });
        }
        for (number, flow) in world.flows.iter_mut().enumerate() {
            let first_us = flow.first_us();
            world.queue.add(first_us, Event::Hit { flow: number });
        }
        Ok(world)
    }

    /// Lets everything happen up to a time, microseconds.
    ///
    /// # Errors
    /// When a lost host's new region cannot be made.
    pub fn run_until(&mut self, until_us: u64) -> Result<(), WorldError> {
        while let Some((at_us, event)) = self.queue.next_until(until_us) {
            self.now_us = at_us;
            self.happen(event)?;
        }
        self.now_us = until_us;
        Ok(())
    }

    /// Heals the network, and goes on until all counts agree; for so long at most. Returns how long it
    /// took, microseconds; `None` when it took too long.
    ///
    /// # Errors
    /// As [`Self::run_until`].
    pub fn converge(&mut self, within_us: u64) -> Result<Option<u64>, WorldError> {
        self.network.heal();
        let begin_us = self.now_us;
        while !self.agrees() {
            if self.now_us - begin_us >= within_us {
                return Ok(None);
            }
            self.run_until(self.now_us + LOOK_EVERY_US)?;
        }
        Ok(Some(self.now_us - begin_us))
    }

    /// The present moment, microseconds.
    pub const fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The keys.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The hosts, by node.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The truth.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What was sent.
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The fingerprint of everything so far.
    pub const fn trace(&self) -> Trace {
        self.trace
    }

    /// Whether every node that runs sees the same in every live window, and all that those counted.
    fn agrees(&self) -> bool {
        let running = || {
            let hosts = self.hosts.iter().enumerate();
            hosts.filter(|(_, host)| host.is_running())
        };
        self.ledger.iter().all(|(key, at, window)| {
            let simulated = self.keys.get(key);
            if window.is_reset && !window.is_restarted && !window.is_early {
                let mut totals = running()
                    .filter(|(_, host)| host.window(self.now_us, simulated) == at)
                    .map(|(_, host)| host.total(simulated, at));
                let first = totals.next();
                return totals.all(|total| Some(total) == first);
            }
            if !window.is_exact() {
                return true;
            }
            let own = |node| window.counted(self.ledger.actor_of(node));
            let alive: u64 = running().map(|(node, _)| own(node)).sum();
            let mut totals = running()
                .filter(|(_, host)| host.window(self.now_us, self.keys.get(key)) == at)
                .map(|(node, _)| own(node) + window.seen(node));
            totals.next().is_none_or(|first| {
                (alive..=window.total()).contains(&first) && totals.all(|total| total == first)
            })
        })
    }
}

fn flows(scenario: &Scenario, seed: Seed) -> Vec<Flow> {
    let nodes = scenario.nodes.len();
    let mut flows = Vec::new();
    let mut first_key = 0;
    for (number, &demand) in scenario.demands.iter().enumerate() {
        for node in 0..nodes {
            flows.extend(Flow::new(demand, number, first_key, node, nodes, seed));
        }
        first_key += demand.keys;
    }
    flows
}
