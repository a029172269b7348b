//! Token buckets, for people to look at.

use super::RegionView;
use crate::fingerprint::Fingerprint;
use crate::sync::Ordering;
use crate::table::{Key, Tally};
use crate::token_bucket::{Memory, PARTS, TokenBucket};

impl RegionView {
    /// Tokens that a bucket lacks to be full, rounded up, by its key's counter. Looks at every slot: for
    /// tools.
    pub fn tokens_missing(
        &self,
        fingerprint: Fingerprint,
        bucket: &TokenBucket,
        now_ms: u64,
    ) -> u64 {
        let key = Key {
            fingerprint,
            period: bucket.window(),
        };
        let window = key.period.window_at(now_ms / 1_000);
        let found = self.table().and_then(|table| {
            let mut slots = (0..table.slot_count()).filter_map(|at| Some((at, table.read(at)?)));
            slots.find(|(_, reading)| reading.key == key)
        });
        let Some((slot, reading)) = found else {
            return 0;
        };
        let hits = |number: u32| reading.total_in(number);
        let tally = Tally {
            window,
            current: hits(window.number()),
            previous: window.number().checked_sub(1).map_or(0, hits),
            slot: None,
        };
        // Relaxed: one word, for people to look at.
        let word = self
            .memory_word(slot)
            .map(|word| word.load(Ordering::Relaxed));
        let memory = word.map(|word| Memory::from_word(word, reading.life));
        let offset = bucket.offset(&tally, now_ms, memory);
        bucket.debt(&tally, now_ms, offset).div_ceil(PARTS)
    }
}
