//! A hash index over byte strings that is built once and never changes.

use std::hash::{BuildHasher, RandomState};

use siphasher::sip::SipHasher13;

/// Maps `(scope, bytes)` to the number of an entry.
///
/// The hash is keyed with random bits of this process. Requests cannot make look-ups slow, since they
/// add nothing; but the rules of a foreign region could be made to collide, and must not be able to
/// turn building the index into a hang.
#[derive(Clone)]
pub(super) struct Index {
    key: (u64, u64),
    /// A power of two in number, at most half of them in use, searched from the hash onwards.
    buckets: Box<[Bucket]>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Upper half of the hash, so that most buckets that do not match are passed without a look at
    /// the entry.
    tag: u32,
    entry: u32,
}

/// No entry has this number: rule sets are bounded far below.
const EMPTY: Bucket = Bucket {
    tag: 0,
    entry: u32::MAX,
};

impl Index {
    /// An index with room for `capacity` entries.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let random = RandomState::new();
        let buckets = if capacity == 0 {
            0
        } else {
            (capacity * 2).next_power_of_two()
        };
        Self {
            key: (random.hash_one(0_u64), random.hash_one(1_u64)),
            buckets: vec![EMPTY; buckets].into(),
        }
    }

    /// Adds an entry. The caller sees to it that no more are added than there is room for, and none
    /// twice.
    pub(super) fn insert(&mut self, scope: u32, bytes: &[u8], entry: u32) {
        let (start, tag) = self.hash(scope, bytes);
        let mask = self.buckets.len().wrapping_sub(1);
        for step in 0..self.buckets.len() {
            if let Some(bucket) = self.buckets.get_mut(start.wrapping_add(step) & mask)
                && bucket.entry == EMPTY.entry
            {
                *bucket = Bucket { tag, entry };
                return;
            }
        }
    }

    /// The entry for which `is_it` holds, among those whose hash is that of `(scope, bytes)`.
    #[inline]
    pub(super) fn find(
        &self,
        scope: u32,
        bytes: &[u8],
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let (start, tag) = self.hash(scope, bytes);
        let mask = self.buckets.len().wrapping_sub(1);
        for step in 0..self.buckets.len() {
            let bucket = self.buckets.get(start.wrapping_add(step) & mask)?;
            if bucket.entry == EMPTY.entry {
                return None;
            }
            if bucket.tag == tag && is_it(bucket.entry) {
                return Some(bucket.entry);
            }
        }
        None
    }

    /// First bucket and tag.
    #[inline]
    fn hash(&self, scope: u32, bytes: &[u8]) -> (usize, u32) {
        // A key of its own for each scope costs less than hashing the scope along.
        let hash =
            SipHasher13::new_with_keys(self.key.0 ^ u64::from(scope), self.key.1).hash(bytes);
        let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
        (
            u32::from_le_bytes([a, b, c, d]) as usize,
            u32::from_le_bytes([e, f, g, h]),
        )
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("buckets", &self.buckets.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_in_its_own_scope_only() {
        let texts: Vec<String> = (0..1_000).map(|number| format!("value-{number}")).collect();
        let mut index = Index::with_capacity(2_000);
        for scope in 0..2 {
            for (number, text) in (0..).zip(&texts) {
                index.insert(scope, text.as_bytes(), scope * 1_000 + number);
            }
        }
        let find = |scope: u32, text: &str| {
            index.find(scope, text.as_bytes(), |entry| {
                entry / 1_000 == scope && texts[entry as usize % 1_000] == text
            })
        };
        for (number, text) in (0..).zip(&texts) {
            assert_eq!(find(0, text), Some(number));
            assert_eq!(find(1, text), Some(1_000 + number));
            assert_eq!(find(2, text), None);
        }
        assert_eq!(find(0, "value-1000"), None);
    }

    #[test]
    fn an_index_without_room_finds_nothing() {
        let mut index = Index::with_capacity(0);
        index.insert(0, b"a", 1);
        assert_eq!(index.find(0, b"a", |_| true), None);
    }
}
