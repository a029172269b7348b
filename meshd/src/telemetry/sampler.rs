//! Log lines that would be too many.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are let through in a second.
const LINES_PER_SECOND: u32 = 10;

/// Lets the first lines of each second through and counts the others, for several threads.
#[derive(Debug, Default)]
pub struct Sampler(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the second began.
    begin: Option<Instant>,
    /// Lines that were let through in it.
    lines: u32,
    /// Lines that were held back since the last one that was not.
    held_back: u64,
}

impl Sampler {
    /// One that has let nothing through yet.
    pub const fn new() -> Self {
        Self(Mutex::new(State {
            begin: None,
            lines: 0,
            held_back: 0,
        }))
    }

    /// Whether to log now; then with how many lines that were held back since the last one.
    pub fn next(&self) -> Option<u64> {
        self.next_at(Instant::now())
    }

    fn next_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |begin| now.saturating_duration_since(begin) >= Duration::from_secs(1);
        if state.begin.is_none_or(is_over) {
            state.begin = Some(now);
            state.lines = 0;
        }
        if state.lines == LINES_PER_SECOND {
            state.held_back = state.held_back.saturating_add(1);
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_are_let_through_and_the_others_counted() {
        let sampler = Sampler::new();
        let begin = Instant::now();
        let at = |ms| sampler.next_at(begin + Duration::from_millis(ms));
        let let_through = (0..100).filter(|number| at(number * 9).is_some()).count();
        assert_eq!(let_through, LINES_PER_SECOND as usize);
        assert_eq!(at(1_000), Some(90));
        assert_eq!(at(1_001), Some(0));
    }
}
