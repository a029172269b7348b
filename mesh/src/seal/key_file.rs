//! The file that holds the keys of a cluster, and how it is changed.
//!
//! ```text
//! # A comment; one may also stand at the end of a line.
//! hash 00112233445566778899aabbccddeeff
//! seal 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
//! ```
//!
//! There is one `hash` line with 32 hexadecimal digits: the key that counters' fingerprints are made
//! with. All hosts have the same, and keep it: with another one they count for themselves. There are one
//! to eight `seal` lines with 64 digits: the first key seals datagrams, all of them open; [`super`] says
//! how they are changed.

mod change;
mod error;
#[cfg(test)]
mod tests;

pub use change::{add_key, generate_key_file, promote_key, retire_keys};
pub use error::KeyFileError;

use super::key_ring::SealKey;

/// Largest file worth reading, bytes. One with eight keys and the comments it is made with has 2,000.
pub const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// Seal keys in a file at most. Two are enough to change them; more only for hosts that were away.
pub const SEAL_KEYS_MAX: usize = 8;

const HASH: &str = "hash";
const SEAL: &str = "seal";

/// A file that was understood.
pub(super) struct KeyFile<'t> {
    lines: Vec<&'t str>,
    hash_key: [u8; 16],
    /// One at least.
    seals: Vec<SealLine>,
}

struct SealLine {
    /// Of its line, from 0.
    index: usize,
    key: SealKey,
}

impl<'t> KeyFile<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, KeyFileError> {
        let lines: Vec<&str> = text.lines().collect();
        let mut hash = None;
        let mut seals = Vec::new();
        for (index, content) in lines.iter().enumerate() {
            let line = index + 1;
            let content = content.split('#').next().unwrap_or_default();
            let mut words = content.split_whitespace();
            let Some(word) = words.next() else { continue };
            let key = words.next().unwrap_or_default();
            match word {
                HASH => {
                    let key = hexadecimal(line, HASH, key)?;
                    if let Some((first, _)) = hash.replace((line, key)) {
                        return Err(KeyFileError::SecondHash { line, first });
                    }
                }
                SEAL => add_seal(&mut seals, index, hexadecimal(line, SEAL, key)?)?,
                _ if is_bare_key(word) => return Err(KeyFileError::BareKey { line }),
                _ => return Err(KeyFileError::UnknownWord { line }),
            }
            if words.next().is_some() {
                return Err(KeyFileError::TooManyWords { line });
            }
        }
        let (_, hash_key) = hash.ok_or(KeyFileError::NoHash)?;
        if seals.is_empty() {
            return Err(KeyFileError::NoSealKey);
        }
        Ok(Self {
            lines,
            hash_key,
            seals,
        })
    }

    pub(super) const fn hash_key(&self) -> [u8; 16] {
        self.hash_key
    }

    pub(super) fn into_seal_keys(self) -> impl Iterator<Item = SealKey> {
        self.seals.into_iter().map(|seal| seal.key)
    }

    /// Indices of the lines of the first and the last seal key.
    fn first_and_last_of_several(&self) -> Result<(usize, usize), KeyFileError> {
        match self.seals.as_slice() {
            [first, .., last] => Ok((first.index, last.index)),
            [only] => Err(KeyFileError::SingleKey {
                line: only.index + 1,
            }),
            [] => Err(KeyFileError::NoSealKey),
        }
    }
}

fn add_seal(seals: &mut Vec<SealLine>, index: usize, secret: [u8; 32]) -> Result<(), KeyFileError> {
    let line = index + 1;
    let key = SealKey::secret(secret);
    for SealLine {
        index,
        key: earlier,
    } in &*seals
    {
        let first = index + 1;
        if *earlier == key {
            return Err(KeyFileError::DuplicateKey { line, first });
        }
        if earlier.id == key.id {
            return Err(KeyFileError::SameId { line, first });
        }
    }
    if seals.len() >= SEAL_KEYS_MAX {
        return Err(KeyFileError::TooManyKeys { line });
    }
    seals.push(SealLine { index, key });
    Ok(())
}

fn is_bare_key(word: &str) -> bool {
    word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A key of `N` bytes.
fn hexadecimal<const N: usize>(
    line: usize,
    word: &'static str,
    digits: &str,
) -> Result<[u8; N], KeyFileError> {
    let found = digits.chars().count();
    if found != 2 * N {
        return Err(KeyFileError::Length {
            line,
            word,
            expected: 2 * N,
            found,
        });
    }
    let mut key = [0; N];
    for (place, digit) in digits.chars().enumerate() {
        let value = digit
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok());
        let value = value.ok_or(KeyFileError::NotHexadecimal {
            line,
            place: place + 1,
        })?;
        let byte = &mut key[place / 2];
        *byte = (*byte << 4) | value;
    }
    Ok(key)
}
