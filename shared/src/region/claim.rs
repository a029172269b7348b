//! What a region does when a key gets a slot.

use super::Region;
use crate::table::words::Life;
use crate::table::{Claimant, Source, Usage};

/// Asks for a slot; `on_claim` is told which one it is, and evictions are counted in the region.
pub(super) struct Claim<'a, F> {
    pub(super) region: &'a Region,
    pub(super) source: Source,
    pub(super) on_claim: F,
}

impl<F: Fn(usize, Life)> Claimant for Claim<'_, F> {
    #[inline]
    fn source(&self) -> Source {
        self.source
    }

    fn claimed(&self, slot: usize, life: Life) {
        (self.on_claim)(slot, life);
        self.region.bump(|header| &header.keys_claimed);
    }

    fn evicted(&self, usage: Usage) {
        match usage.source {
            Source::REQUEST => self.region.bump(|header| &header.evicted_request_keys),
            Source::PEERS => self.region.bump(|header| &header.evicted_peer_keys),
            rule => {
                if let Some(cell) = self.region.stats_cell(rule.stats_index()) {
                    cell.record_eviction();
                }
            }
        }
    }
}
