//! Own counts of windows that matter no longer because the clock was set.
//!
//! A clock that was set far forward or back may be set right again. The slots of a region may have been counted
//! in meanwhile, in other windows, and peers tell nobody what he counted himself. So this host remembers what it
//! counted in the windows that mattered by the clock from before, for as long as they would matter by that clock
//! if it had gone on.

use std::collections::BTreeMap;

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::table::Key;
use hivemind_shared::window::Period;

use super::entry::Half;
use super::is_near;
use crate::time::Now;

/// How far a wall clock is ahead of the monotonic one, seconds. It is the same for as long as nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClockOffset(i128);

impl ClockOffset {
    fn of(now: Now) -> Self {
        Self(i128::from(now.unix_s()) - i128::from(now.monotonic_us / 1_000_000))
    }

    /// What that clock would show now, Unix seconds.
    fn unix_s(self, now: Now) -> u64 {
        let shown = self.0 + i128::from(now.monotonic_us / 1_000_000);
        u64::try_from(shown.max(0)).unwrap_or(u64::MAX)
    }
}

/// The counts, by window.
#[derive(Debug, Default)]
pub(super) struct SetAside(BTreeMap<(Period, u32, Fingerprint), (Half, ClockOffset)>);

impl SetAside {
    /// Remembers what this host counted for a key in the window of `half`, which mattered at `then`.
    pub(super) fn put(&mut self, key: &Key, half: &Half, then: Now) {
        let Some(window) = half.window else { return };
        let place = (key.period, window, key.fingerprint);
        let known = self.0.get(&place).map_or(0, |(known, _)| known.own);
        if half.own > known {
            let offset = ClockOffset::of(then);
            self.0.insert(place, (half.own_part(), offset));
        }
    }

    /// Takes out what matters now, and forgets what would not matter by any clock there was.
    pub(super) fn take(&mut self, now: Now) -> Vec<(Key, u32, Half)> {
        let now_s = now.unix_s();
        let mut taken = Vec::new();
        self.0
            .retain(|&(period, window, fingerprint), (half, offset)| {
                if is_near(period, window, now_s) {
                    let key = Key {
                        fingerprint,
                        period,
                    };
                    taken.push((key, window, std::mem::take(half)));
                    return false;
                }
                is_near(period, window, offset.unix_s(now))
            });
        taken
    }

    /// Forgets what would not matter by any clock there was.
    pub(super) fn expire(&mut self, now: Now) {
        self.0.retain(|&(period, window, _), (_, offset)| {
            is_near(period, window, offset.unix_s(now))
        });
    }

    /// How many counts there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
