//! Opening and closing datagrams: who may talk to whom.

/// The keys of a cluster.
#[derive(Clone, Debug)]
pub struct KeyRing {}

impl KeyRing {
    /// The ring of a cluster without a secret: anyone who knows its name can make datagrams.
    pub fn open(_cluster: &str) -> Self {
        Self {}
    }

    /// Whether the keys are secret.
    pub fn is_secret(&self) -> bool {
        false
    }

    /// The key that counters' fingerprints are made with.
    pub fn hash_key(&self) -> [u8; 16] {
        [0; 16]
    }
}
