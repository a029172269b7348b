//! Who wants a slot for a key that has none.

use super::usage::{Source, Usage};
use super::words::Life;

/// Asks for a slot, and is told what became of it.
pub trait Claimant {
    /// Who keeps the key in the table.
    fn source(&self) -> Source;

    /// The key is about to get this slot, in this life of it.
    fn claimed(&self, slot: usize, life: Life);

    /// A key that still counted was evicted for it. This is what its slot said of its use.
    fn evicted(&self, usage: Usage);
}

/// Asks on behalf of the first rule, and wants to know about its slot alone: for tests of the table.
impl<F: Fn(usize, Life)> Claimant for F {
    fn source(&self) -> Source {
        Source::of_hits(0)
    }

    fn claimed(&self, slot: usize, life: Life) {
        self(slot, life);
    }

    fn evicted(&self, _: Usage) {}
}
