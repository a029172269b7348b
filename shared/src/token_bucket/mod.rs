//! Token buckets: so many tokens flow in a period, at most `burst` of them wait, and a hit takes one.
//!
//! Hits are counted in windows like those of any other limit, because counts in windows are what hosts can
//! tell each other about without losing or doubling one. How full a bucket is follows from a count and one
//! more number, the *offset*. With `inflow(t)` for the tokens that came since the window began, `hits(t)`
//! for those taken since, and the debt of a bucket for the tokens that it lacks to be full:
//!
//! ```text
//! debt(t)   = hits(t) + offset(t) − inflow(t)
//! offset(t) = max(debt when the window began, inflow(s) − hits(s) for all s up to t)
//! ```
//!
//! The second line is what flowed past a full bucket (a queue's reflection, as in Lindley's recursion): it
//! only grows, and only just before a hit, so that the highest one seen is all that needs to be remembered.
//! A window is at least as long as a bucket with its largest debt takes to fill, so that whoever was silent
//! for a whole window has a full bucket.

mod memory;
mod remember;

pub use memory::{Mark, Memory, TIMES};
pub use remember::remember;

use std::num::NonZeroU32;

use crate::table::Tally;
use crate::window::{Period, PeriodError, Window};

/// Parts of a token that offsets and debts are reckoned in.
pub const PARTS: u64 = 64;

/// A bucket: how fast it fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenBucket {
    burst: NonZeroU32,
    window: Period,
    tokens_per_window: u64,
}

/// Why there is no such bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenBucketError {
    /// Nothing flows in.
    #[error("a token bucket that nothing flows into stays empty")]
    NoTokens,
    /// An empty bucket takes longer to fill than the longest window.
    #[error("it would take longer than ten years to fill a token bucket of this size")]
    TooSlow,
}

impl TokenBucket {
    /// A bucket of `burst` tokens that `tokens` flow into in each period.
    ///
    /// # Errors
    /// [`TokenBucketError`]: no tokens, or too few for the size.
    pub fn new(tokens: u32, period: Period, burst: NonZeroU32) -> Result<Self, TokenBucketError> {
        Self::with_debt(tokens, period, burst, 0)
    }

    /// The same, of a bucket that may lack so many tokens more than it holds.
    ///
    /// # Errors
    /// [`TokenBucketError`]: no tokens, or too few for the size and the debt.
    pub fn with_debt(
        tokens: u32,
        period: Period,
        burst: NonZeroU32,
        debt: u32,
    ) -> Result<Self, TokenBucketError> {
        if tokens == 0 {
            return Err(TokenBucketError::NoTokens);
        }
        let lacking = u64::from(burst.get()) + u64::from(debt);
        let periods = lacking.div_ceil(tokens.into());
        let periods = u32::try_from(periods).map_err(|_| TokenBucketError::TooSlow)?;
        let multiplier = period.multiplier().saturating_mul(periods);
        let window = Period::new(period.unit(), multiplier)
            .map_err(|_: PeriodError| TokenBucketError::TooSlow)?;
        Ok(Self {
            burst,
            window,
            tokens_per_window: u64::from(tokens) * u64::from(periods),
        })
    }

    /// The largest debt of such a bucket that flows in within the longest window.
    pub fn debt_max(tokens: u32, period: Period, burst: NonZeroU32) -> u32 {
        let periods = Period::multiplier_max(period.unit()) / period.multiplier().max(1);
        let lacking = u64::from(tokens) * u64::from(periods);
        let debt = lacking.saturating_sub(burst.get().into());
        u32::try_from(debt)
            .unwrap_or(u32::MAX)
            .min(u32::MAX - burst.get())
    }

    /// Tokens in a full bucket.
    pub const fn burst(&self) -> u32 {
        self.burst.get()
    }

    /// The windows its hits are counted in: whole periods, and as many as it takes to fill it from its largest
    /// debt on.
    pub const fn window(&self) -> Period {
        self.window
    }

    /// How long an empty bucket takes to fill, in whole seconds, rounded up.
    pub fn fill_time(&self) -> Period {
        let seconds = u64::from(self.burst()) * u64::from(self.window.seconds());
        let seconds = seconds.div_ceil(self.tokens_per_window);
        Period::of_seconds(seconds).unwrap_or(self.window)
    }

    /// Tokens that flow in during a window.
    pub const fn tokens_per_window(&self) -> u64 {
        self.tokens_per_window
    }

    /// Parts that have flowed in since a window began, rounded down; a time outside it is taken as its
    /// nearest end.
    fn inflow(&self, window: Window, now_ms: u64) -> u64 {
        let elapsed_ms = window.period().milliseconds() - window.milliseconds_left(now_ms);
        let parts = u128::from(self.tokens_per_window) * u128::from(PARTS) * u128::from(elapsed_ms);
        u64::try_from(parts / self.length_ms()).unwrap_or(u64::MAX)
    }

    /// The offset of a bucket that these hits were taken from, by what is remembered of it.
    pub fn offset(&self, tally: &Tally, now_ms: u64, remembered: Option<Memory>) -> u64 {
        let hits = tally.current.saturating_mul(PARTS);
        let past_the_bucket = self.inflow(tally.window, now_ms).saturating_sub(hits);
        let number = tally.window.number();
        let known = match remembered {
            Some(memory) if memory.window == number => self.remembered(memory.mark),
            Some(memory) if memory.window.checked_add(1) == Some(number) => {
                self.debt_at_end(tally.previous, self.remembered(memory.mark))
            }
            _ => self.debt_at_end(tally.previous, 0),
        };
        known.max(past_the_bucket)
    }

    /// The offset that is remembered. A bucket that was full at a time lacks only what was taken since: all that
    /// had flowed in by then flowed past it.
    pub fn remembered(&self, mark: Mark) -> u64 {
        match mark {
            Mark::Offset(offset) => offset,
            Mark::FullAt(time) => {
                let whole = u128::from(self.tokens_per_window) * u128::from(PARTS);
                let parts = whole * u128::from(time) / u128::from(TIMES);
                u64::try_from(parts).unwrap_or(u64::MAX)
            }
        }
    }

    /// Parts that a bucket that these hits were taken from lacks to be full, by its offset.
    pub fn debt(&self, tally: &Tally, now_ms: u64, offset: u64) -> u64 {
        let taken = tally.current.saturating_mul(PARTS).saturating_add(offset);
        taken.saturating_sub(self.inflow(tally.window, now_ms))
    }

    /// Parts that a bucket lacks when a window ends in which `hits` were taken, by its last offset there.
    fn debt_at_end(&self, hits: u64, offset: u64) -> u64 {
        let inflow = self.tokens_per_window.saturating_mul(PARTS);
        let taken = hits.saturating_mul(PARTS).saturating_add(offset);
        taken.saturating_sub(inflow)
    }

    /// Seconds in which so many parts flow in, rounded up.
    pub fn seconds_for(&self, parts: u64) -> u32 {
        let ms = u128::from(parts) * self.length_ms();
        let per_window = u128::from(self.tokens_per_window) * u128::from(PARTS);
        let seconds = ms.div_ceil(per_window).div_ceil(1_000);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    fn length_ms(&self) -> u128 {
        self.window.milliseconds().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Unit;

    fn bucket(tokens: u32, unit: Unit, burst: u32) -> TokenBucket {
        TokenBucket::new(tokens, unit.into(), NonZeroU32::new(burst).unwrap()).unwrap()
    }

    #[test]
    fn a_window_is_as_long_as_an_empty_bucket_takes_to_fill() {
        assert_eq!(bucket(10, Unit::Second, 10).window().seconds(), 1);
        assert_eq!(bucket(10, Unit::Second, 3).window().seconds(), 1);
        let large = bucket(10, Unit::Second, 95);
        assert_eq!(large.window().seconds(), 10);
        assert_eq!(large.tokens_per_window(), 100);
        assert_eq!(large.seconds_for(95 * PARTS), 10);
    }

    #[test]
    fn an_empty_bucket_is_full_after_its_fill_time() {
        for (tokens, unit, burst, fill_time) in [
            (2, Unit::Second, 4, "2 seconds"),
            (60, Unit::Minute, 60, "minute"),
            (1_000, Unit::Hour, 100, "6 minutes"),
            (1, Unit::Hour, 24, "day"),
            (7, Unit::Hour, 3, "1543 seconds"),
            (1_000, Unit::Second, 3, "second"),
            (1, Unit::Year, 10, "10 years"),
        ] {
            let bucket = bucket(tokens, unit, burst);
            assert_eq!(bucket.fill_time().to_string(), fill_time, "{bucket:?}");
        }
    }

    #[test]
    fn a_window_is_as_long_as_the_largest_debt_takes_to_flow_in() {
        let period = Period::from(Unit::Second);
        let burst = NonZeroU32::new(10).unwrap();
        let indebted = TokenBucket::with_debt(10, period, burst, 15).unwrap();
        assert_eq!(indebted.window().seconds(), 3);
        assert_eq!(indebted.tokens_per_window(), 30);
        let most = TokenBucket::debt_max(10, period, burst);
        assert_eq!(most, 655_340);
        assert!(TokenBucket::with_debt(10, period, burst, most).is_ok());
        assert_eq!(
            TokenBucket::with_debt(10, period, burst, most + 1),
            Err(TokenBucketError::TooSlow)
        );
        let years = Unit::Year.into();
        assert_eq!(TokenBucket::debt_max(1, years, burst), 0);
        assert_eq!(
            TokenBucket::debt_max(u32::MAX, period, burst),
            u32::MAX - 10
        );
    }

    #[test]
    fn tokens_flow_in_evenly() {
        let bucket = bucket(60, Unit::Minute, 60);
        let window = bucket.window().window(1);
        assert_eq!(bucket.inflow(window, 60_000), 0);
        assert_eq!(bucket.inflow(window, 61_000), PARTS);
        assert_eq!(bucket.inflow(window, 120_000), 60 * PARTS);
    }

    #[test]
    fn a_bucket_that_never_fills_is_refused() {
        let burst = NonZeroU32::MAX;
        assert_eq!(
            TokenBucket::new(0, Unit::Second.into(), burst),
            Err(TokenBucketError::NoTokens)
        );
        assert_eq!(
            TokenBucket::new(1, Unit::Year.into(), burst),
            Err(TokenBucketError::TooSlow)
        );
        assert!(TokenBucket::new(u32::MAX, Unit::Year.into(), burst).is_ok());
    }
}
