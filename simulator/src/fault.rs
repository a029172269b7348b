//! What goes wrong, and what is done about it.

use crate::network::Quality;

/// One thing that goes wrong or is put right.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The network splits; nodes hear those of their own side only.
    Partition {
        /// Each node's side.
        side_of: Vec<usize>,
    },
    /// One direction between two nodes goes dead.
    Cut {
        /// Who is not heard.
        from: usize,
        /// Who does not hear.
        to: usize,
    },
    /// Partitions and cuts end.
    Heal,
    /// One direction between two nodes becomes better or worse.
    Link {
        /// Who sends.
        from: usize,
        /// Who receives.
        to: usize,
        /// How it is from now on.
        quality: Quality,
    },
    /// A daemon dies. The region stays, and Envoy goes on counting in it.
    Kill {
        /// Where.
        node: usize,
    },
    /// A daemon says goodbye and stops. The region stays, and Envoy goes on counting in it.
    Leave {
        /// Where.
        node: usize,
    },
    /// A host dies with its region: nothing is counted there any more, and what was counted and not
    /// sent is lost.
    LoseHost {
        /// Which.
        node: usize,
    },
    /// A daemon starts where none runs. On a lost host it finds no region and makes a new one.
    Start {
        /// Where.
        node: usize,
    },
    /// A key is reset at a node, if a daemon runs there.
    Reset {
        /// Where.
        node: usize,
        /// The key's place.
        key: usize,
    },
    /// A wall clock is set.
    StepClock {
        /// Whose.
        node: usize,
        /// By how much, microseconds; back when negative.
        by_us: i64,
    },
}

/// A fault and its moment.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedFault {
    /// When, microseconds.
    pub at_us: u64,
    /// What.
    pub fault: Fault,
}
