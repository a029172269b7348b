//! The way to this host's counters.

use hivemind_shared::table::{Beside, CountError, Key, SlotReading};
use hivemind_shared::window::Window;

/// This host's counters, as the mesh needs them. The daemon and the simulator hand in a region's.
pub trait Counters {
    /// Visits every counter that was counted in since the last call.
    fn sweep(&mut self, visit: &mut dyn FnMut(&SlotReading));

    /// Visits every live counter.
    fn scan(&mut self, visit: &mut dyn FnMut(&SlotReading));

    /// The counter of a key as it is now; `None` when there is none.
    fn read(&self, key: &Key) -> Option<SlotReading>;

    /// Sets what counts for a key in a window beside this host's own hits, also for a key that nobody here has
    /// seen yet. A count already there for the same window is lowered only where hits were forgiven.
    ///
    /// # Errors
    /// When there is no room for a new key.
    fn put_remote(&mut self, key: &Key, window: Window, beside: Beside) -> Result<(), CountError>;

    /// The limit of the rule with this statistics index; `None` when no one rule is known to have it.
    fn limit(&self, rule: u32) -> Option<u32>;
}
