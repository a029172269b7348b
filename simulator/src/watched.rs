//! A region's counters, with an eye on what the mesh puts in.

use hivemind_mesh::counters::Counters;
use hivemind_mesh::region::RegionCounters;
use hivemind_shared::clock::ManualClock;
use hivemind_shared::region::{Name, Note};
use hivemind_shared::table::{Beside, CountError, Key, SlotReading};
use hivemind_shared::window::{Period, Window};

/// A count of peers that became visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Whose.
    pub key: Key,
    /// For which window.
    pub window: Window,
    /// All peers' hits together, less those that were forgiven.
    pub remote: u64,
}

/// The real counters of a region. Each count of peers is noted the moment it becomes visible, which
/// tells its age to the microsecond and costs no looking.
#[derive(Debug)]
pub struct WatchedCounters {
    counters: RegionCounters<ManualClock>,
    puts: Vec<Put>,
}

impl WatchedCounters {
    /// Watches these.
    pub fn new(counters: RegionCounters<ManualClock>) -> Self {
        Self {
            counters,
            puts: Vec::new(),
        }
    }

    /// What became visible since the last call.
    pub fn take_puts(&mut self) -> impl Iterator<Item = Put> + '_ {
        self.puts.drain(..)
    }
}

impl Counters for WatchedCounters {
    fn sweep(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        self.counters.sweep(visit);
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        self.counters.scan(visit);
    }

    fn read(&self, key: &Key) -> Option<SlotReading> {
        self.counters.read(key)
    }

    fn put_remote(&mut self, key: &Key, window: Window, hits: i64) -> Result<(), CountError> {
        self.counters.put_remote(key, window, hits)?;
        self.puts.push(Put {
            key: *key,
            window,
            remote: u64::try_from(hits).unwrap_or(0),
        });
        Ok(())
    }

    fn put_forgiven(
        &mut self,
        key: &Key,
        window: Window,
        beside: Beside,
    ) -> Result<(), CountError> {
        self.counters.put_forgiven(key, window, beside)
    }

    fn name(&self, key: &Key) -> Option<Name> {
        self.counters.name(key)
    }

    fn lacks_name(&self, key: &Key) -> bool {
        self.counters.lacks_name(key)
    }

    fn put_name(&mut self, key: &Key, name: &Name) {
        self.counters.put_name(key, name);
    }

    fn forgiven(&self) -> Vec<Note> {
        self.counters.forgiven()
    }

    fn periods(&self) -> &[Period] {
        self.counters.periods()
    }

    fn limit(&self, rule: u32) -> Option<u32> {
        self.counters.limit(rule)
    }
}
