//! What was said about failures, so that it is not said again with every request.

use std::sync::{Mutex, PoisonError};

use hivemind_shared::sync::{AtomicWord, Ordering};

/// Seconds without a failure after which requests count as decided again. A table that is full refuses
/// some requests and not others; without a pause, that would be a change with every request.
const STEADY_AFTER_S: u64 = 10;

/// No second at all.
const NEVER: u64 = u64::MAX;

/// Whether something is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It was not known before.
    New,
    /// It was.
    Known,
}

/// The last cause of failures, if there is one.
#[derive(Debug)]
pub(crate) struct Health {
    /// The second of the last failure.
    failed_at_s: AtomicWord,
    cause: Mutex<Option<&'static str>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failed_at_s: AtomicWord::new(NEVER),
            cause: Mutex::new(None),
        }
    }
}

impl Health {
    /// Notes a failure. News only when its cause is another one than before, and at most once a second.
    pub(crate) fn failed(&self, cause: &'static str, now_s: u64) -> Notice {
        // Relaxed: the first in a second goes on, the others only stay out of its way.
        if self.failed_at_s.swap(now_s, Ordering::Relaxed) == now_s {
            return Notice::Known;
        }
        self.change(Some(cause))
    }

    /// Notes that all is well at this second. News when there were failures, but none for a while.
    pub(crate) fn steady(&self, now_s: u64) -> Notice {
        // Relaxed: as above.
        let failed_at_s = self.failed_at_s.load(Ordering::Relaxed);
        if failed_at_s == NEVER || now_s.abs_diff(failed_at_s) < STEADY_AFTER_S {
            return Notice::Known;
        }
        self.change(None)
    }

    /// Notes that the cause was removed; whatever comes next is news.
    pub(crate) fn recovered(&self) {
        self.failed_at_s.store(NEVER, Ordering::Relaxed);
        self.change(None);
    }

    fn change(&self, cause: Option<&'static str>) -> Notice {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == cause {
            return Notice::Known;
        }
        *known = cause;
        Notice::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_news_once() {
        let health = Health::default();
        assert_eq!(health.failed("region_full", 5), Notice::New);
        for now_s in 5..9 {
            assert_eq!(health.failed("region_full", now_s), Notice::Known);
        }
        assert_eq!(health.failed("contended", 9), Notice::New);
    }

    #[test]
    fn causes_that_alternate_are_news_at_most_once_a_second() {
        let health = Health::default();
        let news = (0..1_000)
            .filter(|turn| {
                let cause = if turn % 2 == 0 {
                    "region_full"
                } else {
                    "contended"
                };
                health.failed(cause, 7) == Notice::New
            })
            .count();
        assert_eq!(news, 1);
    }

    #[test]
    fn it_is_well_again_after_a_while_without_failures() {
        let health = Health::default();
        assert_eq!(health.steady(1), Notice::Known, "it never was otherwise");
        assert_eq!(health.failed("region_full", 2), Notice::New);
        assert_eq!(health.steady(3), Notice::Known);
        assert_eq!(health.failed("region_full", 8), Notice::Known);
        assert_eq!(health.steady(17), Notice::Known);
        assert_eq!(health.steady(18), Notice::New);
        assert_eq!(health.steady(19), Notice::Known);
        assert_eq!(health.failed("region_full", 20), Notice::New);
    }

    #[test]
    fn what_comes_after_a_recovery_is_news() {
        let health = Health::default();
        assert_eq!(health.failed("region_missing", 2), Notice::New);
        health.recovered();
        assert_eq!(health.failed("region_missing", 2), Notice::New);
    }
}
