//! Counting in a slot: the hot path.

use super::claimant::Claimant;
use super::words::{Count, Remote, high_half, low_half};
use super::{CountError, Counted, Gate, Key, Located, Open, Place, Table, Tally};
use crate::clock::Clock;
use crate::sync::{Ordering, Word};
use crate::window::Window;

/// Swaps that may fail in a row before a hit is given up. Each failure means that another thread's
/// swap went through, so honest neighbours never come near it.
pub(super) const ATTEMPTS_MAX: u32 = 10_000;

/// The slot went to another key, or is about to.
pub(super) struct Moved;

/// How far adding to a found slot came.
enum Added {
    Counted(Counted),
    Moved,
    Contended,
}

impl<W: Word, const BUCKET: usize> Table<'_, W, BUCKET> {
    /// Adds `addend` hits to a key in the window of `now_s` and says what the count was and is.
    ///
    /// `now_s` is the request's one reading of `clock`; the clock itself is read again only when a slot
    /// is already in a later window, to tell a thread that slept from a clock that was set back. An
    /// addend of 0 reads and claims no slot. `claimant` is told the slot and life when the key gets a
    /// slot, before the slot is live, and which other key was evicted for it.
    ///
    /// # Errors
    /// [`CountError`]; nothing was counted then.
    #[inline]
    pub fn count(
        &self,
        key: &Key,
        addend: u64,
        now_s: u64,
        clock: &impl Clock,
        claimant: impl Claimant,
    ) -> Result<Counted, CountError> {
        self.count_if(key, addend, now_s, clock, &Open, claimant)
    }

    /// As [`Self::count`], if the gate admits the hits; else only those are counted that it charges all the same,
    /// and a key that nothing was counted for gets no slot.
    ///
    /// # Errors
    /// [`CountError`]; nothing was counted then.
    #[inline(always)]
    pub fn count_if<G: Gate>(
        &self,
        key: &Key,
        addend: u64,
        now_s: u64,
        clock: &impl Clock,
        gate: &G,
        claimant: impl Claimant,
    ) -> Result<Counted, CountError> {
        let mut found = self.find(key);
        for _ in 0..super::claim::ATTEMPTS_MAX {
            let located = match found.take() {
                Some(located) => located,
                None if addend == 0 => return Ok(Self::nothing(key, now_s, gate)),
                None if !G::IS_OPEN && Self::takes_nothing(key, now_s, gate) => {
                    return Ok(Self::nothing(key, now_s, gate));
                }
                None => self.claim(key, clock, &claimant)?,
            };
            match self.add(key, located, addend, now_s, clock, gate) {
                Added::Counted(counted) => return Ok(counted),
                Added::Contended => return Err(CountError::Contended),
                // The slot's life is over: the key needs another.
                Added::Moved => {}
            }
        }
        Err(CountError::Contended)
    }

    /// What is counted for a key without a slot.
    fn empty(key: &Key, now_s: u64) -> Tally {
        Tally {
            window: key.period.window_at(now_s),
            current: 0,
            previous: 0,
            slot: None,
        }
    }

    /// Whether a gate neither admits nor charges hits of a key without a slot.
    fn takes_nothing(key: &Key, now_s: u64, gate: &impl Gate) -> bool {
        let tally = Self::empty(key, now_s);
        !gate.admits(&tally) && gate.charges(&tally) == 0
    }

    /// What a key without a slot has counted.
    fn nothing(key: &Key, now_s: u64, gate: &impl Gate) -> Counted {
        let tally = Self::empty(key, now_s);
        Counted {
            window: tally.window,
            before: 0,
            after: 0,
            remote: 0,
            previous: 0,
            refused: !gate.admits(&tally),
            slot: None,
        }
    }

    /// Adds to a slot that was found to be the key's, as long as it still is.
    #[inline(always)]
    fn add<G: Gate>(
        &self,
        key: &Key,
        located: Located,
        addend: u64,
        now_s: u64,
        clock: &impl Clock,
        gate: &G,
    ) -> Added {
        let slot = &self.slots[located.index];
        let life = located.control.life();
        let mut window = key.period.window_at(now_s);
        for _ in 0..ATTEMPTS_MAX {
            // Acquire, pairs with COUNT and END: if the word is from a later life, the next load sees
            // that life's control word.
            let found = slot.local.load(Ordering::Acquire);
            // Relaxed: ordered by the acquire above.
            if slot.control.load(Ordering::Relaxed) != located.control.word() {
                return Added::Moved;
            }
            // From here on the swap below succeeds only if no other life began: a life begins by
            // ending the word `found`, and no word of another life is equal to it.
            let before = if high_half(found) == life.over(window.number()) {
                low_half(found)
            } else {
                match self.begin(key, located, addend, found, &mut window, clock) {
                    Ok(true) => 0,
                    Ok(false) => continue,
                    Err(Moved) => return Added::Moved,
                }
            };
            let mut previous = 0;
            let mut refused = false;
            let mut added = addend;
            if !G::IS_OPEN {
                let tally = self.tally(located, found, window, before);
                previous = tally.previous;
                refused = !gate.admits(&tally);
                if refused {
                    added = gate.charges(&tally).min(addend);
                }
            }
            let after = u64::from(before).saturating_add(added);
            if added > 0 {
                let count = u32::try_from(after).unwrap_or(u32::MAX);
                let new = Count::Hits {
                    window: window.number(),
                    count,
                }
                .word(life);
                // COUNT. Release: whoever reads the count sees what made the slot this life's. SeqCst
                // besides: the dirty bit is looked at after it (see `dirty`).
                if slot
                    .local
                    .compare_exchange(found, new, Ordering::SeqCst, Ordering::Relaxed)
                    .is_err()
                {
                    continue;
                }
            }
            // Relaxed: one word, window and count together.
            let remote = slot.remote(window.number()).load(Ordering::Relaxed);
            return Added::Counted(Counted {
                window,
                before: u64::from(before),
                after,
                remote: Remote::hits_within(remote, window.number(), life),
                previous,
                refused,
                slot: Some(Place {
                    index: located.index,
                    life,
                }),
            });
        }
        Added::Contended
    }

    /// Gets ready to count the first hits of a window in a slot whose local word is `found`: in `window`, or
    /// in the one that the clock shows when the slot is ahead of it. `Ok(false)`: look again.
    fn begin(
        &self,
        key: &Key,
        located: Located,
        addend: u64,
        found: u64,
        window: &mut Window,
        clock: &impl Clock,
    ) -> Result<bool, Moved> {
        match Count::from_word(found, located.control.life()) {
            Count::Ended => Err(Moved),
            Count::Hits {
                window: counted, ..
            } if counted > window.number() => {
                // Did this thread sleep, or was the clock set back? Only a reading made after the
                // word was loaded can tell.
                *window = key.period.window_at(clock.now_s());
                // If set back, windows follow the clock: counting starts over in the window it shows now.
                Ok(window.number() < counted)
            }
            Count::Hits {
                window: counted, ..
            } if addend > 0 && counted + 1 == window.number() => {
                self.keep_previous(located, found, *window)
            }
            Count::Hits { .. } => Ok(true),
        }
    }

    /// What is counted for the key of a slot whose local word is `found`, with `before` hits in `window`.
    ///
    /// If the slot moves on meanwhile, the count of the previous window may be missing or that of an
    /// earlier one; then `found` is out of date, and whoever adds by it starts over.
    fn tally(&self, located: Located, found: u64, window: Window, before: u32) -> Tally {
        let slot = &self.slots[located.index];
        let life = located.control.life();
        let within =
            |word: u64, number: u32| u64::from(Count::from_word(word, life).within(number));
        let with_remote = |local: u64, number: u32| {
            let remote = slot.remote(number).load(Ordering::Relaxed);
            local.saturating_add_signed(Remote::hits_within(remote, number, life))
        };
        let mut previous = 0;
        if let Some(ended) = window.number().checked_sub(1) {
            // Acquire, pairs with KEEP. The count is in the local word until the slot moves on, and was
            // kept before it did.
            let kept = within(slot.previous.load(Ordering::Acquire), ended);
            previous = with_remote(kept.max(within(found, ended)), ended);
        }
        Tally {
            window,
            current: with_remote(u64::from(before), window.number()),
            previous,
            slot: Some(Place {
                index: located.index,
                life,
            }),
        }
    }

    /// Keeps the final count of the window that `found` is about, before the slot moves on to
    /// `window`. `Ok(false)`: the slot has moved on already, look again.
    pub(super) fn keep_previous(
        &self,
        located: Located,
        found: u64,
        window: Window,
    ) -> Result<bool, Moved> {
        let slot = &self.slots[located.index];
        let life = located.control.life();
        let Count::Hits {
            window: ended,
            count,
        } = Count::from_word(found, life)
        else {
            return Ok(true);
        };
        for _ in 0..ATTEMPTS_MAX {
            // Acquire, pairs with KEEP.
            let kept = slot.previous.load(Ordering::Acquire);
            // Acquire: the local word is looked at again after `kept` was read, so a `kept` that somebody
            // wrote while moving on is never mistaken for one of the future.
            if slot.local.load(Ordering::Acquire) != found {
                return Ok(false);
            }
            if slot.control.load(Ordering::Relaxed) != located.control.word() {
                return Err(Moved);
            }
            if let Count::Hits {
                window: kept_window,
                count: kept_count,
            } = Count::from_word(kept, life)
                && kept_window == ended
                && kept_count >= count
            {
                return Ok(true);
            }
            if let Count::Hits {
                window: kept_window,
                ..
            } = Count::from_word(kept, life)
                && kept_window > ended
                && kept_window < window.number()
            {
                return Ok(true);
            }
            // KEEP. Release: pairs with the acquire above.
            if slot
                .previous
                .compare_exchange(kept, found, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
