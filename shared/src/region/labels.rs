//! What a slot's key reads as: the domain and entries it was made from, for people.
//!
//! A label is written once, when its key gets the slot, by whoever claims it. Of a key that only peers have asked
//! for, the daemon writes what one of them says. It is no part of any
//! decision: a label that was cut off, torn or overwritten by a process that slept for an age fails
//! its check sum and reads as unknown.

use siphasher::sip::SipHasher13;

use super::name::Name;
use crate::descriptor::Entry;
use crate::sync::{AtomicWord, Ordering};
use crate::table::words::Life;

/// A key in readable form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The domain.
    pub domain: String,
    /// The entries, in request order. Bytes that are not UTF-8 show as U+FFFD.
    pub entries: Vec<(String, String)>,
    /// Whether the label had no room for all of it.
    pub truncated: bool,
}

/// Longest piece of text a label keeps whole.
const PIECE_BYTES_MAX: usize = 255;

/// Longest text of a label: its bytes less the first word's.
pub(super) const TEXT_BYTES_MAX: usize = 1_016;

/// First word: life (14 bits), truncated (1), unproven (1), length in bytes (15), check sum (33).
const LENGTH_SHIFT: u32 = 33;
const LENGTH_MASK: u64 = 0x7FFF;
/// A peer says so, and nothing proves it.
const UNPROVEN_BIT: u64 = 1 << 48;
const TRUNCATED_BIT: u64 = 1 << 49;
const LIFE_SHIFT: u32 = 50;
const SUM_MASK: u64 = (1 << LENGTH_SHIFT) - 1;

fn checksum(text: &[u8], life: Life) -> u64 {
    SipHasher13::new_with_keys(life.number(), 0x6c61_6265_6c73).hash(text) & SUM_MASK
}

/// Writes a slot's label. `words` are its label's; with fewer than two, nothing is written.
pub(crate) fn write(
    words: &[AtomicWord],
    life: Life,
    domain: &[u8],
    entries: impl Iterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
) {
    let Some((head, text_words)) = words.split_first() else {
        return;
    };
    let mut text = Text::new(text_words.len() * 8);
    text.push(domain);
    for (key, value) in entries {
        text.push(key.as_ref());
        text.push(value.as_ref());
    }
    let truncated = if text.truncated { TRUNCATED_BIT } else { 0 };
    store(head, text_words, life, text.used(), truncated);
}

/// Writes what a peer says as a slot's label.
pub(super) fn write_name(words: &[AtomicWord], life: Life, name: &Name, is_proven: bool) {
    let Some((head, text_words)) = words.split_first() else {
        return;
    };
    let mut text = Text::new(text_words.len() * 8);
    name.pieces().for_each(|piece| text.push(piece));
    let is_truncated = text.truncated || name.is_truncated();
    let truncated = if is_truncated { TRUNCATED_BIT } else { 0 };
    let unproven = if is_proven { 0 } else { UNPROVEN_BIT };
    store(head, text_words, life, text.used(), truncated | unproven);
}

fn store(head: &AtomicWord, text_words: &[AtomicWord], life: Life, used: &[u8], flags: u64) {
    // Relaxed all: the check sum, not an order, tells a whole label from a torn one.
    for (word, chunk) in text_words.iter().zip(used.chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
    head.store(
        (life.number() << LIFE_SHIFT)
            | flags
            | ((used.len() as u64) << LENGTH_SHIFT)
            | checksum(used, life),
        Ordering::Relaxed,
    );
}

/// Whether a label was written in this life, and is known to be the key's.
#[inline]
pub(crate) fn is_of(words: &[AtomicWord], life: Life) -> bool {
    // Relaxed: see `write`. A slot without a label at all has 0 there, as has the first life's.
    words.first().is_some_and(|head| {
        let head = head.load(Ordering::Relaxed);
        head != 0 && head >> LIFE_SHIFT == life.number() && head & UNPROVEN_BIT == 0
    })
}

/// Label text under construction: pieces, each behind its length in one byte.
pub(super) struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: usize,
    room: usize,
    truncated: bool,
}

impl Text {
    /// None yet, with room for so many bytes.
    pub(super) fn new(room: usize) -> Self {
        Self {
            bytes: [0; TEXT_BYTES_MAX],
            length: 0,
            room: room.min(TEXT_BYTES_MAX),
            truncated: false,
        }
    }

    /// The pieces so far.
    pub(super) fn used(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Whether there was no room for a piece, or for all of it.
    pub(super) const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Adds a piece, as far as there is room.
    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.truncated || self.length >= self.room {
            self.truncated = true;
            return;
        }
        let fits = piece
            .len()
            .min(PIECE_BYTES_MAX)
            .min(self.room - self.length - 1);
        self.truncated = fits < piece.len();
        // `fits` is at most 255.
        self.bytes[self.length] = u8::try_from(fits).unwrap_or(u8::MAX);
        self.length += 1;
        self.bytes[self.length..self.length + fits].copy_from_slice(&piece[..fits]);
        self.length += fits;
    }
}

/// Reads the text of a label, and whether it is truncated.
fn read_text(words: &[AtomicWord], life: Life) -> Option<(Vec<u8>, bool)> {
    let (head, text_words) = words.split_first()?;
    // Relaxed: see `write`.
    let head = head.load(Ordering::Relaxed);
    let length = usize::try_from((head >> LENGTH_SHIFT) & LENGTH_MASK).ok()?;
    if head >> LIFE_SHIFT != life.number() || length > text_words.len() * 8 {
        return None;
    }
    let mut text = Vec::with_capacity(length.next_multiple_of(8));
    for word in &text_words[..length.div_ceil(8)] {
        text.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    text.truncate(length);
    (checksum(&text, life) == head & SUM_MASK).then_some((text, head & TRUNCATED_BIT != 0))
}

/// Reads the label a slot had in this life. `None`: none, another life's, or damaged.
pub(crate) fn read(words: &[AtomicWord], life: Life) -> Option<Label> {
    let (text, truncated) = read_text(words, life)?;
    let mut rest = text.as_slice();
    let mut next =
        || next_piece(&mut rest).map(|piece| String::from_utf8_lossy(piece).into_owned());
    let domain = next()?;
    let mut entries = Vec::new();
    while let Some(key) = next() {
        entries.push((key, next().unwrap_or_default()));
    }
    Some(Label {
        domain,
        entries,
        truncated,
    })
}

/// Reads the label a slot had in this life as a name. `None`: none, another life's, or damaged.
pub(super) fn read_name(words: &[AtomicWord], life: Life) -> Option<Name> {
    let (text, is_truncated) = read_text(words, life)?;
    Name::from_text(&text, is_truncated)
}

/// Takes the next piece off a text.
pub(super) fn next_piece<'t>(rest: &mut &'t [u8]) -> Option<&'t [u8]> {
    let (&length, after) = rest.split_first()?;
    let (piece, after) = after.split_at_checked(usize::from(length))?;
    *rest = after;
    Some(piece)
}

impl Label {
    /// The label of these, as [`read`] would give it back with room enough.
    pub fn of(domain: &[u8], entries: &[Entry<'_>]) -> Self {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            domain: lossy(domain),
            entries: entries
                .iter()
                .map(|entry| (lossy(entry.key), lossy(entry.value)))
                .collect(),
            truncated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::table::words::{Control, State};

    fn life() -> Life {
        Control::new(
            State::Live,
            Control::EMPTY.life().next(),
            Fingerprint { high: 0, low: 0 },
        )
        .life()
    }

    fn words(count: usize) -> Vec<AtomicWord> {
        (0..count).map(|_| AtomicWord::new(0)).collect()
    }

    #[test]
    fn a_label_reads_back_in_the_life_it_was_written_in() {
        let words = words(8);
        let entries = [
            Entry::new("remote_address", "192.0.2.1"),
            Entry::new("tier", ""),
        ];
        write(
            &words,
            life(),
            b"edge",
            entries.iter().map(|entry| (entry.key, entry.value)),
        );
        assert_eq!(read(&words, life()), Some(Label::of(b"edge", &entries)));
        assert_eq!(read(&words, life().next()), None);
    }

    #[test]
    fn a_label_without_room_says_so() {
        let words = words(8);
        let value = "v".repeat(300);
        write(
            &words,
            life(),
            b"edge",
            [("path", value.as_str()), ("more", "x")].into_iter(),
        );
        let label = read(&words, life()).unwrap();
        assert!(label.truncated);
        assert_eq!(label.domain, "edge");
        assert_eq!(label.entries.len(), 1);
        assert!(value.starts_with(&label.entries[0].1));
    }

    #[test]
    fn a_torn_label_reads_as_unknown() {
        let words = words(8);
        write(&words, life(), b"edge", [("path", "/a/b/c")].into_iter());
        words[2].store(7, Ordering::Relaxed);
        assert_eq!(read(&words, life()), None);
    }

    #[test]
    fn what_a_peer_says_is_a_label_until_there_is_one_of_this_host() {
        let (peers, own) = (words(9), [("path", "v".repeat(50))]);
        let whole = Name::of(b"edge", &[Entry::new("path", &own[0].1)]);
        let said = whole.clone().cut(56);
        write_name(&peers, life(), &said, false);
        let label = read(&peers, life()).unwrap();
        assert_eq!(label.entries, [("path".to_owned(), "v".repeat(45))]);
        assert!(label.truncated && !is_of(&peers, life()));
        assert_eq!(read_name(&peers, life()), Some(said));
        assert_eq!(read_name(&peers, life().next()), None);
        write(
            &peers,
            life(),
            b"edge",
            own.iter().map(|(key, value)| (key, value)),
        );
        assert_eq!(read_name(&peers, life()), Some(whole.clone()));
        assert!(is_of(&peers, life()));

        let proven = words(9);
        write_name(&proven, life(), &whole, true);
        assert!(is_of(&proven, life()));
        // As this host would have written it.
        let words = words(9);
        write(
            &words,
            life(),
            b"edge",
            own.iter().map(|(key, value)| (key, value)),
        );
        let stored = |words: &[AtomicWord]| -> Vec<u64> {
            words
                .iter()
                .map(|word| word.load(Ordering::Relaxed))
                .collect()
        };
        assert_eq!(stored(&proven), stored(&words));
    }

    proptest! {
        #[test]
        fn any_words_read_without_panic(content in prop::collection::vec(any::<u64>(), 0..16)) {
            let words: Vec<_> = content.into_iter().map(AtomicWord::new).collect();
            let _ = read(&words, life());
        }

        #[test]
        fn any_bytes_can_be_a_label(
            domain: Vec<u8>,
            entries: Vec<(Vec<u8>, Vec<u8>)>,
            room in 0_usize..130,
        ) {
            let words = words(room);
            write(&words, life(), &domain, entries.iter().map(|(key, value)| (key, value)));
            prop_assert!(room == 0 || read(&words, life()).is_some() || room == 1);
        }
    }
}
