//! The identity of a counter: a keyed 128-bit hash over the domain, the entries and the unit.
//!
//! Keys are chosen by whoever sends requests, so an unkeyed hash would be no identity: a value could
//! be crafted that lands on somebody else's counter. All hosts of one mesh share the hash key.

use std::fmt;

use siphasher::sip128::SipHasher13;

/// A counter's identity: SipHash-1-3 with 128 bits of output, keyed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint {
    /// The upper half.
    pub high: u64,
    /// The lower half.
    pub low: u64,
}

impl Fingerprint {
    /// The sixteen bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.high) << 64) | u128::from(self.low)).to_be_bytes()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes counter keys with one region's (one mesh's) hash key.
#[derive(Clone, Copy)]
pub struct KeyHasher {
    hasher: SipHasher13,
}

impl KeyHasher {
    /// A hasher with this secret.
    pub fn new(key: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(key),
        }
    }

    /// The fingerprint of an unambiguous key, as [`crate::decision::key`] builds it.
    #[inline(always)]
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let hash = self.hasher.hash(key);
        Fingerprint {
            high: hash.h1,
            low: hash.h2,
        }
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret of the mesh and stays out of logs.
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_decides_the_fingerprint() {
        let one = KeyHasher::new(&[1; 16]).fingerprint(b"edge");
        let other = KeyHasher::new(&[2; 16]).fingerprint(b"edge");
        assert_ne!(one, other);
        assert_eq!(one, KeyHasher::new(&[1; 16]).fingerprint(b"edge"));
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert!(!format!("{:?}", KeyHasher::new(&[0xAB; 16])).contains("171"));
    }
}
