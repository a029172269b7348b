//! A region's counters as the mesh wants them.

use std::sync::Arc;

use hivemind_shared::region::Region;
use hivemind_shared::table::{CountError, Key, SlotReading};
use hivemind_shared::window::Window;

use crate::counters::Counters;

/// The counters of a region.
#[derive(Debug)]
pub struct RegionCounters {
    region: Arc<Region>,
}

impl RegionCounters {
    /// Those of this region.
    pub fn new(region: Arc<Region>) -> Self {
        Self { region }
    }
}

impl Counters for RegionCounters {
    fn sweep(&mut self, _visit: &mut dyn FnMut(&SlotReading)) {}

    fn scan(&mut self, _visit: &mut dyn FnMut(&SlotReading)) {}

    fn put_remote(&mut self, key: &Key, window: Window, remote: u32) -> Result<(), CountError> {
        self.region.set_remote(key, window, u64::from(remote));
        Ok(())
    }

    fn limit(&self, _rule: u32) -> Option<u32> {
        None
    }
}
