//! Log lines about what lasts, ever more rarely.

use std::time::{Duration, Instant};

/// How long nothing is said after the first line.
const WAIT_MIN: Duration = Duration::from_secs(60);

/// How long nothing is said after each line in the end.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Lets one line through at once, the next after a minute, then after two, four and so on, up to one an hour.
/// After silence for twice as long as that it begins anew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Throttle {
    /// When a line was last let through, and how long nothing is after it.
    last: Option<(Instant, Duration)>,
    /// Lines that were held back since.
    unsaid: u64,
}

impl Throttle {
    /// Whether a line is to be written now; then how many were not since the last one.
    pub(crate) fn next(&mut self, now: Instant) -> Option<u64> {
        let wait = match self.last {
            None => WAIT_MIN,
            Some((at, wait)) => {
                let elapsed = now.saturating_duration_since(at);
                if elapsed < wait {
                    self.unsaid = self.unsaid.saturating_add(1);
                    return None;
                }
                if elapsed < wait.saturating_mul(2) {
                    wait.saturating_mul(2).min(WAIT_MAX)
                } else {
                    WAIT_MIN
                }
            }
        };
        self.last = Some((now, wait));
        Some(std::mem::take(&mut self.unsaid))
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
}
