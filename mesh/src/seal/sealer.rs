//! Closing datagrams.

use std::fmt;

use super::header::{Header, SenderId, U48_MAX};
use super::key_ring::KeyRing;
use super::session::{Cluster, SessionKey};

/// Why a datagram was not sealed. Nothing is left of it in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The last sequence is used up, after centuries at a million datagrams a second.
    #[error("this run has sealed 2^48 datagrams, and there are no more sequences; restart meshd")]
    SequencesExhausted,
    /// The incarnation does not fit into a header.
    #[error(
        "incarnation {0} is beyond 2^48 - 1, so the region file it comes from is damaged; remove the \
         file, and meshd makes a new one"
    )]
    IncarnationOutOfRange(u64),
    /// The one who wrote the body took away what was in the buffer before: a bug in Hivemind.
    #[error("the body's writer shortened the buffer; this is a bug in Hivemind, please report it")]
    BufferShortened,
    /// The cryptographic library refused.
    #[error(
        "AES-256-GCM-SIV is refused by the cryptographic library; meshd was built wrong, or the machine \
         is faulty"
    )]
    Refused,
}

/// Closes the datagrams of one process run, each with the next sequence.
pub struct Sealer {
    cluster: Cluster,
    sender: SenderId,
    /// Of the ring's first key; `None` if it could not be derived.
    key: Option<SessionKey>,
    /// The last sequence used; 0 at first.
    sequence: u64,
}

impl Sealer {
    /// A sealer for this run. The first sequence is 1.
    ///
    /// There is one in a process: a second one for the same sender would use sequences again.
    pub fn new(keys: &KeyRing, cluster: &str, sender: SenderId) -> Self {
        let mut sealer = Self {
            cluster: Cluster::new(cluster),
            sender,
            key: None,
            sequence: 0,
        };
        sealer.replace_keys(keys);
        sealer
    }

    /// As if so many sequences had been used.
    #[cfg(test)]
    pub(super) fn with_last_sequence(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// Seals with another ring's first key from now on. Sequences go on, so receivers see one sender.
    pub fn replace_keys(&mut self, keys: &KeyRing) {
        let key = keys.sealing();
        let material = keys.material(key);
        self.key = SessionKey::derive(&material, key.id, &self.cluster, self.sender).ok();
    }

    /// Appends a datagram to the buffer: header, the body that `write_body` appends, encrypted, and tag.
    /// `write_body` leaves alone what is in the buffer. Returns the sequence.
    ///
    /// # Errors
    /// When it cannot be sealed; the buffer is then as it was. The sequence is gone nevertheless.
    pub fn seal(
        &mut self,
        buffer: &mut Vec<u8>,
        write_body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, SealError> {
        let start = buffer.len();
        let sealed = self.append(buffer, write_body);
        if sealed.is_err() {
            buffer.truncate(start);
        }
        sealed
    }

    fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        write_body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, SealError> {
        if self.sender.incarnation > U48_MAX {
            return Err(SealError::IncarnationOutOfRange(self.sender.incarnation));
        }
        if self.sequence >= U48_MAX {
            return Err(SealError::SequencesExhausted);
        }
        let key = self.key.as_ref().ok_or(SealError::Refused)?;
        // Before anything can fail: no sequence is ever used twice.
        self.sequence += 1;
        let header = Header {
            cluster_tag: self.cluster.tag,
            key_id: key.id,
            sender: self.sender,
            sequence: self.sequence,
        };
        let header = header.to_bytes();
        buffer.extend_from_slice(&header);
        let body_start = buffer.len();
        write_body(buffer);
        let body = buffer
            .get_mut(body_start..)
            .ok_or(SealError::BufferShortened)?;
        let tag = key
            .seal(&header, self.sequence, body)
            .map_err(|_| SealError::Refused)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(self.sequence)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("sender", &self.sender)
            .field("key_id", &self.key.as_ref().map(|key| key.id))
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: SenderId = SenderId {
        actor: 1,
        incarnation: 2,
        session: 3,
    };

    #[test]
    fn a_sequence_beyond_the_last_is_refused() {
        let mut sealer = Sealer::new(&KeyRing::open("c"), "c", SENDER);
        sealer.sequence = U48_MAX - 1;
        let mut buffer = Vec::new();
        assert_eq!(sealer.seal(&mut buffer, |_| ()), Ok(U48_MAX));
        let length = buffer.len();
        let refused = sealer.seal(&mut buffer, |_| ());
        assert_eq!(refused, Err(SealError::SequencesExhausted));
        assert_eq!(buffer.len(), length);
    }

    #[test]
    fn an_incarnation_that_does_not_fit_is_refused() {
        let sender = SenderId {
            incarnation: U48_MAX + 1,
            ..SENDER
        };
        let mut sealer = Sealer::new(&KeyRing::open("c"), "c", sender);
        let refused = sealer.seal(&mut Vec::new(), |_| ());
        assert_eq!(refused, Err(SealError::IncarnationOutOfRange(U48_MAX + 1)));
    }

    #[test]
    fn a_sequence_is_gone_even_if_sealing_failed() {
        let mut sealer = Sealer::new(&KeyRing::open("c"), "c", SENDER);
        let mut buffer = b"before".to_vec();
        let refused = sealer.seal(&mut buffer, |buffer| buffer.truncate(7));
        assert_eq!(refused, Err(SealError::BufferShortened));
        assert_eq!(buffer, b"before");
        assert_eq!(sealer.seal(&mut buffer, |_| ()), Ok(2));
        assert!(buffer.starts_with(b"before"));
    }
}
