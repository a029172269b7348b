//! The way to this host's counters.

use hivemind_shared::table::{CountError, Key, SlotReading};
use hivemind_shared::window::Window;

/// This host's counters, as the mesh needs them. The daemon and the simulator hand in a region's.
pub trait Counters {
    /// Visits every counter that was counted in since the last call.
    fn sweep(&mut self, visit: &mut dyn FnMut(&SlotReading));

    /// Visits every live counter.
    fn scan(&mut self, visit: &mut dyn FnMut(&SlotReading));

    /// Sets what all peers together counted for a key in a window, also for a key that nobody here has
    /// seen yet. A count already there for the same window is never lowered.
    ///
    /// # Errors
    /// When there is no room for a new key.
    fn put_remote(&mut self, key: &Key, window: Window, remote: u32) -> Result<(), CountError>;

    /// The limit of the rule with this statistics index; `None` when no one rule is known to have it.
    fn limit(&self, rule: u32) -> Option<u32>;
}
