//! Looking up what a peer lacks, a part of all keys at a time.

use crate::wire::sections::WantGroup;

/// What a look-up is after.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Counts in these groups, sorted by period and window, each once.
    Groups(Vec<WantGroup>),
    /// All counts.
    All,
}

/// A look-up under way.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// Whose counts.
    pub(crate) actor: u64,
    /// Which of them.
    pub(crate) what: Looked,
    /// The place in the book where it goes on.
    pub(crate) from: usize,
}

impl Lookup {
    /// One that begins.
    pub(crate) const fn new(actor: u64, what: Looked) -> Self {
        Self {
            actor,
            what,
            from: 0,
        }
    }
}
