//! Keeping what is remembered of a bucket up to date, with other threads and processes beside it.

use super::{Mark, Memory, TokenBucket};
use crate::sync::{Ordering, Word};
use crate::table::Tally;
use crate::table::words::Life;

/// Changes of a remembered word that others may foil in a row before it is left as they want it. Each of
/// them raised it, but for a reset, so what is left out is little.
const ATTEMPTS_MAX: u32 = 1_000;

/// Looks at what is remembered in a word beside a slot in this life, and lets `change` replace it. `change`
/// is told the memory, and again if another thread replaced it meanwhile.
pub fn remember<T>(
    word: &impl Word,
    life: Life,
    mut change: impl FnMut(Memory) -> (T, Option<Memory>),
) -> T {
    // Acquire, pairs with REMEMBER: whoever saw a count sees what was remembered before it.
    let mut found = word.load(Ordering::Acquire);
    for _ in 0..ATTEMPTS_MAX {
        let (result, new) = change(Memory::from_word(found, life));
        let Some(new) = new else {
            return result;
        };
        // REMEMBER. Release, and before the count it belongs to.
        match word.compare_exchange(found, new.word(life), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return result,
            Err(other) => found = other,
        }
    }
    change(Memory::from_word(found, life)).0
}

impl TokenBucket {
    /// Parts that the bucket lacks to be full, by what is counted and by the word that remembers its offset,
    /// if the key has a slot.
    ///
    /// Remembers the offset before it says so: a hit that is added afterwards lets nobody take what flowed
    /// past the bucket before it for tokens that are still there.
    pub fn debt_by(&self, tally: &Tally, now_ms: u64, memory: Option<(&impl Word, Life)>) -> u64 {
        let offset = match memory {
            None => self.offset(tally, now_ms, None),
            Some((word, life)) => remember(word, life, |found| {
                let offset = self.offset(tally, now_ms, Some(found));
                let number = tally.window.number();
                // Whoever comes late from the window before leaves what is remembered of this one alone.
                let is_news = found.window != number.saturating_add(1)
                    && (found.window != number || self.remembered(found.mark) < offset);
                let memory = Memory {
                    window: number,
                    mark: Mark::Offset(offset),
                };
                (offset, is_news.then_some(memory))
            }),
        };
        self.debt(tally, now_ms, offset)
    }
}
