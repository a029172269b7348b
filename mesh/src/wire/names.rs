//! The sections by which nodes ask each other what keys read as, and answer.

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::Name;
use hivemind_shared::table::Key;
use hivemind_shared::window::Period;

use super::SECTION_HEAD_BYTES;
use super::reader::{Malformed, Reader};
use super::writer::{section, varint, varint_bytes};

/// Type of the keys whose names are wanted.
pub const WANTED: u8 = 13;

/// Type of the names.
pub const NAMES: u8 = 14;

/// Keys that are read of one question.
pub const WANTED_MAX: usize = 64;

/// Bytes of a key at most.
const KEY_BYTES: usize = 16 + 5;

const IS_TRUNCATED: u8 = 1;

/// How many keys fit into one question in so many bytes for sections.
pub fn wanted_in(bytes_max: usize) -> usize {
    let room = bytes_max.saturating_sub(SECTION_HEAD_BYTES);
    (room / KEY_BYTES).clamp(1, WANTED_MAX)
}

fn write_key(buffer: &mut Vec<u8>, key: &Key) {
    let Fingerprint { high, low } = key.fingerprint;
    varint(buffer, u64::from(key.period.code()));
    buffer.extend_from_slice(&high.to_le_bytes());
    buffer.extend_from_slice(&low.to_le_bytes());
}

fn read_key(reader: &mut Reader<'_>) -> Result<Key, Malformed> {
    Ok(Key {
        period: Period::from_code(reader.varint_u32()?).ok_or(Malformed)?,
        fingerprint: Fingerprint {
            high: reader.u64()?,
            low: reader.u64()?,
        },
    })
}

/// Writes a question for the names of keys.
pub fn write_wanted(buffer: &mut Vec<u8>, keys: &[Key]) {
    section(buffer, WANTED, |buffer| {
        keys.iter().for_each(|key| write_key(buffer, key));
    });
}

/// Reads such a section.
///
/// # Errors
/// [`Malformed`].
pub fn read_wanted(content: &[u8]) -> Result<Vec<Key>, Malformed> {
    let mut reader = Reader::new(content);
    let mut keys = Vec::new();
    while !reader.is_empty() && keys.len() < WANTED_MAX {
        keys.push(read_key(&mut reader)?);
    }
    Ok(keys)
}

/// Names that fit into one datagram together.
#[derive(Debug)]
pub struct NamePack {
    names: Vec<(Key, Name)>,
    room: usize,
}

impl NamePack {
    /// An empty one, for at most so many bytes of sections.
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            names: Vec::new(),
            room: bytes_max.saturating_sub(SECTION_HEAD_BYTES),
        }
    }

    /// Adds a name, unless there is no room. The first one is cut so that it has.
    pub fn push(&mut self, key: Key, name: Name) -> bool {
        let around = |text: usize| KEY_BYTES + 1 + varint_bytes(text as u64);
        let name = if self.names.is_empty() {
            name.cut(self.room.saturating_sub(around(Name::TEXT_BYTES_MAX)))
        } else {
            name
        };
        let bytes = around(name.text().len()) + name.text().len();
        if bytes > self.room {
            return false;
        }
        self.room -= bytes;
        self.names.push((key, name));
        true
    }

    /// Whether there are no names in it.
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Writes them as a section.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, NAMES, |buffer| {
            for (key, name) in &self.names {
                write_key(buffer, key);
                buffer.push(if name.is_truncated() { IS_TRUNCATED } else { 0 });
                varint(buffer, name.text().len() as u64);
                buffer.extend_from_slice(name.text());
            }
        });
    }
}

/// A name as it came: nobody has looked at its text yet.
#[derive(Clone, Copy, Debug)]
pub struct RawName<'b> {
    text: &'b [u8],
    is_truncated: bool,
}

impl RawName<'_> {
    /// The name, if it is one.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(self) -> Result<Name, Malformed> {
        Name::from_text(self.text, self.is_truncated).ok_or(Malformed)
    }
}

/// Reads a section of names, each in turn.
///
/// # Errors
/// [`Malformed`]; names before the fault were visited.
pub fn read_names(
    content: &[u8],
    mut visit: impl FnMut(Key, RawName<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        let key = read_key(&mut reader)?;
        let is_truncated = reader.byte()? & IS_TRUNCATED != 0;
        let length = usize::try_from(reader.varint_u32()?).map_err(|_| Malformed)?;
        let text = reader.bytes(length)?;
        visit(key, RawName { text, is_truncated })?;
    }
    Ok(())
}
