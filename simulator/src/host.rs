//! A host: a region that Envoy counts in, and most of the time a daemon with a mesh.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use hivemind_mesh::node::Mesh;
use hivemind_mesh::outbox::Outbox;
use hivemind_mesh::region::RegionCounters;
use hivemind_mesh::seal::KeyRing;
use hivemind_mesh::settings::{Local, Randomness, Settings};
use hivemind_mesh::status::Status;
use hivemind_mesh::time::Now;
use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Code, Decision, Limiter};
use hivemind_shared::descriptor::Descriptor;
use hivemind_shared::region::{OwnedRegion, PublishError, Region, RegionOptions};
use hivemind_shared::rules::RuleSet;
use hivemind_shared::window::Window;

use crate::clock::NodeClock;
use crate::keys::{DOMAIN, SimulatedKey};
use crate::random::Seed;
use crate::time::SECOND_US;
use crate::watched::{Put, WatchedCounters};

/// The port of every mesh.
const PORT: u16 = 7946;

/// The address of a node: 10.0.0.0/8, by number.
pub fn address_of(node: usize) -> SocketAddr {
    let host = u32::try_from(node).unwrap_or(u32::MAX);
    SocketAddrV4::new(Ipv4Addr::from_bits(0x0A00_0001 + host), PORT).into()
}

/// The node at an address.
pub fn node_at(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let host = address.ip().to_bits().checked_sub(0x0A00_0001)?;
    usize::try_from(host).ok()
}

/// What all hosts have in common.
#[derive(Debug)]
pub struct Common {
    /// How the daemons are set.
    pub settings: Settings,
    /// The cluster's keys.
    pub ring: KeyRing,
    /// The rules in force.
    pub rules: RuleSet,
    /// How regions are made.
    pub region: RegionOptions,
    /// Where actor ids, sessions and the meshes' own seeds come from.
    pub seed: Seed,
}

/// Why a host could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its region.
    #[error("no memory for a simulated region, or its sizes are out of range: {0}")]
    Region(#[from] std::io::Error),
    /// Its rules.
    #[error("the scenario's rules do not fit into a region: {0}")]
    Publish(#[from] PublishError),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The window it was counted in, by the host's own clock.
    pub window: Window,
    /// Whether it passed.
    pub passed: bool,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    node: usize,
    /// Its clocks.
    pub clock: NodeClock,
    region: OwnedRegion,
    wall: ManualClock,
    limiter: Limiter<ManualClock>,
    decision: Decision,
    counters: WatchedCounters,
    /// The mesh of the daemon, while one runs.
    mesh: Option<Mesh>,
    actor: u64,
    incarnation: u64,
    run: u64,
    regions: u64,
    /// Whether requests are decided here.
    pub takes_hits: bool,
}

impl Host {
    /// A host with an empty region and no daemon yet.
    ///
    /// # Errors
    /// When its region cannot be made.
    pub fn new(node: usize, clock: NodeClock, common: &Common) -> Result<Self, HostError> {
        let mut region = Region::anonymous(&common.region)?;
        region.publish_rules(&common.rules)?;
        let wall = ManualClock::at(clock.now(0).unix_s());
        Ok(Self {
            node,
            clock,
            limiter: Limiter::new(region.region().clone(), wall.clone()),
            decision: Decision::new(),
            counters: WatchedCounters::new(RegionCounters::new(
                region.region().clone(),
                wall.clone(),
            )),
            region,
            wall,
            mesh: None,
            // Not the region's own id, which the system draws: the same seed is the same run.
            actor: common.seed.split("actor", node as u64).number(),
            incarnation: 0,
            run: 0,
            regions: 1,
            takes_hits: false,
        })
    }

    /// Takes the place of a host that was lost, with a new region and as a new actor.
    ///
    /// # Errors
    /// When its region cannot be made.
    pub fn replace(&mut self, common: &Common) -> Result<(), HostError> {
        let fresh = Self::new(self.node, self.clock, common)?;
        let actors = common.seed.split("actor", self.node as u64);
        *self = Self {
            actor: actors.split("region", self.regions).number(),
            run: self.run,
            regions: self.regions + 1,
            ..fresh
        };
        Ok(())
    }

    /// Which run of its daemon this is, or the last one was.
    pub const fn run(&self) -> u64 {
        self.run
    }

    /// Whether its daemon runs.
    pub const fn is_running(&self) -> bool {
        self.mesh.is_some()
    }

    /// The region.
    pub fn region(&self) -> &Region {
        self.region.region()
    }

    /// How its mesh is; `None` without a daemon.
    pub fn status(&self, true_us: u64) -> Option<Status> {
        Some(self.mesh.as_ref()?.status(self.clock.now(true_us)))
    }

    /// Starts a daemon on the region that is there.
    pub fn start(&mut self, true_us: u64, common: &Common) {
        self.run += 1;
        self.incarnation += 1;
        self.takes_hits = true;
        let now = self.read_clock(true_us);
        let seed = common
            .seed
            .split("daemon", self.node as u64)
            .split("run", self.run);
        let local = Local {
            actor: self.actor,
            incarnation: self.incarnation,
            session: seed.split("session", 0).number(),
            address: address_of(self.node),
            name: format!("node-{}", self.node),
        };
        self.mesh = Some(Mesh::new(
            common.settings.clone(),
            local,
            &common.ring,
            Randomness {
                seed: seed.split("mesh", 0).number(),
                hash_key: [0, 1].map(|half| seed.split("hash key", half).number()),
            },
            now,
            &mut self.counters,
        ));
    }

    /// Ends the daemon without a word.
    pub fn kill(&mut self) {
        self.mesh = None;
    }

    /// Says goodbye and ends the daemon.
    pub fn leave(&mut self, true_us: u64, out: &mut Outbox) {
        let now = self.read_clock(true_us);
        if let Some(mut mesh) = self.mesh.take() {
            mesh.leave(now, &mut self.counters, out);
        }
    }

    /// Lets the mesh do what is due.
    pub fn tick(&mut self, true_us: u64, out: &mut Outbox) {
        let now = self.read_clock(true_us);
        if let Some(mesh) = &mut self.mesh {
            mesh.tick(now, &mut self.counters, out);
        }
    }

    /// Says hello to these nodes.
    pub fn join(&mut self, true_us: u64, addresses: &[SocketAddr], out: &mut Outbox) {
        let now = self.read_clock(true_us);
        let Some(mesh) = &mut self.mesh else {
            return;
        };
        if addresses.is_empty() {
            mesh.join_nobody();
        } else {
            mesh.join(now, addresses, out);
        }
    }

    /// Whether its mesh counts itself as joined.
    pub fn is_joined(&self) -> bool {
        self.mesh.as_ref().is_some_and(Mesh::is_joined)
    }

    /// Hands a datagram in; says whether anybody was there to take it.
    pub fn receive(
        &mut self,
        true_us: u64,
        from: usize,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) -> bool {
        let now = self.read_clock(true_us);
        let Some(mesh) = &mut self.mesh else {
            return false;
        };
        mesh.receive(now, address_of(from), datagram, &mut self.counters, out);
        true
    }

    /// What became visible here since the last call.
    pub fn take_puts(&mut self) -> impl Iterator<Item = Put> + '_ {
        self.counters.take_puts()
    }

    /// Decides a request. `None` when it could not be counted.
    pub fn hit(&mut self, true_us: u64, key: &SimulatedKey, hits: u32) -> Option<Hit> {
        let now = self.read_clock(true_us);
        let entries = [key.entry()];
        let descriptors = [Descriptor::new(&entries)];
        self.limiter
            .decide(DOMAIN.as_bytes(), &descriptors, hits, &mut self.decision)
            .ok()?;
        Some(Hit {
            window: key.period.window_at(now.unix_s()),
            passed: self.decision.overall == Code::Ok,
        })
    }

    /// Resets a key; the windows in which hits were forgiven. None without a daemon.
    pub fn reset(&mut self, true_us: u64, key: &SimulatedKey) -> Vec<Window> {
        let now = self.read_clock(true_us);
        let Some(mesh) = &mut self.mesh else {
            return Vec::new();
        };
        let forgiven = mesh.forgive(now, &key.counter(), &mut self.counters);
        forgiven.into_iter().map(|it| it.window).collect()
    }

    /// What counts for a key in a window by the region.
    pub fn total(&self, key: &SimulatedKey, window: Window) -> u64 {
        let reading = self.region().reading(&key.counter());
        reading.map_or(0, |reading| reading.total_in(window.number()))
    }

    /// The window of a unit that it is in by its own clock.
    pub fn window(&self, true_us: u64, key: &SimulatedKey) -> Window {
        key.period
            .window_at(self.clock.now(true_us).unix_us / SECOND_US)
    }

    /// Reads its clocks, and sets Envoy's by the wall clock.
    fn read_clock(&self, true_us: u64) -> Now {
        let now = self.clock.now(true_us);
        self.wall.set(now.unix_s());
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_back_to_their_nodes() {
        for node in [0, 1, 255, 256, 70_000] {
            assert_eq!(node_at(address_of(node)), Some(node));
        }
        assert_eq!(node_at(([10, 0, 0, 0], PORT).into()), None);
    }
}
