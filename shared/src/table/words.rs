//! How a slot's words are packed. Nothing here touches memory: numbers in, numbers out.

use crate::fingerprint::Fingerprint;
use crate::window::Period;

/// Bits of a slot's life number. It wraps after 16,384 claims of a slot: a thread would have to sleep
/// between two instructions while the slot changes hands that often within one window to meet a word
/// of its key's life again.
const LIFE_BITS: u32 = 14;
const LIFE_MASK: u64 = (1 << LIFE_BITS) - 1;

/// The how-many-eth key a slot holds, modulo 2^14. Words that belong to one life carry its number, so
/// that what an earlier key left behind is told apart from what the present one wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(u64);

impl Life {
    /// The life after this one.
    pub const fn next(self) -> Self {
        Self((self.0 + 1) & LIFE_MASK)
    }

    /// The number itself, below 2^14.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// A window's number with this life's laid over its top bits, and back.
    ///
    /// Two lives of a slot never share a word for that reason: windows that are equal in their lower 18
    /// bits are one window, or 2^18 windows apart.
    #[inline]
    pub const fn over(self, window: u32) -> u32 {
        window ^ (low_half(self.0) << (u32::BITS - LIFE_BITS))
    }
}

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never used since the region was created; ends every search.
    Empty,
    /// Somebody is about to make it a key's slot; counts nothing yet.
    Claimed,
    /// Counts for its key.
    Live,
    /// A claim that was given up; free, but a search goes on past it.
    Released,
}

/// The control word: state (2 bits), life (14), the top 48 bits of the fingerprint.
///
/// It is the one word that decides whose the slot is; it changes by compare-and-swap alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control(u64);

impl Control {
    const TAG_BITS: u32 = 48;
    const TAG_MASK: u64 = (1 << Self::TAG_BITS) - 1;
    const STATE_SHIFT: u32 = 62;

    /// The word of a slot that was never used.
    pub const EMPTY: Self = Self(0);

    /// Packs a state other than empty, a life and a key.
    pub const fn new(state: State, life: Life, key: Fingerprint) -> Self {
        let code = match state {
            State::Empty => 0,
            State::Claimed => 1,
            State::Live => 2,
            State::Released => 3,
        };
        Self((code << Self::STATE_SHIFT) | (life.0 << Self::TAG_BITS) | (key.high >> 16))
    }

    /// Reads a word found in a slot; every bit pattern is a control word.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to store.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// What the slot is doing.
    pub const fn state(self) -> State {
        match self.0 >> Self::STATE_SHIFT {
            0 => State::Empty,
            1 => State::Claimed,
            2 => State::Live,
            _ => State::Released,
        }
    }

    /// Which life of the slot this is.
    pub const fn life(self) -> Life {
        Life((self.0 >> Self::TAG_BITS) & LIFE_MASK)
    }

    /// The same life in another state.
    pub const fn with_state(self, state: State) -> Self {
        let code = match state {
            State::Empty => 0,
            State::Claimed => 1,
            State::Live => 2,
            State::Released => 3,
        };
        Self((self.0 & !(3 << Self::STATE_SHIFT)) | (code << Self::STATE_SHIFT))
    }

    /// Whether the 48 bits of the fingerprint in this word are `key`'s.
    pub const fn tags(self, key: Fingerprint) -> bool {
        self.0 & Self::TAG_MASK == key.high >> 16
    }
}

/// The identity word: life (14 bits), the next 50 bits of the fingerprint.
pub const fn identity(life: Life, key: Fingerprint) -> u64 {
    (life.0 << 50) | ((key.high & 0xFFFF) << 34) | (key.low >> 30)
}

/// The shape word: life (14 bits), the last 30 bits of the fingerprint, code of the period (20 bits).
pub const fn shape(life: Life, key: Fingerprint, period: Period) -> u64 {
    (life.0 << 50) | ((key.low & 0x3FFF_FFFF) << 20) | period.code() as u64
}

/// The life that wrote an identity or shape word.
pub const fn life_of(word: u64) -> Life {
    Life(word >> 50)
}

/// The period in a shape word; `None` when the word is no shape any version wrote.
pub fn period_of(shape: u64) -> Option<Period> {
    Period::from_code(low_half(shape & 0xF_FFFF))
}

const _: () = assert!(Period::CODE_BITS <= 20);

/// Puts the fingerprint back together from a slot's three words.
pub const fn fingerprint(control: Control, identity: u64, shape: u64) -> Fingerprint {
    let middle = identity & ((1 << 50) - 1);
    let last = (shape >> 20) & 0x3FFF_FFFF;
    Fingerprint {
        high: ((control.0 & Control::TAG_MASK) << 16) | (middle >> 34),
        low: ((middle & ((1 << 34) - 1)) << 30) | last,
    }
}

/// A count word: window number (high 32 bits) with the life's number laid over its top bits
/// ([`Life::over`]), count (low 32). So no count can be read or bumped under the wrong window, nor by a
/// thread that took the slot for another key's.
///
/// It reads as what it says only by the life that wrote it; by another one as a window far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Hits in a window. The count saturates at `u32::MAX`.
    Hits {
        /// The window's number.
        window: u32,
        /// Hits in it.
        count: u32,
    },
    /// The slot's life is over: no hit may be added under it any more.
    Ended,
}

impl Count {
    /// The number of no window: it ends after the year 2106.
    const ENDED_WINDOW: u32 = u32::MAX;

    /// Reads a count word by a life; every bit pattern is one.
    #[inline]
    pub const fn from_word(word: u64, life: Life) -> Self {
        let window = life.over(high_half(word));
        if window == Self::ENDED_WINDOW {
            Self::Ended
        } else {
            Self::Hits {
                window,
                count: low_half(word),
            }
        }
    }

    /// The word to store in a life.
    #[inline]
    pub const fn word(self, life: Life) -> u64 {
        let (window, count) = match self {
            Self::Hits { window, count } => (window, count),
            Self::Ended => (Self::ENDED_WINDOW, 0),
        };
        ((life.over(window) as u64) << 32) | count as u64
    }

    /// The count if the word is for this window, otherwise 0.
    pub const fn within(self, window: u32) -> u32 {
        match self {
            Self::Hits {
                window: found,
                count,
            } if found == window => count,
            Self::Hits { .. } | Self::Ended => 0,
        }
    }
}

/// What a remote word says: what peers counted in a window, less the hits that were forgiven there.
///
/// Window `n` has the remote word `n % 2`, so the lowest bit of its number goes without saying: flipped, it
/// is a minus sign. A word without one reads as any count word does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Hits in a window, −(2^32 − 1) to 2^32 − 1.
    Hits {
        /// The window's number.
        window: u32,
        /// Hits that count there beside this host's own.
        hits: i64,
    },
    /// Nothing yet in this life.
    Ended,
}

impl Remote {
    /// Reads the remote word for even (0) or odd (1) windows by a life; every bit pattern is one.
    pub const fn from_word(word: u64, parity: u32, life: Life) -> Self {
        match Count::from_word(word, life) {
            Count::Ended => Self::Ended,
            Count::Hits { window, count } if window & 1 == parity & 1 => Self::Hits {
                window,
                hits: count as i64,
            },
            Count::Hits { window, count } => Self::Hits {
                window: window ^ 1,
                hits: -(count as i64),
            },
        }
    }

    /// The word to store in a life. Hits out of range are stored as the nearest number that is in it.
    pub fn word(self, life: Life) -> u64 {
        match self {
            Self::Ended => Count::Ended.word(life),
            Self::Hits { window, hits } => Count::Hits {
                window: if hits < 0 { window ^ 1 } else { window },
                count: u32::try_from(hits.unsigned_abs()).unwrap_or(u32::MAX),
            }
            .word(life),
        }
    }

    /// The hits if the word is for this window, otherwise 0.
    pub const fn within(self, window: u32) -> i64 {
        match self {
            Self::Hits {
                window: found,
                hits,
            } if found == window => hits,
            Self::Hits { .. } | Self::Ended => 0,
        }
    }

    /// The hits in this window by the remote word that such windows have, in as few steps as that takes.
    #[inline]
    pub const fn hits_within(word: u64, window: u32, life: Life) -> i64 {
        let hits = low_half(word) as i64;
        // Zero in this window, one with a minus sign; `ENDED_WINDOW` is no window that anybody asks for.
        match high_half(word) ^ life.over(window) {
            0 => hits,
            1 => -hits,
            _ => 0,
        }
    }
}

/// The lower 32 bits.
#[allow(clippy::cast_possible_truncation, reason = "cutting is what it is for")]
pub const fn low_half(word: u64) -> u32 {
    word as u32
}

/// The upper 32 bits.
pub const fn high_half(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::Unit;

    fn life(number: u64) -> Life {
        Life(number & LIFE_MASK)
    }

    proptest! {
        #[test]
        fn a_fingerprint_survives_packing(high: u64, low: u64, number: u64, weeks in 1..500_u32) {
            let key = Fingerprint { high, low };
            let life = life(number);
            let period = Period::new(Unit::Week, weeks).unwrap();
            let control = Control::new(State::Live, life, key);
            let (identity, shape) = (identity(life, key), shape(life, key, period));
            prop_assert_eq!(fingerprint(control, identity, shape), key);
            prop_assert!(control.tags(key));
            prop_assert_eq!(control.life(), life);
            prop_assert_eq!(life_of(identity), life);
            prop_assert_eq!(life_of(shape), life);
            prop_assert_eq!(period_of(shape), Some(period));
        }

        #[test]
        fn any_word_reads_as_a_count_and_packs_back(word: u64, number: u64) {
            let life = life(number);
            let count = Count::from_word(word, life);
            prop_assert_eq!(Count::from_word(count.word(life), life), count);
        }

        #[test]
        fn no_two_lives_share_a_word_within_a_window_or_the_next(
            window in 0..u32::MAX - 1,
            count: u32,
            number: u64,
            later in 1..1_u64 << LIFE_BITS,
        ) {
            let (this, that) = (life(number), life(number + later));
            let hits = |window| Count::Hits { window, count };
            for other in [hits(window), hits(window + 1), Count::Ended] {
                prop_assert_ne!(hits(window).word(this), other.word(that));
            }
        }

        #[test]
        fn a_remote_word_keeps_its_sign_and_is_for_no_other_window(
            window in 2..u32::MAX - 4,
            hits in -i64::from(u32::MAX)..=i64::from(u32::MAX),
            far: u32,
            number: u64,
        ) {
            let life = life(number);
            let remote = Remote::Hits { window, hits };
            let word = remote.word(life);
            prop_assert_eq!(Remote::from_word(word, window & 1, life), remote);
            for number in [window - 2, window, window + 2, far ^ (far & 1) ^ (window & 1)] {
                let expected = if number == window { hits } else { 0 };
                prop_assert_eq!(remote.within(number), expected);
                prop_assert_eq!(Remote::hits_within(word, number, life), expected);
            }
        }

        #[test]
        fn any_word_reads_as_a_remote_word_the_same_both_ways(word: u64, near in 0..4_u32, number: u64) {
            let life = life(number);
            let window = life.over(high_half(word)) ^ near;
            let read = Remote::from_word(word, window & 1, life);
            prop_assert_eq!(Remote::hits_within(word, window, life), read.within(window));
        }

        #[test]
        fn any_word_reads_as_a_control_word(word: u64) {
            let control = Control::from_word(word);
            prop_assert_eq!(control.with_state(control.state()).word(), word);
        }
    }

    #[test]
    fn no_state_packs_to_the_empty_word() {
        let key = Fingerprint { high: 0, low: 0 };
        for state in [State::Claimed, State::Live, State::Released] {
            assert_ne!(Control::new(state, life(0), key), Control::EMPTY);
        }
        assert_eq!(Control::EMPTY.state(), State::Empty);
    }

    #[test]
    fn lives_wrap_around() {
        assert_eq!(life(LIFE_MASK).next(), life(0));
    }
}
