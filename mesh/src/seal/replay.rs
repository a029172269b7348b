//! Which sequences of a sender were seen.

/// How far behind the highest sequence seen another one may arrive and still be told from a replay.
/// More than a second of a busy sender's datagrams.
pub const WINDOW_SEQUENCES: u64 = 8_192;

const WORD_BITS: u64 = 64;
/// One more word than the window needs: words are emptied whole, and the highest sequence may be the
/// first of its word while the window reaches into the one that would be emptied for it.
const WORDS: usize = 129;

/// The last sequences of one sender, a bit each. Bits wrap around.
pub(super) struct ReplayWindow {
    highest: u64,
    words: [u64; WORDS],
}

impl ReplayWindow {
    /// Nothing seen.
    pub(super) const fn new() -> Self {
        Self {
            highest: 0,
            words: [0; WORDS],
        }
    }

    /// Whether a sequence was certainly not seen before. Those too old to tell were.
    pub(super) fn is_new(&self, sequence: u64) -> bool {
        if sequence > self.highest {
            return true;
        }
        let (word, bit) = place(sequence);
        self.highest - sequence < WINDOW_SEQUENCES && self.words[word] & bit == 0
    }

    /// Notes a sequence as seen; one too old to tell is not noted.
    pub(super) fn note(&mut self, sequence: u64) {
        if sequence > self.highest {
            // Words entered for the first time hold what was seen one turn ago.
            let last = self.highest / WORD_BITS;
            let entered = (sequence / WORD_BITS - last).min(WORDS as u64);
            for ahead in 1..=entered {
                let (word, _) = place((last + ahead) * WORD_BITS);
                self.words[word] = 0;
            }
            self.highest = sequence;
        } else if self.highest - sequence >= WINDOW_SEQUENCES {
            return;
        }
        let (word, bit) = place(sequence);
        self.words[word] |= bit;
    }
}

/// A sequence's word and its bit in there.
#[allow(clippy::cast_possible_truncation, reason = "below the number of words")]
const fn place(sequence: u64) -> (usize, u64) {
    let word = (sequence / WORD_BITS) % WORDS as u64;
    (word as usize, 1 << (sequence % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::seal::header::U48_MAX;

    /// Remembers everything.
    #[derive(Default)]
    struct Model {
        highest: u64,
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn is_new(&self, sequence: u64) -> bool {
            sequence + WINDOW_SEQUENCES > self.highest && !self.seen.contains(&sequence)
        }

        fn note(&mut self, sequence: u64) {
            self.seen.insert(sequence);
            self.highest = self.highest.max(sequence);
        }
    }

    /// How far the next sequence is from the highest: mostly near, sometimes around the window's edges,
    /// a word's, or far ahead.
    fn step() -> impl Strategy<Value = i64> {
        prop_oneof![
            4 => -100_i64..100,
            2 => -8_200_i64..-8_180,
            2 => -9_000_i64..9_000,
            1 => 8_100_i64..8_400,
            1 => Just(64_i64 * 129),
            1 => 0_i64..1_000_000,
        ]
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_one_that_remembers_everything(
            start in prop_oneof![Just(1), 0..20_000_u64, Just(U48_MAX - 2_000_000_000)],
            steps in prop::collection::vec(step(), 1..400),
        ) {
            let (mut window, mut model) = (ReplayWindow::new(), Model::default());
            window.note(start);
            model.note(start);
            for step in steps {
                let sequence = model.highest.saturating_add_signed(step);
                prop_assert_eq!(window.is_new(sequence), model.is_new(sequence), "{}", sequence);
                if model.is_new(sequence) {
                    window.note(sequence);
                    model.note(sequence);
                }
            }
        }
    }

    #[test]
    fn every_sequence_in_the_window_is_told_apart() {
        let mut window = ReplayWindow::new();
        for sequence in (1..=50_000).step_by(2) {
            window.note(sequence);
        }
        for sequence in 0..60_000 {
            let old = sequence + WINDOW_SEQUENCES <= 49_999;
            let seen = sequence <= 49_999 && sequence % 2 == 1;
            assert_eq!(window.is_new(sequence), !old && !seen, "{sequence}");
        }
    }

    #[test]
    fn one_too_old_to_tell_does_not_disturb_the_others() {
        let mut window = ReplayWindow::new();
        window.note(20_000);
        window.note(20_000 - WINDOW_SEQUENCES);
        // The same bit, one turn later.
        assert!(window.is_new(20_000 - WINDOW_SEQUENCES + WORDS as u64 * WORD_BITS));
        assert!((20_001 - WINDOW_SEQUENCES..20_000).all(|sequence| window.is_new(sequence)));
    }
}
