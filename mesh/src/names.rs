//! What the keys read as that peers have counted: which ones this node lacks, and whom it has asked.
//!
//! A count comes with the hash of its key. What the key reads as no decision depends on, but people who look at
//! the hottest counters do, on every host. So a node looks now and then which keys have the most hits that others
//! counted, and asks for the names that it lacks. Whatever becomes of a slot, a peer or a region: a name that is
//! missing again is asked for again. Nothing that was not asked for is taken in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::table::Key;
use hivemind_shared::window::Period;

use crate::book::{Book, KeyId};
use crate::budget::Allowance;
use crate::flights::LinkIndex;
use crate::urgency::current_half;

/// Keys whose names are worth having.
pub(crate) const KEYS_MAX: usize = 1_024;

/// Entries that are looked at in a tick.
pub(crate) const LOOKED_AT_MAX: usize = 256;

/// How often it is looked which keys are the hottest, microseconds.
const ROUND_US: u64 = 1_000_000;

/// Names that are asked for in a second.
const ASKED_PER_S: u32 = 32;

/// Names that are asked for at once.
const ASKED_AT_ONCE: u32 = 1_024;

/// After how long a name is asked for again, microseconds; each time twice as long.
const ASK_AGAIN_US: u64 = 3_000_000;

/// The longest that is, microseconds.
const ASK_AGAIN_MAX_US: u64 = 600_000_000;

/// Rounds for which it is remembered that a name was asked for that is not found missing any more.
const ROUNDS_KEPT: u64 = 16;

/// Names that are remembered to have been asked for.
const ASKED_MAX: usize = 2 * KEYS_MAX;

/// A name that was asked for.
#[derive(Debug)]
struct Asked {
    /// Whose answer is taken.
    of: Option<LinkIndex>,
    times: u32,
    /// When it may be asked for again, monotonic microseconds.
    again_us: u64,
    /// In which round it was last found missing.
    round: u64,
}

/// The search for names.
#[derive(Debug)]
pub(crate) struct Names {
    round: u64,
    /// When this round began, monotonic microseconds; `None` before the first one.
    began_us: Option<u64>,
    /// Where in the book it goes on; `None` when all of it was looked at.
    from: Option<usize>,
    /// By hits; of as many hits the key that came first, so that others do not take its place all the time.
    hottest: BinaryHeap<Reverse<(u64, Reverse<KeyId>)>>,
    /// Keys to look at more closely, the hottest last.
    candidates: Vec<KeyId>,
    asked: BTreeMap<(Period, Fingerprint), Asked>,
    allowance: Allowance,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            round: 0,
            began_us: None,
            from: None,
            hottest: BinaryHeap::new(),
            candidates: Vec::new(),
            asked: BTreeMap::new(),
            allowance: Allowance::new(ASKED_PER_S, ASKED_AT_ONCE),
        }
    }
}

const fn place(key: &Key) -> (Period, Fingerprint) {
    (key.period, key.fingerprint)
}

impl Names {
    /// Looks at some more entries of the book, from time to time.
    pub(crate) fn look(&mut self, now_us: u64, now_s: u64, book: &Book) {
        if self.from.is_none() && self.candidates.is_empty() {
            let is_early = self
                .began_us
                .is_some_and(|began_us| now_us.saturating_sub(began_us) < ROUND_US);
            if is_early {
                return;
            }
            self.round += 1;
            let kept = self.round.saturating_sub(ROUNDS_KEPT);
            self.asked.retain(|_, asked| asked.round >= kept);
            self.began_us = Some(now_us);
            self.from = Some(0);
        }
        let Some(from) = self.from else { return };
        let (entries, next) = book.part(from, LOOKED_AT_MAX);
        for (id, entry) in entries {
            let Some(half) = current_half(&entry.key, &entry.halves, now_s) else {
                continue;
            };
            let hits = half.total();
            if half.others() > 0 && hits > 0 {
                self.hottest.push(Reverse((hits, Reverse(id))));
                if self.hottest.len() > KEYS_MAX {
                    self.hottest.pop();
                }
            }
        }
        self.from = next;
        if next.is_none() {
            let hottest = std::mem::take(&mut self.hottest).into_sorted_vec();
            let ids = hottest
                .into_iter()
                .rev()
                .map(|Reverse((_, Reverse(id)))| id);
            self.candidates = ids.collect();
        }
    }

    /// Forgets who was asked for what: there is somebody else to ask now.
    pub(crate) fn ask_anew(&mut self) {
        self.asked.clear();
    }

    /// The next key to look at more closely; the hottest first.
    pub(crate) fn next(&mut self) -> Option<KeyId> {
        self.candidates.pop()
    }

    /// Notes that a name is missing. Returns how often it was asked for, if it may be asked for now. When no more
    /// may be asked for at present, the round ends: the next one begins with the hottest again.
    pub(crate) fn note_missing(&mut self, now_us: u64, key: &Key) -> Option<u32> {
        let has_room = self.asked.len() < ASKED_MAX;
        let times = match self.asked.get_mut(&place(key)) {
            Some(asked) => {
                asked.round = self.round;
                (now_us >= asked.again_us).then_some(asked.times)
            }
            None => has_room.then_some(0),
        }?;
        if !self.allowance.take(now_us, 1) {
            self.candidates.clear();
            return None;
        }
        Some(times)
    }

    /// Notes whom a name is asked of.
    pub(crate) fn note_asked(&mut self, now_us: u64, key: &Key, of: LinkIndex, times: u32) {
        let wait_us = ASK_AGAIN_US.saturating_mul(1 << times.min(16));
        let asked = Asked {
            of: Some(of),
            times: times.saturating_add(1),
            again_us: now_us.saturating_add(wait_us.min(ASK_AGAIN_MAX_US)),
            round: self.round,
        };
        self.asked.insert(place(key), asked);
    }

    /// Whether a name that a peer says was asked of it. One answer is taken for each question.
    pub(crate) fn take_asked(&mut self, key: &Key, of: LinkIndex) -> bool {
        let asked = self.asked.get_mut(&place(key));
        asked.is_some_and(|asked| asked.of.take_if(|there| *there == of).is_some())
    }
}
