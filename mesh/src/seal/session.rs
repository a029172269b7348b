//! The key that seals the datagrams of one process run.
//!
//! The AEAD is AES-256-GCM-SIV (RFC 8452), which bears a nonce that comes twice. The nonce is the sequence, and
//! nothing a host remembers can be trusted to stop a sequence from being used again: a virtual machine may be
//! copied while it runs, or set back to an earlier state, and then goes on with the same run, the same key and
//! the same sequence. Random numbers of the kernel would not help: the copy has the state of their generator as
//! well. With AES-GCM, two different datagrams under one nonce would give away what both of them say and the
//! means to forge others. With AES-GCM-SIV they tell only whether they are equal, header and body.
//!
//! Every run has a key of its own all the same: HKDF-SHA256 of the cluster's seal key and hash key, one
//! behind the other, with the cluster's name as salt and with actor, incarnation and session as context. The
//! session is drawn at random when a process starts. So two processes that hold copies of one region use
//! different keys.
//!
//! The salt is the SHA-256 of the name: HKDF fills up short salts with zeros, and would take two names
//! that differ by zeros at the end for one.
//!
//! The hash key is part of it for the operator's sake: hosts that name counters by different keys would
//! talk to each other and never share one. This way they do not open each other's datagrams, which shows.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::header::{HEADER_BYTES, Header, SenderId, TAG_BYTES};

/// What the context ends with, so that keys derived for other ends are others.
const CONTEXT: &[u8] = b"hivemind datagram 2";

/// A cluster, as datagrams know it.
pub(super) struct Cluster {
    /// What is in a header.
    pub(super) tag: [u8; 4],
    salt: Salt,
}

impl Cluster {
    pub(super) fn new(name: &str) -> Self {
        let hash = digest(&SHA256, name.as_bytes());
        let mut tag = [0; 4];
        tag.copy_from_slice(&hash.as_ref()[..4]);
        Self {
            tag,
            salt: Salt::new(HKDF_SHA256, hash.as_ref()),
        }
    }
}

/// The key of one process run under one key of the ring.
pub(super) struct SessionKey {
    key: LessSafeKey,
    /// The id of the key of the ring.
    pub(super) id: u32,
}

impl SessionKey {
    /// Derives it, which costs three times what opening a datagram of 1,200 bytes does.
    pub(super) fn derive(
        secret: &[u8],
        id: u32,
        cluster: &Cluster,
        sender: SenderId,
    ) -> Result<Self, Unspecified> {
        let context = [&sender.to_bytes(), CONTEXT];
        let extracted = cluster.salt.extract(secret);
        let key = UnboundKey::from(extracted.expand(&context, &AES_256_GCM_SIV)?);
        Ok(Self {
            key: LessSafeKey::new(key),
            id,
        })
    }

    /// Encrypts a body in place, and makes the tag.
    pub(super) fn seal(
        &self,
        header: &[u8; HEADER_BYTES],
        sequence: u64,
        body: &mut [u8],
    ) -> Result<impl AsRef<[u8]> + use<>, Unspecified> {
        self.key
            .seal_in_place_separate_tag(nonce(sequence), Aad::from(header), body)
    }

    /// Decrypts a datagram's body in place. If the tag does not fit, the body is no longer what it was.
    pub(super) fn open<'d>(
        &self,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Result<&'d [u8], Unspecified> {
        let (clear, sealed) = datagram
            .split_at_mut_checked(HEADER_BYTES)
            .ok_or(Unspecified)?;
        let (body, tag) = sealed
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(Unspecified)?;
        let nonce = nonce(header.sequence);
        let opened = self
            .key
            .open_in_place_separate_tag(nonce, Aad::from(&*clear), tag, body)?;
        Ok(opened)
    }
}

/// The sequence, and zeros.
fn nonce(sequence: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
