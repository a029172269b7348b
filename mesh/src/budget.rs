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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATAGRAM_BYTES: usize = 1_200;

    proptest! {
        #[test]
        fn in_any_second_no_more_is_sent_than_comes_in_and_the_bucket_holds(
            bytes_per_s in 20_000..5_000_000_u64,
            ticks in prop::collection::vec((1..50_000_u64, 0..200_usize, any::<bool>()), 1..200),
        ) {
            let mut budget = Budget::new(bytes_per_s, 0);
            let mut sent: Vec<(u64, u64)> = Vec::new();
            let mut now_us = 0;
            for (pause_us, wanted, others_wait) in ticks {
                now_us += pause_us;
                budget.fill(now_us);
                let mut bytes = 0;
                for _ in 0..wanted {
                    if budget.is_open_for_urgent(others_wait) {
                        budget.take(DATAGRAM_BYTES);
                        bytes += DATAGRAM_BYTES as u64;
                    }
                }
                prop_assert!(!budget.is_open_for_urgent(true) || budget.is_open());
                sent.push((now_us, bytes));
                let last_second = sent.iter().filter(|(at_us, _)| now_us - at_us < 1_000_000);
                let bytes: u64 = last_second.map(|(_, bytes)| bytes).sum();
                // The last datagram may be larger than what was left.
                let bound = bytes_per_s + bytes_per_s / BURST_PARTS + DATAGRAM_BYTES as u64;
                prop_assert!(bytes <= bound, "{bytes} in a second at {bytes_per_s}");
            }
        }
    }

    #[test]
    fn a_quarter_is_left_for_the_least_urgent_and_debts_are_paid_back() {
        let mut budget = Budget::new(10_000, 0);
        budget.take(750);
        assert!(
            !budget.is_open_for_urgent(true)
                && budget.is_open_for_urgent(false)
                && budget.is_open()
        );
        budget.take(750);
        assert!(!budget.is_open());
        budget.fill(50_000);
        assert!(!budget.is_open());
        budget.fill(50_100);
        assert!(budget.is_open());
        // A pause fills one bucket, not more.
        budget.fill(100_000_000);
        budget.take(1_000);
        assert!(!budget.is_open());
    }
}
