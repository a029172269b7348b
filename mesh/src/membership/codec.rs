//! Membership payloads, byte by byte. Numbers are big endian.
//!
//! | bytes | part |
//! |---|---|
//! | 1 | upper half: version, 1; lower half: kind, see below |
//! | 25 or 37 | identity of the sender |
//! | 2 | refutation number of the sender |
//! | 25 or 37 | identity of the receiver |
//! | 0 or 1 | probe number, in kinds 0 to 5 |
//! | 0, 25 or 37 | identity of a third member, in kinds 2 to 5 |
//! | 0 or 2 | number of updates, in every kind but 6, 9 and 10 |
//! | 27 or 39 each | updates |
//!
//! An identity:
//!
//! | bytes | part |
//! |---|---|
//! | 1 | bit 0: the address is IPv6; bits 1 and 2: 0, or in an update the state; others 0 |
//! | 8 | actor |
//! | 6 | incarnation |
//! | 4 | renewal |
//! | 4 or 16 | IP address |
//! | 2 | port |
//!
//! An update is an identity whose first byte has the state of the member in bits 1 and 2 (0 alive,
//! 1 suspect, 2 down), and then its refutation number, 2 bytes.
//!
//! | kind | message | third member |
//! |---|---|---|
//! | 0 | ping | |
//! | 1 | answer to a ping | |
//! | 2 | request to ping somebody | the one to ping |
//! | 3 | ping on request | the one who asked |
//! | 4 | answer to a ping on request | the one who asked |
//! | 5 | that answer, passed on | the one who answered |
//! | 6 | announcement: a request to be told all members | |
//! | 7 | answer to an announcement | |
//! | 8 | gossip | |
//! | 9 | "you are thought down" | |
//! | 10 | custom broadcast; not used | |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, TryGetError};
use foca::{Header, Member as Update, Message, State};

use super::config::PAYLOAD_BYTES_MAX;
use super::identity::Identity;

/// The version of this encoding, in the upper half of the first byte.
const VERSION: u8 = 1;

const IPV6: u8 = 1;
const STATE_SHIFT: u32 = 1;
const INCARNATION_BYTES: usize = 6;

/// Why a payload is not one. A member that sends such a thing is faulty, hostile, or of another
/// version; there is nothing to do about it here but to count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPayload {
    /// It ends too early.
    #[error("a membership payload is cut short")]
    Short,
    /// Bytes follow its end.
    #[error("a membership payload has bytes after its end")]
    Trailing,
    /// It is longer than any that is sent.
    #[error("a membership payload has more than {PAYLOAD_BYTES_MAX} bytes")]
    Long,
    /// It is of another version, or of a kind that does not exist.
    #[error("a membership payload begins with {0:#04x}, which is no version and kind known here")]
    Kind(u8),
    /// The first byte of an identity or an update makes no sense.
    #[error("an identity in a membership payload begins with {0:#04x}, which has no meaning")]
    Flags(u8),
    /// It names a run that begins more than a day after now. Its like keeps the true run of a host out.
    #[error("a membership payload names a run that begins more than a day after now")]
    Ahead,
    /// More of them came than are taken in. This one may be fine.
    #[error("more membership payloads came than are taken in")]
    TooMuch,
    /// It asks this node to do something to itself by way of itself.
    #[error("a membership payload asks for a detour that leads back here")]
    Detour,
}

impl From<TryGetError> for MalformedPayload {
    fn from(_: TryGetError) -> Self {
        Self::Short
    }
}

/// What can go wrong on either way.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    /// On the way in.
    #[error(transparent)]
    Malformed(#[from] MalformedPayload),
    /// On the way out; foca then leaves out what does not fit.
    #[error("no room is left in the payload")]
    NoRoom,
}

/// The encoding above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec;

impl foca::Codec<Identity> for Codec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        mut buffer: impl BufMut,
    ) -> Result<(), CodecError> {
        let (kind, probe, third) = parts(&header.message);
        let length = 1
            + identity_bytes(&header.src)
            + 2
            + identity_bytes(&header.dst)
            + usize::from(probe.is_some())
            + third.map_or(0, identity_bytes);
        if buffer.remaining_mut() < length {
            return Err(CodecError::NoRoom);
        }
        buffer.put_u8(VERSION << 4 | kind);
        put_identity(&mut buffer, &header.src, 0);
        buffer.put_u16(header.src_incarnation);
        put_identity(&mut buffer, &header.dst, 0);
        if let Some(probe) = probe {
            buffer.put_u8(probe);
        }
        if let Some(third) = third {
            put_identity(&mut buffer, third, 0);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buffer: impl Buf) -> Result<Header<Identity>, CodecError> {
        Ok(header(&mut buffer)?)
    }

    fn encode_member(
        &mut self,
        update: &Update<Identity>,
        mut buffer: impl BufMut,
    ) -> Result<(), CodecError> {
        if buffer.remaining_mut() < identity_bytes(update.id()) + 2 {
            return Err(CodecError::NoRoom);
        }
        let state = match update.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        };
        put_identity(&mut buffer, update.id(), state << STATE_SHIFT);
        buffer.put_u16(update.incarnation());
        Ok(())
    }

    fn decode_member(&mut self, mut buffer: impl Buf) -> Result<Update<Identity>, CodecError> {
        Ok(update(&mut buffer)?)
    }
}

/// What has to be known about a payload before foca may have it.
#[derive(Debug)]
pub(super) struct Outline {
    /// How many updates are in it.
    pub(super) updates: usize,
    /// The latest incarnation in it.
    pub(super) incarnation: u64,
    /// Whom it is for.
    pub(super) receiver: Identity,
    /// The third member it is about.
    pub(super) third: Option<Identity>,
}

/// Reads a whole payload. Foca itself takes some that are not complete, and looks at the rest of one
/// only after it has used its beginning.
pub(super) fn outline(mut payload: &[u8]) -> Result<Outline, MalformedPayload> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(MalformedPayload::Long);
    }
    let header = header(&mut payload)?;
    let updates = match header.message {
        Message::Announce | Message::TurnUndead | Message::Broadcast => 0,
        _ => payload.try_get_u16()?,
    };
    let mut incarnation = header.src.incarnation.max(header.dst.incarnation);
    for _ in 0..updates {
        incarnation = incarnation.max(update(&mut payload)?.id().incarnation);
    }
    if !payload.is_empty() {
        return Err(MalformedPayload::Trailing);
    }
    let (_, _, third) = parts(&header.message);
    Ok(Outline {
        updates: usize::from(updates),
        incarnation: third.map_or(incarnation, |third| incarnation.max(third.incarnation)),
        receiver: header.dst,
        third: third.copied(),
    })
}

/// Who says that it sent a payload. The rest of it is not looked at.
pub(super) fn sender(mut payload: &[u8]) -> Result<Identity, MalformedPayload> {
    Ok(header(&mut payload)?.src)
}

fn header(buffer: &mut impl Buf) -> Result<Header<Identity>, MalformedPayload> {
    let first = buffer.try_get_u8()?;
    let kind = first & 0x0F;
    if first >> 4 != VERSION || kind > 10 {
        return Err(MalformedPayload::Kind(first));
    }
    let src = plain_identity(buffer)?;
    let src_incarnation = buffer.try_get_u16()?;
    let dst = plain_identity(buffer)?;
    let probe_number = if kind <= 5 { buffer.try_get_u8()? } else { 0 };
    let message = match kind {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq {
            target: plain_identity(buffer)?,
            probe_number,
        },
        3 => Message::IndirectPing {
            origin: plain_identity(buffer)?,
            probe_number,
        },
        4 => Message::IndirectAck {
            target: plain_identity(buffer)?,
            probe_number,
        },
        5 => Message::ForwardedAck {
            origin: plain_identity(buffer)?,
            probe_number,
        },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::TurnUndead,
        _ => Message::Broadcast,
    };
    Ok(Header {
        src,
        src_incarnation,
        dst,
        message,
    })
}

/// Kind, probe number and third member.
fn parts(message: &Message<Identity>) -> (u8, Option<u8>, Option<&Identity>) {
    match message {
        Message::Ping(probe) => (0, Some(*probe), None),
        Message::Ack(probe) => (1, Some(*probe), None),
        Message::PingReq {
            target,
            probe_number,
        } => (2, Some(*probe_number), Some(target)),
        Message::IndirectPing {
            origin,
            probe_number,
        } => (3, Some(*probe_number), Some(origin)),
        Message::IndirectAck {
            target,
            probe_number,
        } => (4, Some(*probe_number), Some(target)),
        Message::ForwardedAck {
            origin,
            probe_number,
        } => (5, Some(*probe_number), Some(origin)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::TurnUndead => (9, None, None),
        Message::Broadcast => (10, None, None),
    }
}

fn update(buffer: &mut impl Buf) -> Result<Update<Identity>, MalformedPayload> {
    let (identity, flags) = identity(buffer)?;
    let state = match flags >> STATE_SHIFT {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        _ => return Err(MalformedPayload::Flags(flags)),
    };
    Ok(Update::new(identity, buffer.try_get_u16()?, state))
}

fn plain_identity(buffer: &mut impl Buf) -> Result<Identity, MalformedPayload> {
    match identity(buffer)? {
        (identity, 0 | IPV6) => Ok(identity),
        (_, flags) => Err(MalformedPayload::Flags(flags)),
    }
}

/// An identity and its first byte, of which only bit 0 is understood.
fn identity(buffer: &mut impl Buf) -> Result<(Identity, u8), MalformedPayload> {
    let flags = buffer.try_get_u8()?;
    let actor = buffer.try_get_u64()?;
    let incarnation = buffer.try_get_uint(INCARNATION_BYTES)?;
    let renewal = buffer.try_get_u32()?;
    let ip: IpAddr = if flags & IPV6 == 0 {
        Ipv4Addr::from_bits(buffer.try_get_u32()?).into()
    } else {
        Ipv6Addr::from_bits(buffer.try_get_u128()?).into()
    };
    let identity = Identity {
        actor,
        incarnation,
        renewal,
        address: SocketAddr::new(ip, buffer.try_get_u16()?),
    };
    Ok((identity, flags))
}

fn put_identity(buffer: &mut impl BufMut, identity: &Identity, flags: u8) {
    let ip = identity.address.ip();
    buffer.put_u8(flags | if ip.is_ipv6() { IPV6 } else { 0 });
    buffer.put_u64(identity.actor);
    buffer.put_uint(identity.incarnation, INCARNATION_BYTES);
    buffer.put_u32(identity.renewal);
    match ip {
        IpAddr::V4(ip) => buffer.put_u32(ip.to_bits()),
        IpAddr::V6(ip) => buffer.put_u128(ip.to_bits()),
    }
    buffer.put_u16(identity.address.port());
}

fn identity_bytes(identity: &Identity) -> usize {
    let ip = if identity.address.is_ipv4() { 4 } else { 16 };
    1 + 8 + INCARNATION_BYTES + 4 + ip + 2
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
