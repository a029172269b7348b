//! How much may be sent.

/// A bucket of bytes that fills at a constant rate. What must be sent anyway is taken out all the same, so
/// that the bucket may owe some.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_per_s: u64,
    tokens: i64,
    filled_us: u64,
}

/// The bucket holds what comes in in this part of a second.
const BURST_PARTS: u64 = 10;

impl Budget {
    /// A full bucket.
    pub(crate) fn new(bytes_per_s: u64, now_us: u64) -> Self {
        let mut budget = Self {
            bytes_per_s,
            tokens: 0,
            filled_us: now_us,
        };
        budget.tokens = budget.most();
        budget
    }

    fn most(&self) -> i64 {
        i64::try_from(self.bytes_per_s / BURST_PARTS).unwrap_or(i64::MAX)
    }

    /// Lets in what has come in since.
    pub(crate) fn fill(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.filled_us).min(1_000_000);
        self.filled_us = now_us;
        let bytes = self.bytes_per_s.saturating_mul(elapsed_us) / 1_000_000;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(bytes).min(self.most());
    }

    /// Takes out what was sent.
    pub(crate) fn take(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_sub(bytes);
    }

    /// Whether there is anything left.
    pub(crate) const fn is_open(&self) -> bool {
        self.tokens > 0
    }

    /// Whether there is more left than a quarter of the bucket, which is kept for the least urgent.
    pub(crate) fn is_open_for_urgent(&self, others_wait: bool) -> bool {
        self.tokens > if others_wait { self.most() / 4 } else { 0 }
    }
}
