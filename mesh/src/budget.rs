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
        // Whatever made this node send so much, it does not keep it from sending for longer than a second.
        let owed_max = i64::try_from(self.bytes_per_s).unwrap_or(i64::MAX);
        let bucket = self.bucket(purpose);
        let left = bucket.tokens.saturating_sub(bytes);
        bucket.tokens = left.max(-owed_max);
    }

    /// Whether there is anything left.
    pub(crate) const fn is_open(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::News => self.news.tokens > 0,
            Purpose::Copies => self.copies.tokens > 0,
        }
    }
}

/// How often something may be done: so many times at once, and so many times a second after that.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_s: i64,
    /// Millionths, as what is left.
    most: i64,
    left: i64,
    filled_us: u64,
}

impl Allowance {
    /// All of it.
    pub(crate) const fn new(per_s: u32, most: u32) -> Self {
        let most = most as i64 * 1_000_000;
        Self {
            per_s: per_s as i64,
            most,
            left: most,
            filled_us: 0,
        }
    }

    /// Takes so many, if there is one left. What there was not is owed, a second's worth at most.
    pub(crate) fn take(&mut self, now_us: u64, count: usize) -> bool {
        let elapsed_us = now_us.saturating_sub(self.filled_us);
        self.filled_us = now_us.max(self.filled_us);
        let come_in = i64::try_from(elapsed_us)
            .unwrap_or(i64::MAX)
            .saturating_mul(self.per_s);
        self.left = self.left.saturating_add(come_in).min(self.most);
        if self.left < 1_000_000 {
            return false;
        }
        let taken = i64::try_from(count)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000);
        let owed_max = self.per_s.saturating_mul(1_000_000);
        self.left = self.left.saturating_sub(taken).max(-owed_max);
        true
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

    #[test]
    fn no_flood_of_what_must_be_sent_keeps_the_rest_waiting_for_longer_than_a_second() {
        for purpose in [Purpose::News, Purpose::Copies] {
            let mut budget = Budget::new(RATE, 0);
            (0..1_000).for_each(|_| budget.take(purpose, 1_000_000));
            let mut second = 0;
            while !budget.is_open(purpose) {
                second += 1;
                budget.fill(second * 1_000_000);
                assert!(second <= 5, "{purpose:?}");
            }
        }
    }

    #[test]
    fn an_allowance_is_what_comes_in_and_at_most_a_second_of_it_is_owed() {
        let mut allowance = Allowance::new(10, 20);
        let taken = |allowance: &mut Allowance, now_us| {
            std::iter::repeat_with(|| allowance.take(now_us, 1))
                .take(1_000)
                .filter(|took| *took)
                .count()
        };
        assert_eq!(taken(&mut allowance, 5_000_000), 20);
        assert_eq!(taken(&mut allowance, 6_000_000), 10);
        assert_eq!(taken(&mut allowance, 5_500_000), 0, "time does not go back");
        assert_eq!(taken(&mut allowance, 60_000_000), 20);
        assert!(allowance.take(61_000_000, usize::MAX));
        assert_eq!(taken(&mut allowance, 61_900_000), 0);
        assert_eq!(taken(&mut allowance, 62_200_000), 2);
    }
}
