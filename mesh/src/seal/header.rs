//! A datagram's layout.
//!
//! Numbers are little-endian. The header is in clear and authenticated: not a bit of it can be changed.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 1 | magic, 0x48 |
//! | 1 | 1 | version of the wire format, 2 |
//! | 2 | 4 | cluster tag: the first bytes of the SHA-256 of the cluster's name |
//! | 6 | 4 | key id; 0 is the key of a cluster without a secret |
//! | 10 | 8 | actor |
//! | 18 | 6 | incarnation |
//! | 24 | 8 | session |
//! | 32 | 6 | sequence |
//! | 38 | n | the body, encrypted; as long as it was |
//! | 38 + n | 16 | authentication tag over header and body |
//!
//! Sequences are the sender's, not a receiver's: one sealed datagram may go to many peers.

use crate::drops::DropCause;

/// First byte of every datagram: an H.
const MAGIC: u8 = 0x48;
/// Version of header and body alike.
const VERSION: u8 = 2;
/// Bytes in front of the body.
pub(super) const HEADER_BYTES: usize = 38;
/// Bytes behind it.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes that a sealed datagram is longer than its body.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// Largest number that six bytes hold: the last sequence, and the last incarnation.
pub(super) const U48_MAX: u64 = (1 << 48) - 1;

/// Bytes of a sender in a header.
const SENDER_BYTES: usize = 22;

/// Who sealed a datagram: one run of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SenderId {
    /// The actor whose counts it sends: the id of its region.
    pub actor: u64,
    /// The how-many-eth run of this actor, below 2^48; larger in every later run.
    pub incarnation: u64,
    /// Random, drawn for this run. It tells two processes apart that hold copies of one region.
    pub session: u64,
}

impl SenderId {
    /// Actor, incarnation and session as the header has them; always as long, so no two senders share
    /// the bytes. The incarnation is cut to 48 bits, which [`super::Sealer`] makes sure of.
    pub(super) fn to_bytes(self) -> [u8; SENDER_BYTES] {
        let mut bytes = [0; SENDER_BYTES];
        bytes[..8].copy_from_slice(&self.actor.to_le_bytes());
        bytes[8..14].copy_from_slice(&self.incarnation.to_le_bytes()[..6]);
        bytes[14..].copy_from_slice(&self.session.to_le_bytes());
        bytes
    }
}

/// A header without what is the same in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster_tag: [u8; 4],
    pub(super) key_id: u32,
    pub(super) sender: SenderId,
    /// Below 2^48.
    pub(super) sequence: u64,
}

impl Header {
    /// The header in front of a datagram. Nothing it says is proven.
    pub(super) fn parse(datagram: &[u8]) -> Result<Self, DropCause> {
        let (mut rest, _sealed) = datagram
            .split_at_checked(HEADER_BYTES)
            .filter(|(_, sealed)| sealed.len() >= TAG_BYTES)
            .ok_or(DropCause::Malformed)?;
        match take(&mut rest) {
            Some([MAGIC, VERSION]) => Self::fields(&mut rest).ok_or(DropCause::Malformed),
            Some([MAGIC, _]) => Err(DropCause::OtherVersion),
            _ => Err(DropCause::Malformed),
        }
    }

    fn fields(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            cluster_tag: take(rest)?,
            key_id: u32::from_le_bytes(take(rest)?),
            sender: SenderId {
                actor: u64::from_le_bytes(take(rest)?),
                incarnation: take_u48(rest)?,
                session: u64::from_le_bytes(take(rest)?),
            },
            sequence: take_u48(rest)?,
        })
    }

    /// The bytes of the header.
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = MAGIC;
        bytes[1] = VERSION;
        bytes[2..6].copy_from_slice(&self.cluster_tag);
        bytes[6..10].copy_from_slice(&self.key_id.to_le_bytes());
        bytes[10..32].copy_from_slice(&self.sender.to_bytes());
        bytes[32..].copy_from_slice(&self.sequence.to_le_bytes()[..6]);
        bytes
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn take_u48(rest: &mut &[u8]) -> Option<u64> {
    let [a, b, c, d, e, f] = take(rest)?;
    Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_header_survives_the_way_through_bytes(
            cluster_tag: [u8; 4],
            key_id: u32,
            actor: u64,
            incarnation in 0..=U48_MAX,
            session: u64,
            sequence in 0..=U48_MAX,
        ) {
            let sender = SenderId { actor, incarnation, session };
            let header = Header { cluster_tag, key_id, sender, sequence };
            let mut datagram = header.to_bytes().to_vec();
            datagram.extend_from_slice(&[0; TAG_BYTES]);
            prop_assert_eq!(Header::parse(&datagram), Ok(header));
        }

        #[test]
        fn any_bytes_are_a_header_or_a_cause(bytes: Vec<u8>) {
            let _ = Header::parse(&bytes);
        }
    }

    #[test]
    fn length_magic_and_version_are_looked_at_in_this_order() {
        let mut bytes = vec![0; OVERHEAD_BYTES];
        assert_eq!(Header::parse(&bytes), Err(DropCause::Malformed));
        bytes[0] = MAGIC;
        assert_eq!(Header::parse(&bytes), Err(DropCause::OtherVersion));
        bytes[1] = VERSION;
        assert!(Header::parse(&bytes).is_ok());
        bytes.pop();
        assert_eq!(Header::parse(&bytes), Err(DropCause::Malformed));
        assert_eq!(Header::parse(&[]), Err(DropCause::Malformed));
    }
}
