//! The time, as it is handed in.

/// How far ahead of this host's clock an incarnation may be, milliseconds: a day.
pub const INCARNATION_AHEAD_MS_MAX: u64 = 86_400_000;

/// One reading of both clocks.
///
/// Intervals are measured by the monotonic clock, which never steps. The wall clock says which window
/// it is, and may be wrong or step; peers compare theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since some moment before the mesh began.
    pub monotonic_us: u64,
    /// Unix time in microseconds.
    pub unix_us: u64,
}

impl Now {
    /// Unix time in whole seconds, which windows follow.
    pub const fn unix_s(self) -> u64 {
        self.unix_us / 1_000_000
    }

    /// The latest incarnation that is believed: incarnations are Unix milliseconds of a run's start, and no
    /// host's clock is a day ahead. Whoever claims a later one wants to be the last run of its actor for good.
    pub const fn incarnation_max(self) -> u64 {
        (self.unix_us / 1_000).saturating_add(INCARNATION_AHEAD_MS_MAX)
    }
}
