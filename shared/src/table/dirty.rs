//! Which slots changed since the daemon last looked: one bit a slot, and above it one bit for each
//! word of those.
//!
//! The writer counts, then looks whether the bit is set and sets it if not. The sweeper clears the bit,
//! then reads the count. All four accesses are sequentially consistent, so there is one order of them:
//! a writer that found the bit set did so before the sweeper cleared it, and its count came before that
//! again; so the sweeper reads the count. The same holds for the two levels of bits.

use crate::sync::{AtomicWord, Ordering, Word};

/// Slots a bitmap word stands for, and bitmap words a summary word stands for.
pub const BITS: usize = u64::BITS as usize;

/// The two levels.
#[derive(Debug)]
pub struct Dirty<'r, W = AtomicWord> {
    slots: &'r [W],
    summary: &'r [W],
}

impl<W> Clone for Dirty<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Dirty<'_, W> {}

impl<'r, W: Word> Dirty<'r, W> {
    /// A bitmap over these words. `None` when `summary` has not one bit for every word of `slots`.
    pub fn new(slots: &'r [W], summary: &'r [W]) -> Option<Self> {
        (summary.len() * BITS >= slots.len()).then_some(Self { slots, summary })
    }

    /// Marks a slot; call it after counting in it. A slot outside the bitmap is ignored.
    #[inline]
    pub fn mark(&self, slot: usize) {
        let word = slot / BITS;
        let (Some(bits), Some(summary)) = (self.slots.get(word), self.summary.get(word / BITS))
        else {
            return;
        };
        W::order_seq_cst_accesses();
        set(bits, 1 << (slot % BITS));
        // Looked at even if the bit was set already: whoever set it may have been killed before this.
        set(summary, 1 << (word % BITS));
    }

    /// Clears every mark and calls `visit` for each slot that had one. Read the slot in `visit`, not
    /// before.
    pub fn sweep(&self, mut visit: impl FnMut(usize)) {
        for (outer, summary) in self.summary.iter().enumerate() {
            // Relaxed: a mark set this moment is found by the next sweep.
            if summary.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // SeqCst: see the module's own text. The summary is cleared before what it stands for.
            for inner in ones(summary.swap(0, Ordering::SeqCst)) {
                W::order_seq_cst_accesses();
                let word = outer * BITS + inner;
                let Some(bits) = self.slots.get(word) else {
                    continue;
                };
                for bit in ones(bits.swap(0, Ordering::SeqCst)) {
                    W::order_seq_cst_accesses();
                    visit(word * BITS + bit);
                }
            }
        }
    }
}

/// Sets a bit unless it is set.
#[inline]
fn set<W: Word>(word: &W, bit: u64) {
    // SeqCst both: see the module's own text.
    if word.load(Ordering::SeqCst) & bit == 0 {
        word.fetch_or(bit, Ordering::SeqCst);
    }
}

/// The positions of the ones in a word, lowest first.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros() as usize;
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> Vec<AtomicWord> {
        (0..count).map(|_| AtomicWord::new(0)).collect()
    }

    #[test]
    fn a_sweep_visits_each_marked_slot_once_and_clears_it() {
        let (slots, summary) = (words(70), words(2));
        let dirty = Dirty::new(&slots, &summary).unwrap();
        for slot in [0, 63, 64, 4_479, 64] {
            dirty.mark(slot);
        }
        let mut seen = Vec::new();
        dirty.sweep(|slot| seen.push(slot));
        assert_eq!(seen, [0, 63, 64, 4_479]);
        dirty.sweep(|slot| panic!("slot {slot} is still marked"));
    }

    #[test]
    fn a_mark_outside_the_bitmap_is_ignored() {
        let (slots, summary) = (words(1), words(1));
        Dirty::new(&slots, &summary).unwrap().mark(64);
    }

    #[test]
    fn a_slot_marked_by_a_writer_that_died_halfway_is_found_after_the_next_mark() {
        let (slots, summary) = (words(1), words(1));
        slots[0].store(1 << 5, Ordering::Relaxed);
        let dirty = Dirty::new(&slots, &summary).unwrap();
        dirty.mark(5);
        let mut seen = Vec::new();
        dirty.sweep(|slot| seen.push(slot));
        assert_eq!(seen, [5]);
    }

    #[test]
    fn a_summary_too_small_is_refused() {
        let (slots, summary) = (words(65), words(1));
        assert!(Dirty::new(&slots, &summary).is_none());
    }
}
