//! The section that carries counts.

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::table::Key;
use hivemind_shared::window::Period;

use super::reader::{Malformed, Reader};
use super::writer::{section, varint, varint_bytes};
use super::{HEAD_BYTES, SECTION_HEAD_BYTES};

/// The section's type.
pub const CODE: u8 = 5;

const OF_ANOTHER: u8 = 1;
const IS_COPY: u8 = 2;

/// Bytes of a fingerprint.
const FINGERPRINT_BYTES: usize = 16;

/// The most that comes before the groups: head, section head, flags, actor, age.
const BEFORE_GROUPS_BYTES: usize = HEAD_BYTES + SECTION_HEAD_BYTES + 1 + 8 + 10;

/// One count: what an actor counted for a key in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The number of the window.
    pub window: u32,
    /// The count.
    pub count: u32,
}

impl Entry {
    /// What is said once for all entries that have it in common.
    const fn group(&self) -> (Period, u32) {
        (self.key.period, self.window)
    }
}

/// What is said once for a whole section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose counts; `None` for the sender's own.
    pub actor: Option<u64>,
    /// Whether these are no news, but a copy for a node that lacks them.
    pub copy: bool,
    /// How long the oldest change among them has waited at the sender, microseconds; 0 when no decision
    /// depends on any of them.
    pub age_us: u64,
}

/// Entries that fit into one datagram together.
#[derive(Debug)]
pub struct Pack {
    entries: Vec<Entry>,
    groups: Vec<(Period, u32)>,
    bytes: usize,
    bytes_max: usize,
}

impl Pack {
    /// An empty one, for bodies of at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            groups: Vec::new(),
            bytes: BEFORE_GROUPS_BYTES,
            bytes_max,
        }
    }

    /// Adds an entry, unless there is no room.
    pub fn push(&mut self, entry: Entry) -> bool {
        let mut bytes = FINGERPRINT_BYTES + varint_bytes(u64::from(entry.count));
        let known = self.groups.contains(&entry.group());
        if !known {
            // How many there are may take three bytes by the end.
            bytes += varint_bytes(u64::from(entry.key.period.code()))
                + varint_bytes(u64::from(entry.window))
                + 3;
        }
        if self.bytes + bytes > self.bytes_max {
            return false;
        }
        if !known {
            self.groups.push(entry.group());
        }
        self.bytes += bytes;
        self.entries.push(entry);
        true
    }

    /// Whether there are no entries in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the entries.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.groups.clear();
        self.bytes = BEFORE_GROUPS_BYTES;
    }

    /// Writes them as a section.
    pub fn write(&mut self, buffer: &mut Vec<u8>, head: Head) {
        self.entries
            .sort_unstable_by_key(|entry| (entry.group(), entry.key.fingerprint));
        section(buffer, CODE, |buffer| {
            let of_another = if head.actor.is_some() { OF_ANOTHER } else { 0 };
            buffer.push(of_another | if head.copy { IS_COPY } else { 0 });
            if let Some(actor) = head.actor {
                buffer.extend_from_slice(&actor.to_le_bytes());
            }
            varint(buffer, head.age_us);
            for group in self.entries.chunk_by(|a, b| a.group() == b.group()) {
                let (period, window) = group[0].group();
                varint(buffer, u64::from(period.code()));
                varint(buffer, u64::from(window));
                varint(buffer, group.len() as u64);
                for entry in group {
                    let Fingerprint { high, low } = entry.key.fingerprint;
                    buffer.extend_from_slice(&high.to_le_bytes());
                    buffer.extend_from_slice(&low.to_le_bytes());
                    varint(buffer, u64::from(entry.count));
                }
            }
        });
    }
}

/// Reads a section: its head, and then each entry in turn.
///
/// # Errors
/// [`Malformed`]; entries before the fault were visited.
pub fn read(content: &[u8], mut visit: impl FnMut(&Head, Entry)) -> Result<Head, Malformed> {
    let mut reader = Reader::new(content);
    let flags = reader.byte()?;
    let actor = (flags & OF_ANOTHER != 0)
        .then(|| reader.u64())
        .transpose()?;
    let head = Head {
        actor,
        copy: flags & IS_COPY != 0,
        age_us: reader.varint()?,
    };
    while !reader.is_empty() {
        let period = Period::from_code(reader.varint_u32()?).ok_or(Malformed)?;
        let window = reader.varint_u32()?;
        // Not used to allocate: each entry is read, or found missing.
        for _ in 0..reader.varint()? {
            let fingerprint = Fingerprint {
                high: reader.u64()?,
                low: reader.u64()?,
            };
            let entry = Entry {
                key: Key {
                    fingerprint,
                    period,
                },
                window,
                count: reader.varint_u32()?,
            };
            visit(&head, entry);
        }
    }
    Ok(head)
}
