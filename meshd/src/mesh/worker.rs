//! The mesh's thread: carries datagrams between the socket and the mesh, and calls its ticks in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_mesh::node::Mesh;
use hivemind_mesh::outbox::Outbox;
use hivemind_mesh::region::RegionCounters;
use hivemind_mesh::seal::KeyRing;
use hivemind_mesh::settings::{Local, Randomness, Settings};
use hivemind_mesh::status::{PeerState, PeerStatus, Status};
use hivemind_mesh::time::Now;
use hivemind_shared::clock::CoarseClock;
use hivemind_shared::region::Forgiven;
use hivemind_shared::table::Key;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{debug, error, info, warn};

use super::alone::{self, AloneWatch};
use super::clock::{now, random_u64};
use super::handle::{Command, Inbox, NotForgiven};
use super::peer_log::PeerLog;
use super::rules_watch::{self, RulesWatch};
use super::sender::Sender;
use super::skew::SkewWatch;
use super::socket::{MeshSocket, Receiver};
use crate::handover::Estate;
use crate::region_owner::RegionRun;
use crate::rules_source::RulesState;
use crate::server::health::{Health, State};

/// Datagrams that are taken in between two ticks at most: what peers can do to this thread ends there.
const RECEIVED_PER_TICK_MAX: usize = 1_024;

/// How often it is looked what became of peers.
const CHANGES_INTERVAL_US: u64 = 100_000;

/// How often the state of the mesh is published unasked.
const PUBLISH_INTERVAL_US: u64 = 1_000_000;

/// Peers that are told to the next meshd; it learns of the others from them.
const HANDED_OVER_PEERS_MAX: usize = 256;

/// How long the goodbye may wait for room in the socket.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// What a mesh needs beside its socket.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) settings: Settings,
    /// This host's name.
    pub(super) name: String,
    /// Where peers reach it.
    pub(super) address: SocketAddr,
    pub(super) keys: KeyRing,
    /// Whether there is nobody to look for: this host begins alone.
    pub(super) is_first: bool,
    /// Whether the region has what peers have counted, from a run that ended a moment ago.
    pub(super) is_joined: bool,
    pub(super) run: RegionRun,
    /// The rules in force, for the units they count by.
    pub(super) rules: Arc<RulesState>,
    /// How long they may differ from those of peers.
    pub(super) rules_grace: Duration,
    /// Bootstrap peers as they are configured.
    pub(super) bootstrap_peers: Vec<String>,
    pub(super) health: Health,
}

/// The thread's state.
pub(super) struct Worker {
    socket: MeshSocket,
    inbox: Inbox,
    parts: Parts,
    mesh: Mesh,
    counters: RegionCounters<CoarseClock>,
    outbox: Outbox,
    sender: Sender,
    skew: SkewWatch,
    alone: AloneWatch,
    rules_watch: RulesWatch,
    peer_log: PeerLog,
    /// The last addresses that bootstrap names led to.
    bootstrap: Vec<SocketAddr>,
    readiness: Readiness,
    /// Whether another process has the socket to itself.
    rests: bool,
    publish_at_us: u64,
    changes_at_us: u64,
}

/// What health says of the mesh.
#[derive(Debug, Default)]
struct Readiness {
    /// Once true, it stays: a partition makes nobody unready.
    is_joined: bool,
    key_file_problem: Option<String>,
    /// Why no peer is there though some should be.
    alone: Option<String>,
    /// Whose rules differ.
    rules: Option<String>,
}

impl Readiness {
    fn state(&self) -> State {
        if !self.is_joined {
            return State::Down("waiting for a snapshot from peers".to_owned());
        }
        let problems = [&self.key_file_problem, &self.alone, &self.rules];
        let problems: Vec<&str> = problems.into_iter().flatten().map(String::as_str).collect();
        if problems.is_empty() {
            State::Up
        } else {
            State::Degraded(problems.join("; "))
        }
    }
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
}

impl Worker {
    /// Begins the mesh. It scans the region's counters once.
    ///
    /// # Errors
    ///
    /// When the kernel has no random numbers.
    pub(super) fn new(socket: MeshSocket, inbox: Inbox, parts: Parts) -> io::Result<Self> {
        let mut counters = RegionCounters::new(Arc::clone(&parts.run.region), CoarseClock);
        let mesh = begin(&parts, &mut counters)?;
        Ok(Self {
            socket,
            inbox,
            mesh,
            counters,
            outbox: Outbox::new(),
            sender: Sender::default(),
            skew: SkewWatch::default(),
            alone: AloneWatch::new(parts.address, parts.bootstrap_peers.clone()),
            rules_watch: RulesWatch::new(parts.rules_grace),
            peer_log: PeerLog::new(Instant::now()),
            bootstrap: Vec::new(),
            readiness: Readiness {
                is_joined: parts.is_joined,
                ..Readiness::default()
            },
            rests: false,
            publish_at_us: 0,
            changes_at_us: 0,
            parts,
        })
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut receiver = Receiver::new();
        let mut tick_at_us = 0;
        let mut received = 0;
        let mut has_more = false;
        loop {
            self.inbox.quiet();
            if self.obey() == Then::Stop {
                return self.leave();
            }
            if self.rests {
                self.wait(now().monotonic_us + PUBLISH_INTERVAL_US, false);
                continue;
            }
            let now = now();
            if now.monotonic_us >= tick_at_us {
                self.mesh.tick(now, &mut self.counters, &mut self.outbox);
                self.flush(None);
                self.report(now);
                received = 0;
                // By the time after it: a tick that took long must leave time to receive in.
                let after_us = self::now().monotonic_us;
                tick_at_us = next_tick(tick_at_us, after_us, self.parts.settings.tick_us);
            }
            let may_receive = received < RECEIVED_PER_TICK_MAX;
            if may_receive && has_more || self.wait(tick_at_us, may_receive) {
                let batch = self.receive(&mut receiver);
                received += batch;
                has_more = batch == Receiver::batch_size();
            }
        }
    }

    /// Does what it was told to.
    fn obey(&mut self) -> Then {
        while let Some(command) = self.inbox.next() {
            match command {
                Command::Join(addresses) => {
                    self.alone.inherit(addresses.clone());
                    self.join(addresses);
                }
                Command::Found(found) => {
                    let addresses = found.addresses.clone();
                    self.alone.found(found);
                    self.join(addresses);
                }
                Command::ReplaceKeys(keys) => {
                    self.mesh.replace_keys(&keys);
                    self.parts.keys = keys;
                }
                Command::KeyFile(problem) => {
                    self.readiness.key_file_problem = problem;
                    self.show_readiness();
                }
                Command::MoveTo(run) => self.move_to(run),
                Command::Rest(answer) => {
                    let estate = self.rest();
                    // Whoever asked may have lost patience.
                    let _ = answer.send(estate);
                }
                Command::Tell(answer) => {
                    let status = Arc::new(self.status(now()));
                    self.inbox.publish(Arc::clone(&status));
                    // Whoever asked may have lost patience.
                    let _ = answer.send(status);
                }
                Command::Forgive(keys, answer) => {
                    let _ = answer.send(self.forgive(&keys));
                }
                Command::Stop => return Then::Stop,
            }
        }
        Then::GoOn
    }

    /// Looks for peers at these addresses.
    fn join(&mut self, addresses: Vec<SocketAddr>) {
        if !self.rests {
            self.mesh.join(now(), &addresses, &mut self.outbox);
            self.flush(None);
        }
        self.bootstrap = addresses;
    }

    /// Forgives hits, if this mesh may and knows of all.
    fn forgive(&mut self, keys: &[Key]) -> Result<Vec<Forgiven>, NotForgiven> {
        if self.rests {
            // Peers would not hear of it, nor would the mesh that goes on.
            return Err(NotForgiven::Rests);
        }
        // Readiness does not do: what is in the region after an earlier run is not known by peer.
        if !self.mesh.is_joined() {
            return Err(NotForgiven::NotJoined);
        }
        let now = now();
        let forgive = |key| self.mesh.forgive(now, key, &mut self.counters);
        Ok(keys.iter().flat_map(forgive).collect())
    }

    /// How everything is. What peers have counted is there from the first time on that this host was ready,
    /// even while another run of the mesh asks for it anew.
    fn status(&self, now: Now) -> Status {
        let mut status = self.mesh.status(now);
        status.joined |= self.readiness.is_joined;
        status.alone = self.alone.cause().map(str::to_owned);
        status
    }

    /// Sends the last counts, and leaves the socket to another process.
    fn rest(&mut self) -> Estate {
        if !self.rests {
            self.rests = true;
            self.mesh
                .send_all(now(), &mut self.counters, &mut self.outbox);
            self.flush(Some(Instant::now() + GOODBYE_TIMEOUT));
        }
        let peers = self.mesh.status(now()).peers;
        let there = peers.iter().filter(|peer| peer.state != PeerState::Down);
        Estate {
            cluster: self.parts.settings.cluster.clone(),
            peers: there
                .map(|peer| peer.address)
                .take(HANDED_OVER_PEERS_MAX)
                .collect(),
            is_joined: self.readiness.is_joined,
        }
    }

    /// Goes on with the counters of another region, which is another actor: the one from before says
    /// goodbye with its last counts, and the new one looks for the same peers. Or, after a rest, in
    /// another run of the same actor: that one has said nothing, and neither does this.
    fn move_to(&mut self, run: RegionRun) {
        if !std::mem::take(&mut self.rests) {
            self.mesh.leave(now(), &mut self.counters, &mut self.outbox);
            self.flush(Some(Instant::now() + GOODBYE_TIMEOUT));
        }
        let status = self.mesh.status(now());
        let mut peers: Vec<SocketAddr> = status.peers.iter().map(|peer| peer.address).collect();
        peers.extend(&self.bootstrap);
        self.parts.run = run;
        self.counters = RegionCounters::new(Arc::clone(&self.parts.run.region), CoarseClock);
        match begin(&self.parts, &mut self.counters) {
            Ok(mesh) => self.mesh = mesh,
            Err(error) => {
                error!(%error, "no random numbers for a new mesh: restart meshd");
                return;
            }
        }
        if !peers.is_empty() {
            self.mesh.join(now(), &peers, &mut self.outbox);
            self.flush(None);
        }
        info!(
            actor = format!("{:016x}", self.parts.run.region.region_id()),
            "the mesh goes on with the new region"
        );
    }

    /// Takes a batch of datagrams in; says how many there were.
    fn receive(&mut self, receiver: &mut Receiver) -> usize {
        match receiver.receive(&self.socket) {
            Ok(count) => {
                // One reading for all of them: they arrived at about the same time.
                let now = now();
                for (from, datagram) in receiver.datagrams() {
                    self.mesh
                        .receive(now, from, datagram, &mut self.counters, &mut self.outbox);
                }
                self.flush(None);
                count
            }
            Err(error) => {
                // About a datagram sent earlier. Should it be about the socket, the next tick's limit
                // keeps this from spinning.
                debug!(%error, "the socket reports an error");
                Receiver::batch_size()
            }
        }
    }

    /// Sends what the mesh wants sent.
    fn flush(&mut self, deadline: Option<Instant>) {
        if self.outbox.is_empty() {
            return;
        }
        let unsent = self.sender.send(&self.socket, &self.outbox, deadline);
        if unsent > 0 {
            self.mesh.note_unsent(unsent);
        }
        self.outbox.clear();
    }

    /// Waits for datagrams, commands or the next tick; true when there are datagrams.
    fn wait(&self, tick_at_us: u64, may_receive: bool) -> bool {
        let left = Duration::from_micros(tick_at_us.saturating_sub(now().monotonic_us));
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let inbox = self.inbox.readiness();
        let mut wanted = [
            PollFd::from_borrowed_fd(inbox, PollFlags::IN),
            PollFd::new(&self.socket, PollFlags::IN),
        ];
        // Without the socket, its errors would end every wait at once.
        let count = if may_receive { 2 } else { 1 };
        // An interrupted wait is a short one.
        let ended = poll(&mut wanted[..count], Some(&timeout));
        ended.is_ok() && !wanted[1].revents().is_empty()
    }

    /// Tells health and whoever looks how everything is.
    fn report(&mut self, now: Now) {
        if !self.readiness.is_joined && self.mesh.is_joined() {
            self.readiness.is_joined = true;
            info!("joined the mesh");
            self.show_readiness();
        }
        if now.monotonic_us >= self.changes_at_us {
            self.changes_at_us = now.monotonic_us.saturating_add(CHANGES_INTERVAL_US);
            let events = self.mesh.changes(now);
            self.peer_log.changed(Instant::now(), &events);
        }
        if now.monotonic_us >= self.publish_at_us {
            self.publish_at_us = now.monotonic_us.saturating_add(PUBLISH_INTERVAL_US);
            let mut status = self.status(now);
            self.look_for_faults(now, &status.peers);
            status.alone = self.alone.cause().map(str::to_owned);
            let status = Arc::new(status);
            self.skew.look(&status.peers, &self.parts.rules.rules());
            self.inbox.publish(status);
        }
    }

    /// Sees whether any peer is there, and whether all have the same rules; says in log and health what is wrong.
    fn look_for_faults(&mut self, now: Now, peers: &[PeerStatus]) {
        let at = Instant::now();
        let own = self.parts.rules.hash();
        self.mesh.set_rules(own.bits());
        let is_sealed = self.parts.keys.is_secret();
        let refusals = self.mesh.refusals(now);
        self.peer_log.refused(at, &refusals, is_sealed);
        let presence = self.mesh.presence(now);
        match self.alone.look(at, &presence, &refusals, is_sealed) {
            Some(alone::Line::Alone(cause)) => {
                warn!(
                    cause,
                    "no peer is there: this host limits by its own counts alone"
                );
            }
            Some(alone::Line::Over) => info!("this host is not alone any more"),
            None => {}
        }
        let own = own.to_string();
        for line in self.rules_watch.look(at, &own, peers) {
            let rules_watch::Line {
                name,
                address,
                theirs,
                differ,
            } = line;
            let node = &self.parts.name;
            if differ {
                warn!(
                    node,
                    peer = name,
                    %address,
                    here = own,
                    there = theirs,
                    "the rules of a peer differ from those here: limits do not hold for both together"
                );
            } else {
                info!(node, peer = name, %address, rules = own, "a peer has the same rules again");
            }
        }
        let alone = self.alone.cause().map(str::to_owned);
        let rules = self.rules_watch.detail();
        if (&alone, &rules) != (&self.readiness.alone, &self.readiness.rules) {
            self.readiness.alone = alone;
            self.readiness.rules = rules;
            self.show_readiness();
        }
    }

    fn show_readiness(&self) {
        let state = self.readiness.state();
        self.parts
            .health
            .update(|components| components.mesh = state);
    }

    fn leave(mut self) {
        if self.rests {
            return;
        }
        self.mesh.leave(now(), &mut self.counters, &mut self.outbox);
        self.flush(Some(Instant::now() + GOODBYE_TIMEOUT));
        info!("left the mesh");
    }
}

/// A mesh for the region at hand.
fn begin(parts: &Parts, counters: &mut RegionCounters<CoarseClock>) -> io::Result<Mesh> {
    let local = Local {
        actor: parts.run.region.region_id(),
        incarnation: parts.run.incarnation,
        session: random_u64()?,
        address: parts.address,
        name: parts.name.clone(),
    };
    let random = Randomness {
        seed: random_u64()?,
        hash_key: [random_u64()?, random_u64()?],
    };
    let settings = parts.settings.clone();
    let mut mesh = Mesh::new(settings, local, &parts.keys, random, now(), counters);
    if parts.is_first {
        mesh.join_nobody();
    }
    Ok(mesh)
}

/// When the tick after this one is due. Ticks that were missed are not made up for.
const fn next_tick(due_us: u64, now_us: u64, tick_us: u64) -> u64 {
    let next = due_us.saturating_add(tick_us);
    if next > now_us {
        next
    } else {
        now_us.saturating_add(tick_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_key_file_degrades_and_nothing_unreadies_what_was_ready() {
        let mut readiness = Readiness::default();
        assert!(matches!(readiness.state(), State::Down(_)));
        readiness.key_file_problem = Some("line 3".to_owned());
        assert!(matches!(readiness.state(), State::Down(_)));
        readiness.is_joined = true;
        assert_eq!(readiness.state(), State::Degraded("line 3".to_owned()));
        readiness.alone = Some("nobody".to_owned());
        assert_eq!(
            readiness.state(),
            State::Degraded("line 3; nobody".to_owned())
        );
        readiness.key_file_problem = None;
        readiness.alone = None;
        assert_eq!(readiness.state(), State::Up);
    }

    #[test]
    fn ticks_keep_their_beat_and_missed_ones_are_left_out() {
        assert_eq!(next_tick(1_000, 1_020, 500), 1_500);
        assert_eq!(next_tick(1_000, 9_000, 500), 9_500);
    }
}
