//! The time, as it is handed in.

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
}
