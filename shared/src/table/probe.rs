//! Where a key may live: two buckets of neighbouring slots, searched in an order of the key's own.

use crate::fingerprint::Fingerprint;

/// The slots a key may live in, in the order they are searched: all of one bucket from a place inside
/// it on, then all of another. The order is the same for everybody who looks for the key.
#[derive(Clone, Debug)]
pub(super) struct Probe<const BUCKET: usize> {
    bases: [usize; 2],
    offsets: [usize; 2],
    step: usize,
}

impl<const BUCKET: usize> Probe<BUCKET> {
    /// Slots a search touches at most.
    pub(super) const SLOTS_MAX: usize = 2 * BUCKET;

    /// The probe sequence of `key` in a table of `buckets` buckets; there must be at least two.
    #[inline]
    pub(super) fn new(key: Fingerprint, buckets: u32) -> Self {
        let first = scale(key.high, buckets);
        let mut second = scale(key.low, buckets);
        if second == first {
            second = if first + 1 == buckets { 0 } else { first + 1 };
        }
        Self {
            bases: [first as usize * BUCKET, second as usize * BUCKET],
            offsets: [
                (key.high >> 32) as usize % BUCKET,
                (key.low >> 32) as usize % BUCKET,
            ],
            step: 0,
        }
    }
}

/// Maps the low half of `hash` onto `0..buckets`.
#[inline]
fn scale(hash: u64, buckets: u32) -> u32 {
    super::words::high_half((hash & u64::from(u32::MAX)) * u64::from(buckets))
}

impl<const BUCKET: usize> Iterator for Probe<BUCKET> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let (base, offset) = match self.step {
            step if step < BUCKET => (self.bases[0], self.offsets[0]),
            step if step < Self::SLOTS_MAX => (self.bases[1], self.offsets[1]),
            _ => return None,
        };
        let within = (offset + self.step) % BUCKET;
        self.step += 1;
        Some(base + within)
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
    }
}
