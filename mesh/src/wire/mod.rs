//! What is inside a datagram, once it is opened.
//!
//! All numbers are little-endian. A *varint* is a number in groups of seven bits, least significant
//! first, each byte but the last with its highest bit set; at most ten bytes.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 1 | flags: bit 0 = acknowledge this datagram; other bits are 0, and ignored |
//! | 1 | 1 | kind: what it was sent for ([`Kind`]); for statistics alone, an unknown one is fine |
//! | 2 | … | sections, to the end |
//!
//! A section is a type (1 byte), a length (2 bytes) and that many bytes. **A type that is not known is
//! skipped, and so are bits of flags without a meaning, and what follows the known fields of sections 1, 4,
//! 8, 9, 11 and 12**: a later version may add these without a new wire version, and a host of either version
//! understands the other. The rest goes on to the section's end with more of the same, or is not ours (2),
//! and has no room for other fields: what a later version has to add to them is a section of a new type.
//!
//! Of each type, a datagram has at most one section; more are skipped.
//!
//! | type | section | content |
//! |---|---|---|
//! | 1 | hello | wants an answer (1), address family 4 or 6 (1), address (4 or 16), port (2), name: length (1), UTF-8 |
//! | 2 | membership | a payload of [`crate::membership`] |
//! | 3 | acknowledgement | lower half of the session that sent what is acknowledged (4), Unix time of sending in microseconds (8), microseconds since the newest one arrived (varint), newest sequence (varint), then steps down to each older one (varints); 128 sequences at most |
//! | 4 | heartbeat | number of the probe (varint), name: length (1), UTF-8 |
//! | 5 | counts | flags (1): bit 0 = of another actor, bit 1 = a copy of old counts; the actor (8) if bit 0 is set; microseconds the oldest change in it has waited that a decision depends on, 0 for none (varint); groups |
//! | | group | period code (varint: the unit, and above its three bits how many of it less one), window (varint), how many entries (varint), the entries: fingerprint, high half (8), low half (8), count (varint) |
//! | 6 | digest | flags (1): bit 0 = compare both ways; the actor (8); per period and window, 64 at most: period code (varint: the unit, and above its three bits how many of it less one), window (varint), 16 sums (4 each) |
//! | 7 | want | the actor (8); per period and window, 64 at most: period code (varint: the unit, and above its three bits how many of it less one), window (varint), which of the 16 parts (2) |
//! | 8 | snapshot request | number of the request (8) |
//! | 9 | snapshot end | number of the request (8), whether its sender is joining itself (1) |
//! | 10 | summary | for each actor: its id (8), a hash of the sums of its counts (4) |
//! | 11 | rules | hash of the rules that the sender decides by (8) |
//! | 12 | goodbye | nothing: the sender is about to leave |
//! | 13 | names wanted | the keys, 64 at most: period code (varint), fingerprint (16) |
//! | 14 | names | for each key: period code (varint), fingerprint (16), flags (1): bit 0 = not all of it, bytes of the text (varint), the text: the domain, then the key and the value of each entry, each behind its length (1) |
//!
//! An entry takes 17 bytes and up: the fingerprint is the key's identity and cannot be shorter; period,
//! window and actor are said once for many.

pub mod counts;
pub mod names;
pub mod reader;
pub mod sections;
pub mod writer;

#[cfg(test)]
mod tests;

pub use reader::{Malformed, Reader};

/// Bit 0 of a body's flags.
const ACKNOWLEDGE: u8 = 1;

/// Bytes before the first section.
pub const HEAD_BYTES: usize = 2;

/// Bytes before a section's content.
pub const SECTION_HEAD_BYTES: usize = 3;

/// What a datagram was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Finding each other.
    Hello = 1,
    /// Who is there.
    Membership = 2,
    /// What arrived.
    Ack = 3,
    /// The probe, once in a while.
    Heartbeat = 4,
    /// What this node counted lately.
    Counts = 5,
    /// What was lost on the way, again.
    Repeat = 6,
    /// Older counts for a node that lacks them.
    Bulk = 7,
    /// Comparing what both sides know.
    Sync = 8,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Hello,
        Self::Membership,
        Self::Ack,
        Self::Heartbeat,
        Self::Counts,
        Self::Repeat,
        Self::Bulk,
        Self::Sync,
    ];

    /// The kind in one word, for metrics and people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Membership => "membership",
            Self::Ack => "acknowledgement",
            Self::Heartbeat => "heartbeat",
            Self::Counts => "counts",
            Self::Repeat => "repeat",
            Self::Bulk => "bulk",
            Self::Sync => "sync",
        }
    }

    /// The kind with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Whether a datagram of this kind carries counts to one peer alone.
    pub const fn is_for_one(self) -> bool {
        matches!(self, Self::Repeat | Self::Bulk)
    }

    /// Whether a datagram of this kind is sent again, in one form or another, until it is acknowledged.
    pub const fn is_reliable(self) -> bool {
        match self {
            Self::Hello | Self::Membership | Self::Ack => false,
            Self::Heartbeat | Self::Counts | Self::Repeat | Self::Bulk | Self::Sync => true,
        }
    }
}

/// An opened datagram's content.
#[derive(Clone, Copy, Debug)]
pub struct Body<'b> {
    /// Whether its sender waits for an acknowledgement.
    pub acknowledge: bool,
    /// What it was sent for; `None` for a kind of a later version.
    pub kind: Option<Kind>,
    sections: &'b [u8],
}

/// A section: its type, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'b> {
    /// The type.
    pub code: u8,
    /// The content.
    pub content: &'b [u8],
}

impl<'b> Body<'b> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`Malformed`] when there is none.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let flags = reader.byte()?;
        let kind = reader.byte()?;
        Ok(Self {
            acknowledge: flags & ACKNOWLEDGE != 0,
            kind: Kind::from_code(kind),
            sections: reader.rest(),
        })
    }

    /// The sections one by one; after an error nothing more comes.
    pub fn sections(&self) -> impl Iterator<Item = Result<Section<'b>, Malformed>> + use<'b> {
        let mut reader = Reader::new(self.sections);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let section = section(&mut reader);
            if section.is_err() {
                reader = Reader::new(&[]);
            }
            Some(section)
        })
    }
}

fn section<'b>(reader: &mut Reader<'b>) -> Result<Section<'b>, Malformed> {
    let code = reader.byte()?;
    let length = usize::from(reader.u16()?);
    let content = reader.bytes(length)?;
    Ok(Section { code, content })
}
