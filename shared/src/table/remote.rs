//! What peers counted, and what was forgiven: the daemon writes it beside this host's own count.

use super::claimant::Claimant;
use super::count::{ATTEMPTS_MAX, Moved};
use super::usage::{Source, Usage};
use super::words::{Count, Remote};
use super::{CountError, Key, Located, Table};
use crate::clock::Clock;
use crate::sync::{Ordering, Word};
use crate::window::Window;

/// What counts in a window beside a host's own hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Hits that peers counted.
    pub counted: u32,
    /// Hits that were forgiven, whoever counted them: they count no longer.
    pub forgiven: u32,
}

impl Beside {
    /// Hits of peers, and nothing forgiven.
    pub const fn of_peers(counted: u32) -> Self {
        Self {
            counted,
            forgiven: 0,
        }
    }

    /// Both as one number, which may be negative: hits that this host counted may be forgiven, and that hits
    /// were forgiven may be known before who counted them.
    pub const fn hits(self) -> i64 {
        self.counted as i64 - self.forgiven as i64
    }
}

/// What may take the place of a count that is there already for the same window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// More: what peers counted never falls, and less is old news, or of a daemon that has begun anew and has
    /// not heard of everything yet.
    Raise,
    /// Anything: hits were forgiven just now.
    Set,
}

impl<W: Word, const BUCKET: usize> Table<'_, W, BUCKET> {
    /// Puts what counts for a key in a window beside this host's own hits, where it is not known or `put` has it
    /// take the place of what is. A key that nobody here has seen gets a slot if there are any such hits, so
    /// that its first hit here already meets the peers' count.
    ///
    /// A count of a later window is not replaced, unless it is of a window beyond the next one: that was written
    /// before the clock was set back. For the daemon alone, which is the only writer of these words.
    ///
    /// # Errors
    /// [`CountError`]: there is no slot for a new key, or others interfered too often.
    pub fn put_remote(
        &self,
        key: &Key,
        window: Window,
        hits: i64,
        put: Put,
        clock: &impl Clock,
        claimant: impl Claimant,
    ) -> Result<(), CountError> {
        let mut found = self.find(key);
        for _ in 0..super::claim::ATTEMPTS_MAX {
            let located = match found.take() {
                Some(located) => located,
                // Nothing to say to the first hit here.
                None if hits <= 0 => return Ok(()),
                None => self.claim(key, clock, &claimant)?,
            };
            // A slot whose life is over: the key needs another.
            if let Ok(result) = self.replace(key, located, (window, hits), put, clock) {
                return result;
            }
        }
        Err(CountError::Contended)
    }

    /// Replaces the remote word of a slot that was found to be the key's, as long as it still is.
    fn replace(
        &self,
        key: &Key,
        located: Located,
        (window, hits): (Window, i64),
        put: Put,
        clock: &impl Clock,
    ) -> Result<Result<(), CountError>, Moved> {
        let slot = &self.slots[located.index];
        let word = slot.remote(window.number());
        let new = Remote::Hits {
            window: window.number(),
            hits,
        };
        let life = located.control.life();
        for _ in 0..ATTEMPTS_MAX {
            if !self.keep_alive(key, located, clock)? {
                continue;
            }
            // Acquire: the control word is looked at after it, as in `add`.
            let found = word.load(Ordering::Acquire);
            if slot.control.load(Ordering::Relaxed) != located.control.word() {
                return Err(Moved);
            }
            let newest = key
                .period
                .window_at(clock.now_s())
                .number()
                .saturating_add(1);
            let is_kept = match Remote::from_word(found, window.number(), life) {
                Remote::Hits {
                    window: there,
                    hits: known,
                } if there == window.number() => match put {
                    Put::Raise => known >= hits,
                    Put::Set => known == hits,
                },
                Remote::Hits { window: there, .. } => there > window.number() && there <= newest,
                Remote::Ended => false,
            };
            if is_kept {
                return Ok(Ok(()));
            }
            // Release: pairs with the acquire above.
            if word
                .compare_exchange(found, new.word(life), Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                self.note_news(located.index, clock.now_ms());
                return Ok(Ok(()));
            }
        }
        Ok(Err(CountError::Contended))
    }

    /// Notes that peers counted, of a key that nobody has asked for here.
    fn note_news(&self, index: usize, now_ms: u64) {
        let usage = &self.slots[index].usage;
        // Relaxed: advisory, as in `note_usage`.
        let found = usage.load(Ordering::Relaxed);
        if Usage::from_word(found).source == Source::PEERS {
            let news = Usage::begin(Source::PEERS, now_ms).after(found);
            usage.store(news.word(), Ordering::Relaxed);
        }
    }

    /// Makes sure that nobody takes the slot for an expired one from here on. `Ok(false)`: somebody
    /// changed the word meanwhile, look again.
    ///
    /// A slot is taken from its key by swapping the local word that was judged to be old. A hit makes
    /// that swap fail by counting in the word; what peers counted is in another word, so the local one
    /// is moved to the current window here, with no hits in it, before the remote word is written.
    fn keep_alive(&self, key: &Key, located: Located, clock: &impl Clock) -> Result<bool, Moved> {
        let slot = &self.slots[located.index];
        // Acquire, pairs with COUNT and END, as in `add`.
        let found = slot.local.load(Ordering::Acquire);
        if slot.control.load(Ordering::Relaxed) != located.control.word() {
            return Err(Moved);
        }
        let life = located.control.life();
        let current = key.period.window_at(clock.now_s()).number();
        match Count::from_word(found, life) {
            Count::Ended => return Err(Moved),
            // Good for this window and the next.
            Count::Hits { window, .. } if window == current || window == current + 1 => {
                return Ok(true);
            }
            Count::Hits { window, .. } if window + 1 == current => {
                let current = key.period.window(current);
                if !self.keep_previous(located, found, current)? {
                    return Ok(false);
                }
            }
            Count::Hits { .. } => {}
        }
        let start = Count::Hits {
            window: current,
            count: 0,
        };
        // COUNT, with no hits. If the slot was ended since it was looked at, this fails.
        Ok(slot
            .local
            .compare_exchange(found, start.word(life), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok())
    }
}
