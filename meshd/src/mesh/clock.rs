//! The time and random numbers, as the mesh wants them handed in.

use std::io;

use hivemind_mesh::time::Now;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Both clocks, now.
pub(super) fn now() -> Now {
    Now {
        monotonic_us: microseconds(clock_gettime(ClockId::Monotonic)),
        unix_us: microseconds(clock_gettime(ClockId::Realtime)),
    }
}

/// A wall clock before 1970 reads as the epoch.
fn microseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec / 1_000).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(rest)
}

/// A random number nobody can guess.
///
/// # Errors
///
/// When the kernel has none to give.
pub(super) fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while let rest @ [_, ..] = &mut bytes[filled..] {
        filled += getrandom(rest, GetRandomFlags::empty())?;
    }
    Ok(u64::from_ne_bytes(bytes))
}
