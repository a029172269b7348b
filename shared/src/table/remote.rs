//! What peers counted: the daemon writes it beside this host's own count.

use super::count::{ATTEMPTS_MAX, Moved};
use super::words::{Count, Life};
use super::{CountError, Key, Located, Table};
use crate::clock::Clock;
use crate::sync::{Ordering, Word};
use crate::window::Window;

impl<W: Word, const BUCKET: usize> Table<'_, W, BUCKET> {
    /// Raises what peers counted for a key in a window to `remote`. A key that nobody here has seen
    /// gets a slot, so that its first hit here already meets the peers' count.
    ///
    /// A count that is there already for the same window is never lowered, and one of a later window is
    /// not replaced, unless it is of a window beyond the next one: that was written before the clock was
    /// set back. For the daemon alone, which is the only writer of these words.
    ///
    /// # Errors
    /// [`CountError`]: there is no slot for a new key, or others interfered too often.
    pub fn put_remote(
        &self,
        key: &Key,
        window: Window,
        remote: u32,
        clock: &impl Clock,
        on_claim: impl Fn(usize, Life),
    ) -> Result<(), CountError> {
        if remote == 0 {
            return Ok(());
        }
        let mut found = self.find(key);
        for _ in 0..super::claim::ATTEMPTS_MAX {
            let located = match found.take() {
                Some(located) => located,
                None => self.claim(key, clock, &on_claim)?,
            };
            // A slot whose life is over: the key needs another.
            if let Ok(result) = self.raise(key, located, window, remote, clock) {
                return result;
            }
        }
        Err(CountError::Contended)
    }

    /// Raises the remote word of a slot that was found to be the key's, as long as it still is.
    fn raise(
        &self,
        key: &Key,
        located: Located,
        window: Window,
        remote: u32,
        clock: &impl Clock,
    ) -> Result<Result<(), CountError>, Moved> {
        let slot = &self.slots[located.index];
        let word = slot.remote(window.number());
        let new = Count::Hits {
            window: window.number(),
            count: remote,
        };
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
            if let Count::Hits {
                window: there,
                count,
            } = Count::from_word(found)
                && (there == window.number() && count >= remote
                    || there > window.number() && there <= newest)
            {
                return Ok(Ok(()));
            }
            // Release: pairs with the acquire above.
            if word
                .compare_exchange(found, new.word(), Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return Ok(Ok(()));
            }
        }
        Ok(Err(CountError::Contended))
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
        let current = key.period.window_at(clock.now_s()).number();
        match Count::from_word(found) {
            Count::Ended(life) if life == located.control.life() => return Err(Moved),
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
            Count::Ended(_) | Count::Hits { .. } => {}
        }
        let start = Count::Hits {
            window: current,
            count: 0,
        };
        // COUNT, with no hits. If the slot was ended since it was looked at, this fails.
        Ok(slot
            .local
            .compare_exchange(found, start.word(), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok())
    }
}
