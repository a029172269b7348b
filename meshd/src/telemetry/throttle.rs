//! Log lines that would repeat themselves.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing is said after the first line.
const WAIT_MIN: Duration = Duration::from_secs(60);

/// How long nothing is said after each line in the end, at most.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Lets one line through at once, the next after a minute, then after two, four and so on, up to one an hour.
/// After silence for twice as long as that it begins anew.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// How long nothing is said after each line in the end.
    wait_max: Duration,
    /// When a line was last let through, and how long nothing is after it.
    last: Option<(Instant, Duration)>,
    /// Lines that were held back since.
    unsaid: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::up_to(WAIT_MAX)
    }
}

impl Throttle {
    const fn up_to(wait_max: Duration) -> Self {
        Self {
            wait_max,
            last: None,
            unsaid: 0,
        }
    }

    /// Whether a line is to be written now; then how many were not since the last one.
    pub fn next(&mut self, now: Instant) -> Option<u64> {
        let wait = match self.last {
            None => WAIT_MIN,
            Some((at, wait)) => {
                let elapsed = now.saturating_duration_since(at);
                if elapsed < wait {
                    self.unsaid = self.unsaid.saturating_add(1);
                    return None;
                }
                if elapsed < wait.saturating_mul(2) {
                    wait.saturating_mul(2).min(self.wait_max)
                } else {
                    WAIT_MIN
                }
            }
        };
        self.last = Some((now, wait));
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The same for several threads, and once a minute as long as it lasts.
#[derive(Debug)]
pub struct SharedThrottle(Mutex<Throttle>);

impl Default for SharedThrottle {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedThrottle {
    /// One that has let nothing through yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Throttle::up_to(WAIT_MIN)))
    }

    /// Whether to log now; then with how many lines that were held back since the last one.
    pub fn next(&self) -> Option<u64> {
        self.next_at(Instant::now())
    }

    fn next_at(&self, now: Instant) -> Option<u64> {
        let mut throttle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.next(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_at_once_and_then_ever_more_rarely_down_to_once_an_hour() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let mut said = Vec::new();
        for second in 0..6 * 3_600 {
            if throttle.next(start + Duration::from_secs(second)).is_some() {
                said.push(second / 60);
            }
        }
        assert_eq!(said, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303]);
    }

    #[test]
    fn what_was_held_back_is_counted_and_silence_begins_anew() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let mut at = |s| throttle.next(start + Duration::from_secs(s));
        assert_eq!(
            (at(0), at(1), at(59), at(60)),
            (Some(0), None, None, Some(2))
        );
        assert_eq!((at(179), at(180)), (None, Some(1)));
        // Nothing for 8 minutes after a wait of 4.
        assert_eq!((at(660), at(719), at(720)), (Some(0), None, Some(1)));
    }

    #[test]
    fn a_line_is_logged_once_a_minute_with_the_number_of_those_in_between() {
        let throttle = SharedThrottle::default();
        let begin = Instant::now();
        assert_eq!(throttle.next_at(begin), Some(0));
        assert_eq!(throttle.next_at(begin + Duration::from_secs(1)), None);
        assert_eq!(throttle.next_at(begin + Duration::from_secs(59)), None);
        assert_eq!(throttle.next_at(begin + WAIT_MIN), Some(2));
        assert_eq!(throttle.next_at(begin + WAIT_MIN * 2), Some(0));
    }
}
