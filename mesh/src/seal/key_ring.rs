//! The keys of a cluster.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, Salt};

use super::key_file::{KeyFile, KeyFileError};

/// A key that seals datagrams.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SealKey {
    /// Its name on the wire.
    pub(super) id: u32,
    pub(super) secret: [u8; 32],
}

impl SealKey {
    /// A secret key. Its name says nothing about it, and is never 0.
    pub(super) fn secret(secret: [u8; 32]) -> Self {
        let mut id = [0; 4];
        let extracted = Salt::new(HKDF_SHA256, b"hivemind").extract(&secret);
        // Four bytes are never too many to ask for; if they were, all keys would be named alike, and a
        // ring of several would be refused.
        let _ = extracted
            .expand(&[b"hivemind key id 1"], IdBytes)
            .and_then(|derived| derived.fill(&mut id));
        Self {
            id: u32::from_le_bytes(id).max(1),
            secret,
        }
    }
}

/// Four bytes of a derived key.
struct IdBytes;

impl hkdf::KeyType for IdBytes {
    fn len(&self) -> usize {
        4
    }
}

/// The keys of a cluster: one hash key for the names of counters, and the keys that seal datagrams.
#[derive(Clone)]
pub struct KeyRing {
    hash_key: [u8; 16],
    /// The one that seals.
    first: SealKey,
    /// Others that open.
    others: Vec<SealKey>,
}

impl KeyRing {
    /// The keys in a key file.
    ///
    /// # Errors
    /// When the file is not one; the error names the line and what to do.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let file = KeyFile::parse(text)?;
        let hash_key = file.hash_key();
        let mut keys = file.into_seal_keys();
        let first = keys.next().ok_or(KeyFileError::NoSealKey)?;
        Ok(Self {
            hash_key,
            first,
            others: keys.collect(),
        })
    }

    /// The ring of a cluster without a secret: anyone who knows its name can make datagrams.
    pub fn open(cluster: &str) -> Self {
        let from_name = |label: &[u8]| {
            let mut context = Context::new(&SHA256);
            context.update(label);
            context.update(cluster.as_bytes());
            let mut derived = [0; 32];
            derived.copy_from_slice(context.finish().as_ref());
            derived
        };
        let mut hash_key = [0; 16];
        hash_key.copy_from_slice(&from_name(b"hivemind open hash key 1")[..16]);
        Self {
            hash_key,
            first: SealKey {
                id: 0,
                secret: from_name(b"hivemind open seal key 1"),
            },
            others: Vec::new(),
        }
    }

    /// Whether the keys are secret.
    pub fn is_secret(&self) -> bool {
        self.first.id != 0
    }

    /// The key that counters' fingerprints are made with.
    pub fn hash_key(&self) -> [u8; 16] {
        self.hash_key
    }

    /// The names of the seal keys; the first one seals, all of them open. They are no secret.
    pub fn key_ids(&self) -> impl Iterator<Item = u32> {
        self.seal_keys().map(|key| key.id)
    }

    /// What the keys of datagrams are derived from.
    pub(super) fn material(&self, key: &SealKey) -> [u8; 48] {
        let mut material = [0; 48];
        material[..32].copy_from_slice(&key.secret);
        material[32..].copy_from_slice(&self.hash_key);
        material
    }

    pub(super) const fn sealing(&self) -> &SealKey {
        &self.first
    }

    pub(super) fn find(&self, id: u32) -> Option<&SealKey> {
        self.seal_keys().find(|key| key.id == id)
    }

    fn seal_keys(&self) -> impl Iterator<Item = &SealKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names go over the wire; the keys stay out of logs.
        let ids: Vec<_> = self.key_ids().map(|id| format!("{id:08x}")).collect();
        f.debug_struct("KeyRing")
            .field("is_secret", &self.is_secret())
            .field("key_ids", &ids)
            .finish_non_exhaustive()
    }
}
