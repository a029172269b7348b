//! Who is there.
//!
//! SWIM, by the `foca` crate: every node asks one other at a time whether it is there, has others ask
//! when no answer comes, suspects it, and declares it down when it does not object; such news travels
//! along with questions and answers. The load on a node does not grow with the cluster.
//!
//! Foca knows identities; callers want to know about actors. One actor may have two identities for a
//! while, after it was restarted at another address or came back from being declared down.
//! [`Membership`] makes one member of them.
//!
//! What it takes, in virtual time, as the tests print it (`cargo test -p hivemind-mesh membership --
//! --nocapture`):
//!
//! | | LAN | WAN |
//! |---|---|---|
//! | payload bytes an idle node sends in a second, 10 members | 256 | 77 |
//! | the same, 100 members | 337 | 131 |
//! | until a killed node is down everywhere, 2 members | 3.0 s | |
//! | the same, 10 members | 4.4 s | 23 s |
//! | the same, 100 members | 5.9 s | |
//! | until a leaving node is gone everywhere, 100 members | 0.4 s | |
//! | until the halves of a healed cluster are one, 20 (10) members | 2.0 s | 4.2 s |

mod codec;
mod config;
mod departed;
mod identity;
mod output;
mod reactor;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32};

use foca::{State, Timer};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub use codec::MalformedPayload;
pub use config::PAYLOAD_BYTES_MAX;
pub use identity::INCARNATION_MAX;
pub use output::Output;

use crate::budget::Allowance;
use crate::settings::Preset;
use crate::time::Now;
use codec::Codec;
use config::Intervals;
use identity::{Identity, Place};
use reactor::{Reactor, Swim};
use timers::Timers;

/// Identities that are kept at most, those of down members included. When there is no room, down ones
/// are forgotten first; then payloads are ignored.
pub const IDENTITIES_MAX: usize = 4_096;

/// Identities that payloads may be compared with in a second, once [`WORK_MAX`] are used up: each update in one
/// is compared with all that are kept. A hundred times what a thousand members say to each of them when many
/// come and go.
const WORK_PER_S: u32 = 20_000_000;

/// How many at once.
const WORK_MAX: u32 = 20_000_000;

/// The most that time advances from one call to the next, microseconds. A process that was stopped did
/// not listen in the meantime; it must not hold the silence against its peers.
const STEP_US_MAX: u64 = 100_000;

/// How often a leaving node gossips that it leaves, each time to three members.
const FAREWELLS: u8 = 4;

/// How many messages that makes.
const FAREWELL_MESSAGES: NonZeroU8 = NonZeroU8::MIN.saturating_add(FAREWELLS * 3 - 1);

/// One run of an actor, and where it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The actor of its counts.
    pub actor: u64,
    /// The how-many-eth run of this actor: 0 to [`INCARNATION_MAX`].
    pub incarnation: u64,
    /// Where peers reach it. An IPv6 address has neither scope nor flow label.
    pub address: SocketAddr,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An actor is there: it was not before, or is in a later run or at another address now.
    Up(Member),
    /// An actor is gone, whether it left or does not answer. This is how it was known last.
    Down(Member),
    /// This node was thought gone, has learned of it and came back.
    Rejoined(Member),
}

/// The members of the cluster, as this node knows them.
///
/// It has no clock: time is what callers say. Call [`Membership::tick`] at least every 100 ms of it; what
/// lies between two calls counts as 100 ms at most.
pub struct Membership {
    foca: Swim,
    me: Member,
    preset: Preset,
    random: Xoshiro256PlusPlus,
    /// The best living identity of each actor but this one.
    peers: BTreeMap<u64, Identity>,
    /// Since when identities are known to be down, by `running_us`; up to date after each
    /// [`Self::forget`].
    down: BTreeMap<Place, (Identity, u64)>,
    /// Actors whose identities changed during the present call.
    touched: Vec<u64>,
    timers: Timers,
    size: NonZeroU32,
    /// The time of the last call.
    last_us: Option<u64>,
    /// The time that this node was running, see [`STEP_US_MAX`].
    running_us: u64,
    next_knock_us: u64,
    next_forget_us: u64,
    work: Allowance,
    left: bool,
}

/// Who says that it sent a payload.
///
/// # Errors
/// When it is none.
pub fn sender(payload: &[u8]) -> Result<Member, MalformedPayload> {
    codec::sender(payload).map(Identity::member)
}

impl Membership {
    /// A node that knows nobody. Two with the same seed that are told the same do the same.
    ///
    /// An incarnation beyond [`INCARNATION_MAX`] counts as that.
    pub fn new(me: Member, preset: Preset, seed: u64) -> Self {
        let identity = Identity::first(me);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let size = NonZeroU32::MIN;
        let config = config::config(preset, size);
        let intervals = Intervals::of(preset);
        Self {
            foca: Swim::new(identity, config, random.fork(), Codec),
            me: identity.member(),
            preset,
            // Nodes that were started together do not knock together.
            next_knock_us: random.random_range(0..intervals.knock_us),
            random,
            peers: BTreeMap::new(),
            down: BTreeMap::new(),
            touched: Vec::new(),
            timers: Timers::default(),
            size,
            last_us: None,
            running_us: 0,
            next_forget_us: intervals.forget_us,
            work: Allowance::new(WORK_PER_S, WORK_MAX),
            left: false,
        }
    }

    /// Takes a payload in; any bytes are fine.
    ///
    /// # Errors
    /// When no member of this version and in its right mind sends such a payload, or too many were sent. It changes
    /// nothing.
    pub fn receive(
        &mut self,
        now: Now,
        payload: &[u8],
        out: &mut Output,
    ) -> Result<(), MalformedPayload> {
        let outline = codec::outline(payload)?;
        if outline.incarnation > now.incarnation_max() {
            return Err(MalformedPayload::Ahead);
        }
        let me = *self.foca.identity();
        // For somebody else at this address it may be just right.
        if outline.receiver == me && outline.third == Some(me) {
            return Err(MalformedPayload::Detour);
        }
        let now_us = now.monotonic_us;
        // Foca compares each update with all, and what callers know of an actor takes a look at all as well.
        let work = (outline.updates + 2) * self.foca.iter_membership_state().len().max(1);
        if !self.work.take(now_us, work) {
            return Err(MalformedPayload::TooMuch);
        }
        self.advance(now_us);
        // Having left, it must not object when others say that it is gone.
        if !self.left && self.has_room(outline.updates + 1) {
            // Whatever is malformed was found above. What foca still refuses is a late payload of an
            // earlier run at this address, which is nobody's fault.
            let _ = self.run(out, |foca, runtime| foca.handle_data(payload, runtime));
        }
        Ok(())
    }

    /// Does what is due. Costs next to nothing when nothing is.
    pub fn tick(&mut self, now_us: u64, out: &mut Output) {
        self.advance(now_us);
        if self.left {
            return;
        }
        while let Some(timer) = self.timers.pop_due(self.running_us) {
            if self.is_refuted(&timer) {
                continue;
            }
            // Foca reports reminders out of order, and goes on by itself: after a pause it can happen
            // that one comes late.
            let _ = self.run(out, |foca, runtime| foca.handle_timer(timer, runtime));
        }
        let intervals = Intervals::of(self.preset);
        if self.running_us >= self.next_knock_us {
            self.next_knock_us = self.running_us + intervals.knock_us;
            self.knock(out);
        }
        if self.running_us >= self.next_forget_us {
            self.next_forget_us = self.running_us + intervals.forget_us;
            self.forget(departed::FORGET_AFTER_US);
        }
    }

    /// Asks a node for all members it knows, which makes both members to each other. It ignores this
    /// unless actor and address are what it calls itself; the run may be another.
    pub fn announce(&mut self, now_us: u64, to: Member, out: &mut Output) {
        self.advance(now_us);
        if !self.left && to.actor != self.me.actor {
            self.announce_to(Identity::first(to), out);
        }
    }

    /// Tells some members that this node leaves; they tell the others. Nothing is done or said after
    /// that.
    pub fn leave(&mut self, now_us: u64, out: &mut Output) {
        self.advance(now_us);
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let config = config::leaving(config::config(self.preset, self.size), FAREWELL_MESSAGES);
        // Only intervals are not to be changed, and a payload has room for what is in it: no errors.
        let _ = self.foca.set_config(config);
        let _ = self.run(out, |foca, runtime| foca.leave_cluster(runtime));
        for _ in 1..FAREWELLS {
            let _ = self.run(out, |foca, runtime| foca.gossip(runtime));
        }
    }

    /// Every actor that is there but this one, by actor id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = Member> {
        self.peers.values().map(|identity| identity.member())
    }

    /// An actor that is there and is not this one.
    pub fn member(&self, actor: u64) -> Option<Member> {
        self.peers.get(&actor).map(|identity| identity.member())
    }

    /// Whether an actor is there but did not answer lately.
    pub fn is_suspect(&self, actor: u64) -> bool {
        self.peers.get(&actor).is_some_and(|identity| {
            let mut members = self.foca.iter_members();
            members.any(|member| member.id() == identity && member.state() == State::Suspect)
        })
    }

    /// Forgets runs that begin after the latest that is believed: they were taken in while this host's clock was
    /// ahead, and keep earlier runs out.
    pub fn forget_ahead(&mut self, now: Now, out: &mut Output) {
        self.advance(now.monotonic_us);
        let incarnation_max = now.incarnation_max();
        let ahead: Vec<Identity> = self
            .foca
            .iter_membership_state()
            .map(|member| *member.id())
            .filter(|identity| identity.incarnation > incarnation_max)
            .collect();
        for identity in ahead {
            let down = std::iter::once(foca::Member::down(identity));
            // Neither sends anything, and both cannot fail.
            let _ = self.run(out, |foca, runtime| foca.apply_many(down, false, runtime));
            let _ = self.run(out, |foca, runtime| {
                foca.handle_timer(Timer::RemoveDown(identity), runtime)
            });
        }
    }

    /// Every actor that is there but did not answer lately.
    pub fn suspects(&self) -> BTreeSet<u64> {
        let members = self.foca.iter_members();
        let suspects = members.filter(|member| {
            let best = self.peers.get(&member.id().actor);
            member.state() == State::Suspect && best == Some(member.id())
        });
        suspects.map(|member| member.id().actor).collect()
    }

    fn advance(&mut self, now_us: u64) {
        let last_us = self.last_us.unwrap_or(now_us);
        self.running_us += now_us.saturating_sub(last_us).min(STEP_US_MAX);
        self.last_us = Some(now_us.max(last_us));
    }

    fn announce_to(&mut self, to: Identity, out: &mut Output) {
        // A payload has room for two identities: no error.
        let _ = self.run(out, |foca, runtime| foca.announce(to, runtime));
    }

    /// Lets foca do something, and tells in terms of actors what came of it.
    fn run<T>(&mut self, out: &mut Output, work: impl FnOnce(&mut Swim, Reactor<'_>) -> T) -> T {
        let reactor = Reactor {
            out,
            timers: &mut self.timers,
            touched: &mut self.touched,
            running_us: self.running_us,
        };
        let result = work(&mut self.foca, reactor);
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for actor in touched.drain(..).rev() {
            self.settle(actor, out);
        }
        self.touched = touched;
        let size = config::rounded_size(self.foca.num_members() + 1);
        if self.size != size && !self.left {
            self.size = size;
            // Only intervals are not to be changed: no error.
            let _ = self.foca.set_config(config::config(self.preset, size));
        }
        result
    }

    /// Compares what foca knows about an actor with what callers know.
    fn settle(&mut self, actor: u64, out: &mut Output) {
        if actor == self.me.actor {
            return;
        }
        let best = self.best(actor);
        let known = match best {
            Some(identity) => self.peers.insert(actor, identity),
            None => self.peers.remove(&actor),
        };
        let (best, known) = (best.map(Identity::member), known.map(Identity::member));
        if best != known {
            out.events
                .extend(best.map(Event::Up).or_else(|| known.map(Event::Down)));
        }
    }

    /// The latest living identity of an actor's last run. Those of earlier runs are over, even if nobody
    /// has found out yet.
    fn best(&self, actor: u64) -> Option<Identity> {
        let identities = || {
            let all = self.foca.iter_membership_state();
            all.filter(move |member| member.id().actor == actor)
        };
        let run = identities().map(|member| member.id().incarnation).max()?;
        identities()
            .filter(|member| member.state() != State::Down && member.id().incarnation == run)
            .map(|member| *member.id())
            .max_by_key(Identity::age)
    }

    /// Whether a reminder is about a suspicion that the suspect has refuted. Foca 2.0.0 would not declare
    /// it down, but would tell it that it is, and the member would come back under another identity:
    /// needless work for everybody, and each time another chance to be lost for real.
    fn is_refuted(&self, timer: &Timer<Identity>) -> bool {
        let Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            ..
        } = timer
        else {
            return false;
        };
        let is_suspected = |member: &foca::Member<Identity>| {
            member.id() == member_id
                && member.incarnation() == *incarnation
                && member.state() == State::Suspect
        };
        !self.foca.iter_members().any(is_suspected)
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("identity", self.foca.identity())
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}
