//! One key: what was counted for it, and how this host's part of it is told to others.

use hivemind_shared::table::{Beside, Key, Place};
use smallvec::SmallVec;

use super::actors::{ActorIndex, FORGIVEN, OWN};
use super::is_near;

/// A key's counts in two neighbouring windows: one half for even, one for odd window numbers, as in the
/// region.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// By the lowest bit of the window's number.
    pub halves: [Half; 2],
    /// When any count last grew, Unix seconds.
    pub(super) changed_s: u64,
    /// Where this host counted it last; `None` before the first time.
    pub(super) place: Option<Place>,
    /// How this host's own part is sent.
    pub own: Own,
}

/// How this host's own counts of a key are sent.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Statistics index of the rule that decided here last; `u32::MAX` for none.
    pub rule: u32,
    /// When the oldest change that was not sent yet was noticed, monotonic microseconds.
    pub changed_us: Option<u64>,
    /// When it was last sent to everybody, monotonic microseconds; `None` before the first time.
    pub sent_us: Option<u64>,
    /// When it is to be sent at the latest, if it is waiting, monotonic microseconds.
    pub due_us: Option<u64>,
    /// Whether it is to be sent with the next datagrams.
    pub urgent: bool,
    /// Whether no decision depends on what is unsent.
    pub unhurried: bool,
    /// How urgent that is; see [`crate::urgency::Urgency::Now`].
    pub multiple: f64,
    /// What others counted since the overshoot was last estimated.
    pub others_growth: u32,
}

/// What was counted in one window.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// The window; `None` before the first.
    pub window: Option<u32>,
    /// What this host counted.
    pub own: u32,
    /// What of it was sent to everybody.
    pub sent: u32,
    /// Sequence of the last datagram to everybody that this window's count was in.
    pub sequence: u64,
    /// What was known of everybody's counts when it was.
    pub total_when_sent: u64,
    /// What this host's slot said last.
    local: u32,
    /// What this host counted before the slot started over, or the key got another one.
    base: u32,
    /// Whether the slot started over, which it does when the clock is set back.
    is_set_back: bool,
    /// What others counted together; saturates.
    others: u32,
    /// How many of all hits were forgiven.
    forgiven: u32,
    by_actor: SmallVec<[(ActorIndex, u32); 1]>,
}

impl Entry {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            halves: Default::default(),
            changed_s: 0,
            place: None,
            own: Own {
                rule: u32::MAX,
                changed_us: None,
                sent_us: None,
                due_us: None,
                urgent: false,
                unhurried: false,
                multiple: 0.0,
                others_growth: 0,
            },
        }
    }

    /// The counts of a window, if it is one of the two.
    pub fn half(&self, window: u32) -> Option<&Half> {
        let half = &self.halves[window as usize & 1];
        (half.window == Some(window)).then_some(half)
    }

    /// Whether this host counted anything that was not sent to everybody.
    pub fn has_unsent(&self) -> bool {
        self.halves.iter().any(|half| half.own > half.sent)
    }

    /// Whether a datagram to everybody after this one told less than all of this host's counts: then who
    /// lost it lacks something.
    pub fn is_news_since(&self, sequence: u64) -> bool {
        self.halves
            .iter()
            .any(|half| half.own > 0 && half.sequence <= sequence)
    }

    /// Whether this host counted any of it.
    pub(super) fn is_own(&self) -> bool {
        self.halves.iter().any(|half| half.own > 0)
    }

    /// Whether it waits to be sent.
    pub fn is_queued(&self) -> bool {
        self.own.urgent || self.own.due_us.is_some()
    }

    /// Whether any of its windows still matters.
    pub fn is_live(&self, now_s: u64) -> bool {
        self.halves
            .iter()
            .any(|half| half.is_near(&self.key, now_s))
    }
}

impl Half {
    pub(super) fn of(window: u32) -> Self {
        Self {
            window: Some(window),
            ..Self::default()
        }
    }

    /// What this host counted, without what others did.
    pub(super) fn own_part(&self) -> Self {
        Self {
            others: 0,
            forgiven: 0,
            by_actor: SmallVec::new(),
            ..self.clone()
        }
    }

    /// Takes in what this host counted before the clock was set, if nothing of it is here.
    pub(super) fn take_back(&mut self, own_part: &Self) {
        if self.own == 0 {
            self.own = own_part.own;
            self.sent = own_part.sent;
            self.local = own_part.local;
            self.base = own_part.base;
            self.is_set_back = own_part.is_set_back;
        }
    }

    /// Whether its window still matters.
    pub fn is_near(&self, key: &Key, now_s: u64) -> bool {
        self.window
            .is_some_and(|window| is_near(key.period, window, now_s))
    }

    /// What all peers counted and what was forgiven, as the region should have it. What this host counted
    /// before its own count started over belongs to the former: the slot has forgotten that.
    pub fn beside_local(&self) -> Beside {
        Beside {
            counted: self.others.saturating_add(self.base),
            forgiven: self.forgiven,
        }
    }

    /// What counts of what everybody counted, as far as is known.
    pub fn total(&self) -> u64 {
        self.known_with(self.own)
    }

    /// What everybody but this host knows to count.
    pub fn total_without_unsent(&self) -> u64 {
        self.known_with(self.sent)
    }

    fn known_with(&self, own: u32) -> u64 {
        let counted = u64::from(own) + u64::from(self.others);
        counted.saturating_sub(self.forgiven.into())
    }

    /// The number to forgive, so that none of what is known to be counted counts any more, if `here` is what
    /// counts by the region, which may know of hits that this run of the mesh has not heard of.
    pub(super) fn all(&self, here: u64) -> u32 {
        let known = u64::from(self.own) + u64::from(self.others);
        let all = known.max(u64::from(self.forgiven) + here);
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    /// Notes that all of it was sent to everybody, in a datagram of this sequence if there was anything to
    /// send.
    pub fn note_sent(&mut self, sequence: u64) {
        if self.own > self.sent {
            self.sequence = sequence;
        }
        self.sent = self.own;
        self.total_when_sent = self.total();
    }

    /// What others counted together.
    pub fn others(&self) -> u32 {
        self.others
    }

    /// What an actor counted.
    pub fn of_actor(&self, actor: ActorIndex) -> u32 {
        match actor {
            OWN => return self.own,
            FORGIVEN => return self.forgiven,
            _ => {}
        }
        let found = self.by_actor.iter().find(|(there, _)| *there == actor);
        found.map_or(0, |(_, count)| *count)
    }

    /// What each actor counted, this host included, and what was forgiven.
    pub fn counts(&self) -> impl Iterator<Item = (ActorIndex, u32)> {
        let own = (self.own > 0).then_some((OWN, self.own));
        let forgiven = (self.forgiven > 0).then_some((FORGIVEN, self.forgiven));
        let others = self.by_actor.iter().copied();
        own.into_iter().chain(forgiven).chain(others)
    }

    /// Takes in what the slot says.
    pub(super) fn note_local(&mut self, local: u32) {
        if local < self.local {
            self.base = self.base.saturating_add(self.local);
            self.is_set_back = true;
        }
        self.local = local;
        self.own = self.own.max(self.base.saturating_add(local));
    }

    /// Notes that the key lost its slot, and what was counted there with it.
    pub(super) fn note_eviction(&mut self) {
        self.base = self.base.saturating_add(self.local);
        self.local = 0;
    }

    /// Whether the slot started over in this window, so that what it kept of it from before is no news.
    pub(super) fn started_over(&self) -> bool {
        self.is_set_back
    }

    /// Raises an actor's count; returns what it was.
    pub(super) fn raise(&mut self, actor: ActorIndex, count: u32) -> u32 {
        if actor == FORGIVEN {
            let before = self.forgiven;
            self.forgiven = before.max(count);
            return before;
        }
        let found = self.by_actor.iter_mut().find(|(there, _)| *there == actor);
        let before = match found {
            Some((_, there)) => {
                let before = *there;
                *there = before.max(count);
                before
            }
            None => {
                self.by_actor.push((actor, count));
                0
            }
        };
        self.others = self.others.saturating_add(count.saturating_sub(before));
        before
    }

    /// Drops actors whose numbers are given to others; they are in order.
    pub(super) fn forget(&mut self, gone: &[ActorIndex]) {
        // Their windows are over, but may matter again when the clock is set back: then they report anew.
        self.by_actor.retain(|(actor, count)| {
            let stays = gone.binary_search(actor).is_err();
            if !stays {
                self.others = self.others.saturating_sub(*count);
            }
            stays
        });
    }
}
