//! How much may be sent.

/// Two buckets of bytes that fill at constant rates: three quarters of the whole for news, a quarter for
/// copies of older counts. What one bucket cannot hold goes into the other, so that nothing is wasted, and
/// neither keeps the other waiting. What must be sent anyway is taken out all the same, so that a bucket may
/// owe some.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_per_s: u64,
    news: Bucket,
    copies: Bucket,
    filled_us: u64,
}

/// What bytes are sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// News, and everything that keeps the mesh together.
    News,
    /// Copies of older counts, for a peer that lacks them.
    Copies,
}

#[derive(Debug)]
struct Bucket {
    tokens: i64,
    most: i64,
}

impl Bucket {
    fn full(most: u64) -> Self {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Self { tokens: most, most }
    }

    /// Lets bytes in; returns those that there is no room for.
    fn fill(&mut self, bytes: i64) -> i64 {
        let room = self.most.saturating_sub(self.tokens);
        let taken = bytes.min(room);
        self.tokens = self.tokens.saturating_add(taken);
        bytes - taken
    }
}

/// The buckets together hold what comes in in this part of a second.
const BURST_PARTS: u64 = 10;

impl Budget {
    /// Full buckets.
    pub(crate) fn new(bytes_per_s: u64, now_us: u64) -> Self {
        let burst = bytes_per_s / BURST_PARTS;
        Self {
            bytes_per_s,
            news: Bucket::full(burst - burst / 4),
            copies: Bucket::full(burst / 4),
            filled_us: now_us,
        }
    }

    /// Lets in what has come in since.
    pub(crate) fn fill(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.filled_us).min(1_000_000);
        self.filled_us = now_us;
        let bytes = self.bytes_per_s.saturating_mul(elapsed_us) / 1_000_000;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let for_copies = bytes / 4;
        let left_of_news = self.news.fill(bytes - for_copies);
        let left_of_copies = self.copies.fill(for_copies.saturating_add(left_of_news));
        self.news.fill(left_of_copies);
    }

    fn bucket(&mut self, purpose: Purpose) -> &mut Bucket {
        match purpose {
            Purpose::News => &mut self.news,
            Purpose::Copies => &mut self.copies,
        }
    }

    /// Takes out what was sent.
    pub(crate) fn take(&mut self, purpose: Purpose, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let bucket = self.bucket(purpose);
        bucket.tokens = bucket.tokens.saturating_sub(bytes);
    }

    /// Whether there is anything left.
    pub(crate) const fn is_open(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::News => self.news.tokens > 0,
            Purpose::Copies => self.copies.tokens > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000_000;

    /// Sends datagrams of 1,000 bytes for both purposes, as many as it may, for ten seconds of ticks.
    fn sent(purposes: &[Purpose]) -> [usize; 2] {
        let mut budget = Budget::new(RATE, 0);
        let mut sent = [0; 2];
        for tick in 1..=2_000 {
            budget.fill(tick * 5_000);
            for &purpose in purposes {
                while budget.is_open(purpose) {
                    budget.take(purpose, 1_000);
                    sent[purpose as usize] += 1_000;
                }
            }
        }
        sent
    }

    #[test]
    fn all_of_it_goes_to_whoever_has_something_to_send() {
        for purpose in [Purpose::News, Purpose::Copies] {
            let [news, copies] = sent(&[purpose]);
            let most = 10_000_000 + 100_000 + 1_000;
            assert!(
                (9_990_000..=most).contains(&(news + copies)),
                "{news} {copies}"
            );
        }
    }

    #[test]
    fn copies_get_a_quarter_and_never_keep_news_waiting() {
        let [news, copies] = sent(&[Purpose::Copies, Purpose::News]);
        assert!((7_400_000..=7_600_000).contains(&news), "{news}");
        assert!((2_400_000..=2_600_000).contains(&copies), "{copies}");
    }

    #[test]
    fn what_was_owed_is_paid_back_first() {
        let mut budget = Budget::new(RATE, 0);
        budget.take(Purpose::News, 200_000);
        budget.fill(100_000);
        assert!(!budget.is_open(Purpose::News));
        budget.fill(300_000);
        assert!(budget.is_open(Purpose::News));
    }
}
