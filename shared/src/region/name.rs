//! What a key reads as, as the bytes of a label: in this form daemons tell each other.

use super::Region;
use super::labels;
use crate::descriptor::Entry;
use crate::table::{Key, Place};

/// A key in readable form: the domain, then the key and the value of each entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The pieces, each behind its length in one byte.
    text: Vec<u8>,
    is_truncated: bool,
}

impl Name {
    /// Longest text of a name, bytes: that of the largest label.
    pub const TEXT_BYTES_MAX: usize = labels::TEXT_BYTES_MAX;

    /// Shortest text of a name that is not all of it: as much as fits into the smallest label.
    const TRUNCATED_BYTES_MIN: usize = 56;

    /// The name with this text. `None` when these are not the pieces of one, or no label is cut so short.
    pub fn from_text(text: &[u8], is_truncated: bool) -> Option<Self> {
        let mut rest = text;
        let mut pieces = 0_usize;
        while let Some((&length, after)) = rest.split_first() {
            (_, rest) = after.split_at_checked(length.into())?;
            pieces += 1;
        }
        let is_name = if is_truncated {
            text.len() >= Self::TRUNCATED_BYTES_MIN
        } else {
            // A key has a value.
            pieces % 2 == 1
        };
        (is_name && text.len() <= Self::TEXT_BYTES_MAX).then(|| Self {
            text: text.to_vec(),
            is_truncated,
        })
    }

    /// The name of these.
    pub fn of(domain: &[u8], entries: &[Entry<'_>]) -> Self {
        let entries = entries.iter().flat_map(|entry| [entry.key, entry.value]);
        Self::of_pieces(std::iter::once(domain).chain(entries), usize::MAX, false)
    }

    fn of_pieces<'p>(
        pieces: impl Iterator<Item = &'p [u8]>,
        room: usize,
        is_truncated: bool,
    ) -> Self {
        let mut text = labels::Text::new(room);
        pieces.for_each(|piece| text.push(piece));
        Self {
            text: text.used().to_vec(),
            is_truncated: is_truncated || text.is_truncated(),
        }
    }

    /// The text: pieces, each behind its length in one byte.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether the text is not all of it.
    pub const fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// As much of the name as fits into so many bytes of text.
    #[must_use]
    pub fn cut(self, room: usize) -> Self {
        if self.text.len() <= room {
            return self;
        }
        Self::of_pieces(self.pieces(), room, self.is_truncated)
    }

    /// The domain, and the key and the value of each entry, in turn.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.text.as_slice();
        std::iter::from_fn(move || labels::next_piece(&mut rest))
    }

    /// The domain and the entries.
    pub fn parts(&self) -> (&[u8], Vec<Entry<'_>>) {
        let mut pieces = self.pieces();
        let domain = pieces.next().unwrap_or_default();
        let entries = std::iter::from_fn(|| {
            Some(Entry {
                key: pieces.next()?,
                value: pieces.next().unwrap_or_default(),
            })
        });
        (domain, entries.collect())
    }
}

impl Region {
    fn place_of(&self, key: &Key) -> Option<Place> {
        self.table()?.place(key)
    }

    /// What a key reads as, where that is known.
    pub fn name(&self, key: &Key) -> Option<Name> {
        let place = self.place_of(key)?;
        labels::read_name(self.label_words(place.index), place.life)
    }

    /// Whether a key has a slot, and nobody has said yet what it reads as.
    pub fn lacks_name(&self, key: &Key) -> bool {
        self.place_of(key).is_some_and(|place| {
            let words = self.label_words(place.index);
            labels::read_name(words, place.life).is_none()
        })
    }

    /// Takes in what a peer says that a key reads as: for the daemon. Whether the key is of that name is for the
    /// caller to find out; a name that is not `is_proven` gives way to the first hit here. Nothing changes when
    /// the key has no slot, or a name.
    pub fn put_name(&self, key: &Key, name: &Name, is_proven: bool) {
        if let Some(place) = self.place_of(key) {
            let words = self.label_words(place.index);
            if labels::read_name(words, place.life).is_none() {
                labels::write_name(words, place.life, name, is_proven);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> Name {
        let entries = [Entry::new("user", "ann"), Entry::new("path", "/a")];
        Name::of(b"edge", &entries)
    }

    #[test]
    fn a_name_is_its_domain_and_entries() {
        let name = name();
        assert_eq!(name.text(), b"\x04edge\x04user\x03ann\x04path\x02/a");
        let (domain, entries) = name.parts();
        assert_eq!(Name::of(domain, &entries), name);
        assert_eq!(Name::from_text(name.text(), false), Some(name));
    }

    #[test]
    fn a_name_without_room_is_cut_and_says_so() {
        let cut = name().cut(16);
        assert_eq!(cut.text(), b"\x04edge\x04user\x03ann\x01p");
        assert!(cut.is_truncated());
        // Nobody has so little room.
        assert_eq!(Name::from_text(cut.text(), true), None);
        assert_eq!(Name::from_text(cut.text(), false), None);
        let long = Name::of(b"edge", &[Entry::new("path", &"p".repeat(80))]).cut(56);
        assert_eq!(Name::from_text(long.text(), true), Some(long.clone()));
        assert_eq!(name().cut(22), name());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(Name::from_text(b"", true), None);
        assert_eq!(Name::from_text(b"\x04edge\x04use", true), None);
        let long = [[255].as_slice(), &[b'v'; 255]].concat().repeat(5);
        assert_eq!(Name::from_text(&long, false), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_name_or_not(text: Vec<u8>, is_truncated: bool, room in 0_usize..80) {
            if let Some(name) = Name::from_text(&text, is_truncated) {
                prop_assert_eq!(name.text(), &text);
                let cut = name.cut(room);
                prop_assert!(cut.text().len() <= room.max(text.len()));
                prop_assert!(cut.pieces().count() <= text.len());
            }
        }
    }
}
