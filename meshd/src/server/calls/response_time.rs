//! How long calls took, sorted into buckets.

use std::time::Duration;

use hivemind_shared::sync::{AtomicWord, Ordering};

/// Upper bounds of the buckets in microseconds: 10 µs to 1 s in steps that are alike on a logarithmic
/// scale. What takes longer is in one more bucket.
const BOUNDS_US: [u64; 16] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Takes the times of one worker.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    buckets: [AtomicWord; BUCKETS],
    sum_ns: AtomicWord,
}

impl Stopwatch {
    pub(super) fn add(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| ns <= bound * 1_000);
        // Relaxed both: numbers for people.
        self.buckets[bucket.unwrap_or(BOUNDS_US.len())].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ResponseTimes {
        ResponseTimes {
            buckets: self.buckets.each_ref().map(|it| it.load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

/// Times that were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseTimes {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
}

impl ResponseTimes {
    /// These and others.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (bucket, others) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.wrapping_add(others);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Upper bound in seconds and number of each bucket; the last bound is infinite.
    pub fn buckets(&self) -> [(f64, u64); BUCKETS] {
        std::array::from_fn(|at| {
            let bound_us = BOUNDS_US.get(at).copied();
            let bound_s = bound_us.map_or(f64::INFINITY, |us| us as f64 / 1e6);
            (bound_s, self.buckets[at])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let stopwatch = Stopwatch::default();
        for us in [0, 10, 11, 1_000_000, 1_000_001, 3_600_000_000] {
            stopwatch.add(Duration::from_micros(us));
        }
        let times = stopwatch.read();
        let buckets = times.buckets();
        assert_eq!((buckets[0], buckets[1]), ((1e-5, 2), (2.5e-5, 1)));
        assert_eq!((buckets[15], buckets[16]), ((1.0, 1), (f64::INFINITY, 2)));
        assert_eq!(times.count(), 6);
        assert_eq!(times.sum_s(), 3_602.000_022);
        assert_eq!(times.and(times).count(), 12);
    }
}
