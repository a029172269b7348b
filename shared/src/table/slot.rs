//! One counter: a cache line of eight words.

use crate::sync::{AtomicWord, Word};

/// One cache line. See SPECIFICATION.md, "Slots", for what each word holds and who may write it.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Slot<W = AtomicWord> {
    /// Whose slot this is: [`super::words::Control`].
    pub(super) control: W,
    /// Life and 50 more bits of the fingerprint.
    pub(super) identity: W,
    /// Life, the last 30 bits of the fingerprint and the period.
    pub(super) shape: W,
    /// This host's hits in the newest window it saw: [`super::words::Count`].
    pub(super) local: W,
    /// This host's final count of the window before, packed alike.
    pub(super) previous: W,
    /// What peers counted, less what was forgiven: [`super::words::Remote`]; window `n` uses word `n % 2`.
    /// The daemon alone writes these.
    pub(super) remote: [W; 2],
    /// Who asked for the key last, when, and how much of the limit was used: [`super::usage::Usage`].
    /// Advisory; no decision depends on it.
    pub(super) usage: W,
}

const _: () = {
    assert!(size_of::<Slot>() == 64);
    assert!(align_of::<Slot>() == 64);
    assert!(std::mem::offset_of!(Slot, control) == 0);
    assert!(std::mem::offset_of!(Slot, identity) == 8);
    assert!(std::mem::offset_of!(Slot, shape) == 16);
    assert!(std::mem::offset_of!(Slot, local) == 24);
    assert!(std::mem::offset_of!(Slot, previous) == 32);
    assert!(std::mem::offset_of!(Slot, remote) == 40);
    assert!(std::mem::offset_of!(Slot, usage) == 56);
};

impl Slot {
    /// A slot with these words in it, whatever they are: for tests of damaged regions.
    pub fn of_words(words: [u64; 8]) -> Self {
        let [control, identity, shape, local, previous, even, odd, usage] =
            words.map(AtomicWord::new);
        Self {
            control,
            identity,
            shape,
            local,
            previous,
            remote: [even, odd],
            usage,
        }
    }
}

impl<W: Word> Slot<W> {
    /// The remote word of a window.
    pub(super) fn remote(&self, window: u32) -> &W {
        if window & 1 == 0 {
            &self.remote[0]
        } else {
            &self.remote[1]
        }
    }
}
