//! Keeping clear of the edge of a window, where a counter starts again at zero.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;

use hivemind_shared::window::{Period, Unit, Window};

use crate::say;

/// The window the clock is in.
pub fn now(unit: Unit) -> Window {
    Period::from(unit).window_at(unix_time_s())
}

/// Waits out the end of a window when less than `room` is left of it.
///
/// After this, work that takes less than `room` sees one window only. `room` must be shorter than
/// the unit.
pub async fn wait_for_room(unit: Unit, room: Duration) {
    loop {
        let left_s = now(unit).seconds_left(unix_time_s());
        if u64::from(left_s) > room.as_secs() {
            return;
        }
        say!("waiting {left_s} s for the next {unit} to begin, so that it counts from zero");
        sleep(Duration::from_secs(u64::from(left_s))).await;
    }
}

fn unix_time_s() -> u64 {
    // A clock before 1970 is in window zero, as good as any.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
