//! How long things took, in little memory.

/// Steps within each doubling, as a power of two: a quantile is at most 1.6 % too large.
const STEP_BITS: u32 = 6;
const STEPS: u64 = 1 << STEP_BITS;

/// Counts of times in microseconds, in buckets that grow with the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    most: u64,
}

impl Histogram {
    /// Adds a time.
    pub fn add(&mut self, time_us: u64) {
        let bucket = bucket_of(time_us);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.most = self.most.max(time_us);
    }

    /// How many were added.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest; 0 without any.
    pub const fn most_us(&self) -> u64 {
        self.most
    }

    /// The time that this share of all, 0 to 1, does not exceed; 0 without any.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = crate::time::whole((self.count as f64 * share).ceil()).max(1);
        let mut sum = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return upper_end(bucket).min(self.most);
            }
        }
        self.most
    }
}

fn bucket_of(time_us: u64) -> usize {
    let doublings = time_us.max(STEPS).ilog2() - STEP_BITS;
    let bucket = u64::from(doublings) * STEPS + (time_us >> doublings);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The largest time in a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    // The first doubling has twice the steps: nothing is below it.
    let doublings = (bucket / STEPS).saturating_sub(1);
    let step = bucket - doublings * STEPS;
    (step << doublings) + (1 << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_time_without_gaps() {
        for time in (0..10_000).chain([1 << 20, (1 << 20) + 1, 123_456_789]) {
            let end = upper_end(bucket_of(time));
            assert!(end >= time, "{time} {end}");
            assert!(end <= time + time / 60, "{time} {end}");
            assert_eq!(bucket_of(end + 1), bucket_of(time) + 1);
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), 0);
        (1..=1_000).for_each(|time| histogram.add(time * 100));
        let median = histogram.quantile_us(0.5);
        assert!((50_000..51_000).contains(&median), "{median}");
        let most = histogram.quantile_us(1.0);
        assert_eq!((most, histogram.most_us()), (100_000, 100_000));
    }
}
