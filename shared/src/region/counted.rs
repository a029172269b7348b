//! What is counted for one key, for people to look at.

use super::RegionView;
use crate::sync::Ordering;
use crate::table::{Key, Tally};
use crate::token_bucket::Memory;
use crate::window::Window;

/// What is counted for a key, and remembered beside it.
pub(crate) struct Counted {
    /// In the window that was asked for, and in the one before.
    pub(crate) tally: Tally,
    /// This host's hits in the window.
    pub(crate) local: u64,
    /// What peers counted there, less what was forgiven.
    pub(crate) remote: i64,
    /// Of a token bucket; `None` when the key has no slot.
    pub(crate) memory: Option<Memory>,
}

impl RegionView {
    /// What is counted for a key in a window.
    pub(crate) fn counted(&self, key: &Key, window: Window) -> Counted {
        let found = self.table().and_then(|table| {
            let slot = table.place(key)?.index;
            let reading = table.read(slot)?;
            (reading.key == *key).then_some((slot, reading))
        });
        let mut counted = Counted {
            tally: Tally {
                window,
                current: 0,
                previous: 0,
                slot: None,
            },
            local: 0,
            remote: 0,
            memory: None,
        };
        if let Some((slot, reading)) = found {
            let number = window.number();
            let before = number.checked_sub(1);
            counted.local = reading.local_in(number).into();
            counted.remote = reading.remote_in(number);
            counted.tally.current = reading.total_in(number);
            counted.tally.previous = before.map_or(0, |before| reading.total_in(before));
            // Relaxed: one word, for people to look at.
            let word = self
                .memory_word(slot)
                .map(|word| word.load(Ordering::Relaxed));
            counted.memory = word.map(|word| Memory::from_word(word, reading.place.life));
        }
        counted
    }
}
