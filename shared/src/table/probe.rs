//! Where a key may live: two buckets of neighbouring slots, searched in an order of the key's own.

use crate::fingerprint::Fingerprint;

/// One of the two buckets of a key, and where in it a search for the key begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket<const BUCKET: usize> {
    base: usize,
    offset: usize,
}

impl<const BUCKET: usize> Bucket<BUCKET> {
    /// The bucket that is searched first, of a table of `buckets` buckets.
    #[inline]
    pub(super) fn first(key: Fingerprint, buckets: u32) -> Self {
        Self {
            base: scale(key.high, buckets) as usize * BUCKET,
            offset: (key.high >> 32) as usize % BUCKET,
        }
    }

    /// The other one. There must be at least two buckets.
    #[inline]
    pub(super) fn second(key: Fingerprint, buckets: u32) -> Self {
        let first = scale(key.high, buckets);
        let mut second = scale(key.low, buckets);
        if second == first {
            second = if first + 1 == buckets { 0 } else { first + 1 };
        }
        Self {
            base: second as usize * BUCKET,
            offset: (key.low >> 32) as usize % BUCKET,
        }
    }

    /// Its slots in the key's order.
    #[inline]
    pub(super) fn slots(self) -> impl Iterator<Item = usize> {
        (0..BUCKET).map(move |step| self.slot(step))
    }

    #[inline]
    fn slot(self, step: usize) -> usize {
        self.base + (self.offset + step) % BUCKET
    }
}

/// The slots a key may live in, in the order they are searched: all of one bucket from a place inside
/// it on, then all of another. The order is the same for everybody who looks for the key.
#[derive(Clone, Debug)]
pub(super) struct Probe<const BUCKET: usize> {
    buckets: [Bucket<BUCKET>; 2],
    step: usize,
}

impl<const BUCKET: usize> Probe<BUCKET> {
    /// Slots a search touches at most.
    pub(super) const SLOTS_MAX: usize = 2 * BUCKET;

    /// The probe sequence of `key` in a table of `buckets` buckets; there must be at least two.
    pub(super) fn new(key: Fingerprint, buckets: u32) -> Self {
        Self {
            buckets: [Bucket::first(key, buckets), Bucket::second(key, buckets)],
            step: 0,
        }
    }

    /// The place of the last slot in the search order, from 0.
    pub(super) fn order(&self) -> usize {
        self.step.saturating_sub(1)
    }

    /// The next slot, if it is in the same bucket as the last one.
    pub(super) fn next_in_bucket(&mut self) -> Option<usize> {
        if self.step.is_multiple_of(BUCKET) {
            return None;
        }
        self.next()
    }

    /// Passes over what is left of the bucket that the last slot was in.
    pub(super) fn skip_bucket(&mut self) {
        self.step = if self.step <= BUCKET {
            BUCKET
        } else {
            Self::SLOTS_MAX
        };
    }
}

/// Maps the low half of `hash` onto `0..buckets`.
#[inline]
fn scale(hash: u64, buckets: u32) -> u32 {
    super::words::high_half((hash & u64::from(u32::MAX)) * u64::from(buckets))
}

impl<const BUCKET: usize> Iterator for Probe<BUCKET> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bucket = self.buckets.get(self.step / BUCKET)?;
        let slot = bucket.slot(self.step % BUCKET);
        self.step += 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_probe_visits_two_whole_buckets_inside_the_table(high: u64, low: u64, buckets in 2_u32..) {
            let slots: Vec<_> = Probe::<16>::new(Fingerprint { high, low }, buckets).collect();
            prop_assert_eq!(slots.len(), 32);
            prop_assert!(slots.iter().all(|&slot| slot < buckets as usize * 16));
            prop_assert_eq!(slots.iter().collect::<HashSet<_>>().len(), 32);
        }

        #[test]
        fn the_rest_of_a_bucket_is_passed_over(high: u64, low: u64, buckets in 2_u32.., at in 0_usize..32) {
            let key = Fingerprint { high, low };
            let slots: Vec<_> = Probe::<16>::new(key, buckets).collect();
            let mut probe = Probe::<16>::new(key, buckets);
            for _ in 0..=at {
                probe.next();
            }
            probe.skip_bucket();
            let next = if at < 16 { Some(slots[16]) } else { None };
            prop_assert_eq!(probe.next(), next);
        }
    }
}
