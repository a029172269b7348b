//! Hashes of keys that peers choose.
//!
//! A fingerprint is a keyed hash already, but all members have that key: one of them can choose fingerprints that
//! share a bucket, and make every look-up as slow as it likes. So they are hashed once more, by SipHash-1-3 with a
//! key that only this process has.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// Makes hashers with one key.
#[derive(Clone)]
pub(super) struct KeyedHash(SipHasher13);

impl KeyedHash {
    pub(super) fn new([first, second]: [u64; 2]) -> Self {
        Self(SipHasher13::new_with_keys(first, second))
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

/// Without the key.
impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedHash").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hivemind_shared::fingerprint::Fingerprint;
    use hivemind_shared::table::Key;
    use hivemind_shared::window::Unit;

    use super::*;

    /// Keys whose fingerprints have the same exclusive or of both halves, one of them turned by five bits.
    fn colliding() -> impl Iterator<Item = Key> {
        (0..76_800_u64).map(|number| Key {
            fingerprint: Fingerprint {
                high: number,
                low: number.rotate_left(5) ^ 0x5EED,
            },
            period: Unit::Day.into(),
        })
    }

    #[test]
    fn keys_that_a_member_has_chosen_do_not_share_a_bucket() {
        let hash = KeyedHash::new([0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210]);
        let hashes: Vec<u64> = colliding().map(|key| hash.hash_one(key)).collect();
        assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), hashes.len());
        // As evenly as chance has it, by any byte.
        for byte in [0, 3, 7] {
            let mut buckets = [0_usize; 256];
            for hash in &hashes {
                buckets[usize::from(hash.to_be_bytes()[byte])] += 1;
            }
            assert!(
                buckets.iter().all(|count| (200..400).contains(count)),
                "{buckets:?}"
            );
        }
    }

    #[test]
    fn another_process_hashes_differently() {
        let [one, other] = [[1, 2], [1, 3]].map(KeyedHash::new);
        let same = colliding().filter(|key| one.hash_one(key) == other.hash_one(key));
        assert_eq!(same.count(), 0);
        assert!(!format!("{one:?}").contains("736f6d65"), "{one:?}");
    }
}
