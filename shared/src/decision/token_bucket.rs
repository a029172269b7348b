//! Hits that take tokens from a bucket.

use super::judge::Judgement;
use crate::region::Region;
use crate::table::{Counted, Gate, Tally};
use crate::token_bucket::{PARTS, TokenBucket};

/// Most hits that the word of a count holds: a hit beyond them would take no token.
const COUNT_MAX: u64 = u32::MAX as u64;

/// Admits hits only when the bucket has a token for each of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketGate<'r> {
    pub(super) bucket: TokenBucket,
    pub(super) addend: u64,
    /// Tokens beyond an empty bucket that are charged where there are too few; 0 if none is.
    pub(super) debt: u32,
    pub(super) now_ms: u64,
    /// Where the bucket's offset is remembered.
    pub(super) region: &'r Region,
}

impl Gate for BucketGate<'_> {
    const IS_OPEN: bool = false;

    fn admits(&self, tally: &Tally) -> bool {
        self.lacking(tally).saturating_add(self.wanted()) <= self.full()
            && tally.current.saturating_add(self.addend.max(1)) <= COUNT_MAX
    }

    fn charges(&self, tally: &Tally) -> u64 {
        if self.debt == 0 {
            return 0;
        }
        let most = self.full() + u64::from(self.debt) * PARTS;
        let tokens = most.saturating_sub(self.lacking(tally)) / PARTS;
        tokens
            .min(self.addend)
            .min(COUNT_MAX.saturating_sub(tally.current))
    }
}

impl BucketGate<'_> {
    /// Parts that these hits take; whoever asks with none wants to know of one.
    fn wanted(&self) -> u64 {
        self.addend.max(1).saturating_mul(PARTS)
    }

    /// Parts of tokens that the bucket lacks, with what is remembered of it brought up to date.
    fn lacking(&self, tally: &Tally) -> u64 {
        let memory = tally.slot.and_then(|slot| {
            let word = self.region.memory_word(slot.index)?;
            Some((word, slot.life))
        });
        self.bucket.debt_by(tally, self.now_ms, memory)
    }

    fn full(&self) -> u64 {
        u64::from(self.bucket.burst()) * PARTS
    }

    /// What it comes to when `counted` was found, and these hits were added or, without tokens, only charged.
    pub(super) fn judge(&self, counted: &Counted) -> Judgement {
        let lacking = self.lacking(&Tally {
            window: counted.window,
            current: counted.total_before(),
            previous: counted.previous,
            slot: counted.slot,
        });
        let added = counted.after.saturating_sub(counted.before);
        let taken = added.min(self.addend).saturating_mul(PARTS);
        let lacking_after = lacking.saturating_add(taken);
        let remaining = self.full().saturating_sub(lacking_after) / PARTS;
        // Whose cost was charged asks anew for one hit.
        let wanted = if self.debt > 0 { PARTS } else { self.wanted() };
        let missing = if counted.refused && wanted <= self.full() {
            lacking_after
                .saturating_add(wanted)
                .saturating_sub(self.full())
        } else {
            lacking_after
        };
        Judgement {
            over: counted.refused,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_s: self.bucket.seconds_for(missing),
            before: lacking.div_ceil(PARTS),
            addend: self.addend,
            allowed: self.bucket.burst(),
        }
    }
}
