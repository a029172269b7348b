//! Opening and closing datagrams: who may talk to whom.

/// The keys of a cluster.
#[derive(Clone, Debug)]
pub struct KeyRing {
    hash_key: [u8; 16],
    is_secret: bool,
}

/// Largest file worth reading, bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: not a key")]
pub struct KeyFileError {
    line: usize,
}

impl KeyRing {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`] says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut hash_key = None;
        for (index, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default().trim();
            let digits = content.strip_prefix("hash ");
            if let Some(digits) = digits {
                hash_key = u128::from_str_radix(digits, 16).ok();
            }
            let known = content.is_empty() || content.starts_with("seal ") || digits.is_some();
            if !known {
                return Err(KeyFileError { line: index + 1 });
            }
        }
        let hash_key = hash_key.ok_or(KeyFileError { line: 0 })?.to_be_bytes();
        Ok(Self {
            hash_key,
            is_secret: true,
        })
    }

    /// The ring of a cluster without a secret: anyone who knows its name can make datagrams.
    pub fn open(_cluster: &str) -> Self {
        Self {
            hash_key: [0; 16],
            is_secret: false,
        }
    }

    /// Whether the keys are secret.
    pub fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// The key that counters' fingerprints are made with.
    pub fn hash_key(&self) -> [u8; 16] {
        self.hash_key
    }
}
