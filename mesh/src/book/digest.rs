//! Sums by which two nodes find out whether they know the same, and if not, where they differ.

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::window::Period;

use crate::wire::sections::PARTS;

/// The sums of one actor's counts of one period in one window.
///
/// A part's sum is the exclusive or of a hash of each key and count in it: it does not depend on the
/// order in which they came, and a change of one count takes two steps. Members can forge it, and gain
/// nothing: they can report any counts anyway.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Length of the windows.
    pub period: Period,
    /// The number of the window.
    pub window: u32,
    /// One sum for each sixteenth of all keys.
    pub sums: [u32; PARTS],
    /// When any of it last changed, Unix seconds.
    pub changed_s: u64,
}

impl Group {
    pub(super) const fn new(period: Period, window: u32) -> Self {
        Self {
            period,
            window,
            sums: [0; PARTS],
            changed_s: 0,
        }
    }

    pub(super) fn change(&mut self, fingerprint: Fingerprint, before: u32, after: u32, now_s: u64) {
        self.changed_s = now_s;
        self.sums[part_of(fingerprint)] ^= hash(fingerprint, before) ^ hash(fingerprint, after);
    }
}

impl Group {
    /// A hash of all its sums; 0 when there is nothing in it.
    pub(super) fn summary(&self) -> u32 {
        if self.sums == [0; PARTS] {
            return 0;
        }
        let start = (u64::from(self.period.code()) << 32) | u64::from(self.window);
        let all = self
            .sums
            .iter()
            .fold(mix(start), |word, &sum| mix(word ^ u64::from(sum)));
        hivemind_shared::table::words::low_half(all)
    }
}

/// Which sixteenth a key is in.
pub const fn part_of(fingerprint: Fingerprint) -> usize {
    (fingerprint.high >> 60) as usize
}

/// A hash of a key and its count; 0 for no count, which is as if the key were not there.
fn hash(fingerprint: Fingerprint, count: u32) -> u32 {
    if count == 0 {
        return 0;
    }
    let key = fingerprint.high ^ fingerprint.low.rotate_left(32);
    let word = key.wrapping_add(u64::from(count).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    hivemind_shared::table::words::low_half(mix(word))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
