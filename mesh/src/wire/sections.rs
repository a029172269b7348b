//! All sections but the counts: each as a type that is written and read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hivemind_shared::window::Period;

use super::reader::{Malformed, Reader};
use super::writer::{name, section, varint};

/// Type of a [`Hello`].
pub const HELLO: u8 = 1;
/// Type of a membership payload.
pub const MEMBERSHIP: u8 = 2;
/// Type of an [`Ack`].
pub const ACK: u8 = 3;
/// Type of a [`Heartbeat`].
pub const HEARTBEAT: u8 = 4;
/// Type of a [`Digest`].
pub const DIGEST: u8 = 6;
/// Type of a [`Want`].
pub const WANT: u8 = 7;
/// Type of a snapshot request.
pub const SNAPSHOT_REQUEST: u8 = 8;
/// Type of a snapshot's end.
pub const SNAPSHOT_END: u8 = 9;
/// Type of a [`Summary`].
pub const SUMMARY: u8 = 10;

/// Type of the hash of the sender's rules.
pub const RULES: u8 = 11;
/// Type of a goodbye.
pub const GOODBYE: u8 = 12;

/// Parts a group of counts is compared in.
pub const PARTS: usize = 16;

/// Groups that are read of one digest or want; there are three near windows of each of seven units.
pub const GROUPS_MAX: usize = 64;

/// Bytes a group of a digest takes at most.
pub const DIGEST_GROUP_BYTES: usize = 1 + 5 + PARTS * 4;

/// "I am here": how nodes that know nothing but an address find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whether an answer is wanted.
    pub wants_answer: bool,
    /// Where the sender is reached.
    pub address: SocketAddr,
    /// Its name.
    pub name: String,
}

impl Hello {
    /// Writes the section.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, HELLO, |buffer| {
            buffer.push(u8::from(self.wants_answer));
            match self.address.ip() {
                IpAddr::V4(ip) => {
                    buffer.push(4);
                    buffer.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    buffer.push(6);
                    buffer.extend_from_slice(&ip.octets());
                }
            }
            buffer.extend_from_slice(&self.address.port().to_le_bytes());
            name(buffer, &self.name);
        });
    }

    /// Reads the section.
    ///
    /// # Errors
    /// [`Malformed`]; so for all sections.
    pub fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        let wants_answer = reader.byte()? != 0;
        let ip = match reader.byte()? {
            4 => IpAddr::V4(Ipv4Addr::from(reader.u32()?.to_le_bytes())),
            6 => IpAddr::V6(Ipv6Addr::from(reader.u128_bytes()?)),
            _ => return Err(Malformed),
        };
        Ok(Self {
            wants_answer,
            address: SocketAddr::new(ip, reader.u16()?),
            name: reader.text()?.into_owned(),
        })
    }
}

/// Which datagrams arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The lower half of the session whose datagrams these are: sequences begin anew in every run.
    pub run: u32,
    /// Unix time of the sender when it sent this, microseconds.
    pub unix_us: u64,
    /// How long it had the newest of them, microseconds.
    pub delay_us: u64,
    /// Their sequences, newest first.
    pub sequences: Vec<u64>,
}

impl Ack {
    /// Sequences in one section at most.
    pub const SEQUENCES_MAX: usize = 128;

    /// Writes the section. `sequences` must be sorted, newest first, without doubles.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, ACK, |buffer| {
            buffer.extend_from_slice(&self.run.to_le_bytes());
            buffer.extend_from_slice(&self.unix_us.to_le_bytes());
            varint(buffer, self.delay_us);
            let mut newer = None;
            for &sequence in &self.sequences {
                let step = newer.map_or(sequence, |newer: u64| newer.saturating_sub(sequence));
                varint(buffer, step);
                newer = Some(sequence);
            }
        });
    }

    /// Reads the section.
    pub fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        let run = reader.u32()?;
        let unix_us = reader.u64()?;
        let delay_us = reader.varint()?;
        let mut sequences = vec![reader.varint()?];
        while !reader.is_empty() && sequences.len() < Self::SEQUENCES_MAX {
            let newer = sequences.last().copied().unwrap_or_default();
            sequences.push(newer.checked_sub(reader.varint()?).ok_or(Malformed)?);
        }
        Ok(Self {
            run,
            unix_us,
            delay_us,
            sequences,
        })
    }
}

/// "I am still here", and the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Number of the probe.
    pub probe: u64,
    /// The sender's name.
    pub name: String,
}

impl Heartbeat {
    /// Writes the section.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, HEARTBEAT, |buffer| {
            varint(buffer, self.probe);
            name(buffer, &self.name);
        });
    }

    /// Reads the section.
    pub fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        Ok(Self {
            probe: reader.varint()?,
            name: reader.text()?.into_owned(),
        })
    }
}

/// The sums of one actor's counts of one period in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestGroup {
    /// Length of the windows.
    pub period: Period,
    /// The number of the window.
    pub window: u32,
    /// One sum for each sixteenth of all keys.
    pub sums: [u32; PARTS],
}

/// What somebody knows of one actor's counts, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Whether the receiver should send what the sender seems to lack, too: the actor cannot do so.
    pub both_ways: bool,
    /// The actor.
    pub actor: u64,
    /// By period and window.
    pub groups: Vec<DigestGroup>,
}

impl Digest {
    /// Writes the section.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, DIGEST, |buffer| {
            buffer.push(u8::from(self.both_ways));
            buffer.extend_from_slice(&self.actor.to_le_bytes());
            for group in &self.groups {
                varint(buffer, u64::from(group.period.code()));
                varint(buffer, u64::from(group.window));
                for sum in group.sums {
                    buffer.extend_from_slice(&sum.to_le_bytes());
                }
            }
        });
    }

    /// Reads the section.
    pub fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        let both_ways = reader.byte()? & 1 != 0;
        let actor = reader.u64()?;
        let mut groups = Vec::new();
        while !reader.is_empty() && groups.len() < GROUPS_MAX {
            let period = Period::from_code(reader.varint_u32()?).ok_or(Malformed)?;
            let window = reader.varint_u32()?;
            let mut sums = [0; PARTS];
            for sum in &mut sums {
                *sum = reader.u32()?;
            }
            groups.push(DigestGroup {
                period,
                window,
                sums,
            });
        }
        Ok(Self {
            both_ways,
            actor,
            groups,
        })
    }
}

/// What somebody knows of many actors' counts, in very short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Actors, each with a hash of the sums of its counts; 0 for none.
    pub actors: Vec<(u64, u32)>,
}

impl Summary {
    /// Bytes an actor takes.
    pub const ACTOR_BYTES: usize = 8 + 4;

    /// Writes the section.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, SUMMARY, |buffer| {
            for (actor, hash) in &self.actors {
                buffer.extend_from_slice(&actor.to_le_bytes());
                buffer.extend_from_slice(&hash.to_le_bytes());
            }
        });
    }

    /// Reads the section.
    pub fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        let mut actors = Vec::new();
        while !reader.is_empty() {
            actors.push((reader.u64()?, reader.u32()?));
        }
        Ok(Self { actors })
    }
}

/// Which counts of one period and window are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantGroup {
    /// Length of the windows.
    pub period: Period,
    /// The number of the window.
    pub window: u32,
    /// Bit *n*: the *n*-th sixteenth of all keys.
    pub parts: u16,
}

/// "Send me these."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Whose counts.
    pub actor: u64,
    /// Which.
    pub groups: Vec<WantGroup>,
}

impl Want {
    /// Writes the section.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, WANT, |buffer| {
            buffer.extend_from_slice(&self.actor.to_le_bytes());
            for group in &self.groups {
                varint(buffer, u64::from(group.period.code()));
                varint(buffer, u64::from(group.window));
                buffer.extend_from_slice(&group.parts.to_le_bytes());
            }
        });
    }

    /// Reads the section.
    pub fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        let actor = reader.u64()?;
        let mut groups = Vec::new();
        while !reader.is_empty() && groups.len() < GROUPS_MAX {
            groups.push(WantGroup {
                period: Period::from_code(reader.varint_u32()?).ok_or(Malformed)?,
                window: reader.varint_u32()?,
                parts: reader.u16()?,
            });
        }
        Ok(Self { actor, groups })
    }
}

/// Writes a request for a snapshot, which is its number.
pub fn write_snapshot_request(buffer: &mut Vec<u8>, number: u64) {
    section(buffer, SNAPSHOT_REQUEST, |buffer| {
        buffer.extend_from_slice(&number.to_le_bytes());
    });
}

/// Reads such a section.
pub fn read_snapshot_request(content: &[u8]) -> Result<u64, Malformed> {
    Reader::new(content).u64()
}

/// Writes the hash of the sender's rules.
pub fn write_rules(buffer: &mut Vec<u8>, hash: u64) {
    section(buffer, RULES, |buffer| {
        buffer.extend_from_slice(&hash.to_le_bytes());
    });
}

/// Reads such a section.
pub fn read_rules(content: &[u8]) -> Result<u64, Malformed> {
    Reader::new(content).u64()
}

/// Writes that the sender is about to leave. There is nothing in the section.
pub fn write_goodbye(buffer: &mut Vec<u8>) {
    section(buffer, GOODBYE, |_| {});
}

/// "That was everything."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// Number of the request.
    pub number: u64,
    /// Whether its sender is joining itself, and may lack what others have.
    pub joining: bool,
}

impl SnapshotEnd {
    /// Writes the section.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        section(buffer, SNAPSHOT_END, |buffer| {
            buffer.extend_from_slice(&self.number.to_le_bytes());
            buffer.push(u8::from(self.joining));
        });
    }

    /// Reads the section.
    pub fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content);
        Ok(Self {
            number: reader.u64()?,
            joining: reader.byte()? != 0,
        })
    }
}
