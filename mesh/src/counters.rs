//! The way to this host's counters.

use hivemind_shared::region::{Name, Note};
use hivemind_shared::table::{Beside, CountError, Key, SlotReading};
use hivemind_shared::window::{Period, Window};

/// This host's counters, as the mesh needs them. The daemon and the simulator hand in a region's.
pub trait Counters {
    /// Visits every counter that was counted in since the last call.
    fn sweep(&mut self, visit: &mut dyn FnMut(&SlotReading));

    /// Visits every live counter.
    fn scan(&mut self, visit: &mut dyn FnMut(&SlotReading));

    /// The counter of a key as it is now; `None` when there is none.
    fn read(&self, key: &Key) -> Option<SlotReading>;

    /// Puts what counts for a key in a window beside this host's own hits, also for a key that nobody here has
    /// seen yet. A count already there for the same window is never lowered.
    ///
    /// # Errors
    /// When there is no room for a new key.
    fn put_remote(&mut self, key: &Key, window: Window, hits: i64) -> Result<(), CountError>;

    /// The same after more hits were forgiven, which may lower it, and notes for the next run how many are
    /// forgiven by now.
    ///
    /// # Errors
    /// When others interfered too often.
    fn put_forgiven(&mut self, key: &Key, window: Window, beside: Beside)
    -> Result<(), CountError>;

    /// What a key reads as, where that is known.
    fn name(&self, key: &Key) -> Option<Name>;

    /// Whether a key has a counter here, and it is not known what it reads as.
    fn lacks_name(&self, key: &Key) -> bool;

    /// Takes in what a peer says that a key reads as, unless that is known, or cannot be.
    fn put_name(&mut self, key: &Key, name: &Name);

    /// What this run and those before it have noted, as far as there was room.
    fn forgiven(&self) -> Vec<Note>;

    /// The periods of the rules in force that are longer than one unit, in order. Those of one unit need no
    /// rule: requests may bring limits by them.
    fn periods(&self) -> &[Period];

    /// The limit of the rule with this statistics index; `None` when no one rule is known to have it.
    fn limit(&self, rule: u32) -> Option<u32>;
}
