//! Log lines that would repeat themselves.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same thing is logged.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lets a log line through once a minute.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Last>);

/// The last line that was let through.
#[derive(Debug, Default)]
struct Last {
    at: Option<Instant>,
    /// Lines that were held back since.
    suppressed: u64,
}

impl Throttle {
    /// One that has let nothing through yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Last {
            at: None,
            suppressed: 0,
        }))
    }

    /// Whether to log now; then with how many lines that were held back since the last one.
    pub fn next(&self) -> Option<u64> {
        self.next_at(Instant::now())
    }

    fn next_at(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .at
            .is_some_and(|at| now.saturating_duration_since(at) < INTERVAL)
        {
            last.suppressed += 1;
            return None;
        }
        last.at = Some(now);
        Some(std::mem::take(&mut last.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_a_minute_with_the_number_of_those_in_between() {
        let throttle = Throttle::default();
        let begin = Instant::now();
        assert_eq!(throttle.next_at(begin), Some(0));
        assert_eq!(throttle.next_at(begin + Duration::from_secs(1)), None);
        assert_eq!(throttle.next_at(begin + Duration::from_secs(59)), None);
        assert_eq!(throttle.next_at(begin + INTERVAL), Some(2));
    }
}
