//! What is remembered of a bucket beside its counts, as one word.

use crate::table::words::{self, Life};

/// Bits of a stored offset's fraction; the five above are its exponent.
const FRACTION_BITS: u32 = 27;
const FRACTION_MAX: u64 = (1 << FRACTION_BITS) - 1;
const EXPONENT_MAX: u32 = 30;

/// What is remembered of a bucket in a window ([`super`]).
///
/// The word: window number (high 32 bits) with the number of the slot's life laid over its top bits, so
/// that what an earlier key left behind is as good as never met; offset (low 32), a fraction of 27 bits
/// under an exponent of five. An offset that has more bits is rounded up: a bucket is rather a part of a
/// token emptier than fuller. Under the largest exponent, which no offset needs, the fraction is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Number of the window.
    pub window: u32,
    /// What is known of it.
    pub mark: Mark,
}

/// From what the offset of a bucket in a window follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The offset itself, in parts of a token.
    Offset(u64),
    /// The bucket was full when so much of the window had passed, in 2^-27 of it: it was reset. How many tokens
    /// that are is not known to whoever resets.
    FullAt(u32),
}

/// Parts that a window is divided into where a time in it is remembered.
pub const TIMES: u64 = 1 << FRACTION_BITS;

impl Memory {
    /// Reads a word that was found beside a slot in this life; every bit pattern is one.
    pub fn from_word(word: u64, life: Life) -> Self {
        let low = words::low_half(word);
        let exponent = low >> FRACTION_BITS;
        let fraction = u64::from(low) & FRACTION_MAX;
        let mark = if exponent > EXPONENT_MAX {
            Mark::FullAt(words::low_half(fraction))
        } else {
            Mark::Offset(fraction << exponent)
        };
        Self {
            window: life.over(words::high_half(word)),
            mark,
        }
    }

    /// The word to store.
    pub fn word(self, life: Life) -> u64 {
        let low = match self.mark {
            Mark::FullAt(time) => {
                let fraction = u64::from(time).min(FRACTION_MAX);
                (u64::from(EXPONENT_MAX + 1) << FRACTION_BITS) | fraction
            }
            Mark::Offset(offset) => {
                let mut exponent = 0;
                let mut fraction = offset;
                while fraction > FRACTION_MAX && exponent < EXPONENT_MAX {
                    exponent += 1;
                    fraction = offset.div_ceil(1 << exponent);
                }
                (u64::from(exponent) << FRACTION_BITS) | fraction.min(FRACTION_MAX)
            }
        };
        (u64::from(life.over(self.window)) << 32) | low
    }
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
            let memory = Memory { window, mark: Mark::Offset(offset) };
            let read = Memory::from_word(memory.word(life(at)), life(at));
            prop_assert_eq!(read.window, window);
            let Mark::Offset(kept) = read.mark else {
                return Err(TestCaseError::fail("an offset reads as a time"));
            };
            prop_assert!(kept >= offset);
            prop_assert!(kept - offset <= offset >> 26);
        }
    }

    #[test]
    fn small_offsets_and_times_are_exact() {
        let times = [0, 1, words::low_half(TIMES - 1)].map(Mark::FullAt);
        let offsets = [0, 1, 64, FRACTION_MAX].map(Mark::Offset);
        for mark in times.into_iter().chain(offsets) {
            let memory = Memory { window: 7, mark };
            assert_eq!(Memory::from_word(memory.word(life(3)), life(3)), memory);
        }
    }

    #[test]
    fn what_another_life_left_is_of_another_window() {
        let memory = Memory {
            window: 29_000_000,
            mark: Mark::Offset(5),
        };
        let read = Memory::from_word(memory.word(life(1)), life(2));
        assert_ne!(read.window, memory.window);
    }
}
