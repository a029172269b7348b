//! Hits that take tokens from a bucket.

use super::judge::Judgement;
use crate::region::Region;
use crate::table::{Counted, Gate, Tally};
use crate::token_bucket::{PARTS, TokenBucket};

/// Admits hits only when the bucket has a token for each of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketGate<'r> {
    pub(super) bucket: TokenBucket,
    pub(super) addend: u64,
    pub(super) now_ms: u64,
    /// Where the bucket's offset is remembered.
    pub(super) region: &'r Region,
}

impl Gate for BucketGate<'_> {
    const IS_OPEN: bool = false;

    fn admits(&self, tally: &Tally) -> bool {
        let wanted = self.addend.saturating_mul(PARTS);
        self.debt(tally).saturating_add(wanted) <= self.full()
    }
}

impl BucketGate<'_> {
    /// Parts of tokens that the bucket lacks, with what is remembered of it brought up to date.
    fn debt(&self, tally: &Tally) -> u64 {
        let memory = tally.slot.and_then(|slot| {
            let word = self.region.memory_word(slot.index)?;
            Some((word, slot.life))
        });
        self.bucket.debt_by(tally, self.now_ms, memory)
    }

    fn full(&self) -> u64 {
        u64::from(self.bucket.burst()) * PARTS
    }

    /// What it comes to when `counted` was found, and these hits were added or, without tokens, not.
    pub(super) fn judge(&self, counted: &Counted) -> Judgement {
        let debt = self.debt(&Tally {
            window: counted.window,
            current: counted.total_before(),
            previous: counted.previous,
            slot: counted.slot,
        });
        let added = counted.after.saturating_sub(counted.before);
        let taken = added.min(self.addend).saturating_mul(PARTS);
        let debt_after = debt.saturating_add(taken);
        let remaining = self.full().saturating_sub(debt_after) / PARTS;
        let missing = if counted.refused && self.addend <= u64::from(self.bucket.burst()) {
            let wanted = self.addend.saturating_mul(PARTS);
            debt.saturating_add(wanted).saturating_sub(self.full())
        } else {
            debt_after
        };
        Judgement {
            over: counted.refused,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_s: self.bucket.seconds_for(missing),
            before: debt.div_ceil(PARTS),
            addend: self.addend,
            allowed: self.bucket.burst(),
        }
    }
}
