//! Where the time comes from.

use std::sync::Arc;

use crate::sync::{AtomicWord, Ordering};

/// A wall clock. Windows are aligned to the Unix epoch, so this is UTC and may step.
pub trait Clock: Send + Sync {
    /// Unix time in whole seconds.
    fn now_s(&self) -> u64;

    /// Unix time in milliseconds, for limits that slide within their window.
    fn now_ms(&self) -> u64;
}

/// The kernel's coarse real-time clock: a few nanoseconds a read, a few milliseconds behind at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoarseClock;

impl Clock for CoarseClock {
    #[inline]
    fn now_s(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        // Before 1970 there are no windows; such a clock reads as the epoch.
        u64::try_from(now.tv_sec).unwrap_or(0)
    }

    #[inline]
    fn now_ms(&self) -> u64 {
        unix_time_ms()
    }
}

/// Unix time in milliseconds from the coarse real-time clock; 0 before 1970.
pub fn unix_time_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(milliseconds)
}

/// A clock that stands still until told otherwise; clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now_ms: Arc<AtomicWord>,
}

impl ManualClock {
    /// A clock that reads `now_s`, Unix time in seconds.
    pub fn at(now_s: u64) -> Self {
        Self {
            now_ms: Arc::new(AtomicWord::new(now_s.saturating_mul(1_000))),
        }
    }

    /// Sets the time, also backwards.
    pub fn set(&self, now_s: u64) {
        // Relaxed: a clock orders nothing but itself.
        self.now_ms
            .store(now_s.saturating_mul(1_000), Ordering::Relaxed);
    }

    /// Moves the time on.
    pub fn advance_s(&self, seconds: u64) {
        // Relaxed: as above.
        self.advance_ms(seconds.saturating_mul(1_000));
    }

    /// Moves the time on.
    pub fn advance_ms(&self, milliseconds: u64) {
        // Relaxed: as above.
        self.now_ms.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_s(&self) -> u64 {
        // Relaxed: as above.
        self.now_ms.load(Ordering::Relaxed) / 1_000
    }

    fn now_ms(&self) -> u64 {
        // Relaxed: as above.
        self.now_ms.load(Ordering::Relaxed)
    }
}
