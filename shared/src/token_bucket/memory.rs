//! What is remembered of a bucket beside its counts, as one word.

use crate::table::words::{self, Life};

/// Bits of a stored offset's fraction; the five above are its exponent.
const FRACTION_BITS: u32 = 27;
const FRACTION_MAX: u64 = (1 << FRACTION_BITS) - 1;
const EXPONENT_MAX: u32 = 31;

/// The offset of a bucket in a window ([`super`]).
///
/// The word: window number (high 32 bits) with the number of the slot's life laid over its top bits, so
/// that what an earlier key left behind is as good as never met; offset (low 32), a fraction of 27 bits
/// under an exponent of five. An offset that has more bits is rounded up: a bucket is rather a part of a
/// token emptier than fuller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Number of the window.
    pub window: u32,
    /// Its offset, in parts of a token.
    pub offset: u64,
}

impl Memory {
    /// Reads a word that was found beside a slot in this life; every bit pattern is one.
    pub fn from_word(word: u64, life: Life) -> Self {
        let low = u64::from(words::low_half(word));
        let exponent = (low >> FRACTION_BITS) & u64::from(EXPONENT_MAX);
        Self {
            window: words::high_half(word) ^ mark(life),
            offset: (low & FRACTION_MAX) << exponent,
        }
    }

    /// The word to store.
    pub fn word(self, life: Life) -> u64 {
        let mut exponent = 0;
        let mut fraction = self.offset;
        while fraction > FRACTION_MAX && exponent < EXPONENT_MAX {
            exponent += 1;
            fraction = self.offset.div_ceil(1 << exponent);
        }
        let high = u64::from(self.window ^ mark(life));
        (high << 32) | (u64::from(exponent) << FRACTION_BITS) | fraction.min(FRACTION_MAX)
    }
}

fn mark(life: Life) -> u32 {
    // 14 bits, at the top of 32.
    words::low_half(life.number()) << 18
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::words::Control;

    /// Some life that is not the first.
    fn life(number: u64) -> Life {
        Control::from_word(number << 48).life()
    }

    proptest! {
        #[test]
        fn an_offset_is_kept_or_rounded_up_a_little(window: u32, offset in 0_u64..1 << 50, at in 0_u64..1 << 14) {
            let memory = Memory { window, offset };
            let read = Memory::from_word(memory.word(life(at)), life(at));
            prop_assert_eq!(read.window, window);
            prop_assert!(read.offset >= offset);
            prop_assert!(read.offset - offset <= offset >> 26);
        }
    }

    #[test]
    fn small_offsets_are_exact() {
        for offset in [0, 1, 64, FRACTION_MAX] {
            let memory = Memory { window: 7, offset };
            assert_eq!(Memory::from_word(memory.word(life(3)), life(3)), memory);
        }
    }

    #[test]
    fn what_another_life_left_is_of_another_window() {
        let memory = Memory {
            window: 29_000_000,
            offset: 5,
        };
        let read = Memory::from_word(memory.word(life(1)), life(2));
        assert_ne!(read.window, memory.window);
    }
}
