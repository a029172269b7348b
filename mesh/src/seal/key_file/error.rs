//! What can be wrong with a key file.

use super::SEAL_KEYS_MAX;

/// Why a key file cannot be used. Lines count from 1. No message shows what is in a line: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// A line is a key and nothing else.
    #[error(
        "line {line}: a key without a word in front, as `openssl rand -hex` prints it; make the file \
         with `hivectl keygen`, and bring it to all hosts"
    )]
    BareKey {
        /// The line.
        line: usize,
    },
    /// A line begins with neither `hash` nor `seal`.
    #[error(
        "line {line}: a line begins with `hash`, `seal` or `#`; mend the word, or make a comment of \
         the line"
    )]
    UnknownWord {
        /// The line.
        line: usize,
    },
    /// There is something behind the key.
    #[error("line {line}: there is something behind the key; put a `#` before it, or remove it")]
    TooManyWords {
        /// The line.
        line: usize,
    },
    /// A key is too long or too short.
    #[error(
        "line {line}: `{word}` takes {expected} hexadecimal digits, not {found}; copy the line again \
         from another host, or from a new file of `hivectl keygen`"
    )]
    Length {
        /// The line.
        line: usize,
        /// `hash` or `seal`.
        word: &'static str,
        /// Digits it should have.
        expected: usize,
        /// Characters it has.
        found: usize,
    },
    /// A key is not hexadecimal.
    #[error(
        "line {line}: character {place} of the key is not a hexadecimal digit (0-9, a-f); copy the \
         line again from another host, or from a new file of `hivectl keygen`"
    )]
    NotHexadecimal {
        /// The line.
        line: usize,
        /// Which character of the key, from 1.
        place: usize,
    },
    /// There are two hash keys.
    #[error(
        "line {line}: the hash key is already on line {first}; keep the one that every host uses, and \
         remove the other"
    )]
    SecondHash {
        /// The line.
        line: usize,
        /// Where the first one is.
        first: usize,
    },
    /// A seal key is there twice.
    #[error("line {line}: the same key as on line {first}; remove one of them")]
    DuplicateKey {
        /// The line.
        line: usize,
        /// Where the first one is.
        first: usize,
    },
    /// Two seal keys have the same name on the wire, by a chance of one in 2^32.
    #[error(
        "line {line}: this key and the one on line {first} happen to have the same id; replace the one \
         that is not in use yet"
    )]
    SameId {
        /// The line.
        line: usize,
        /// Where the first one is.
        first: usize,
    },
    /// There are too many seal keys.
    #[error(
        "line {line}: a ninth seal key, and there may be {SEAL_KEYS_MAX}; remove those that no host \
         seals with any more, as `hivectl keygen --retire` does"
    )]
    TooManyKeys {
        /// The line.
        line: usize,
    },
    /// There is no hash key.
    #[error(
        "there is no line `hash <32 hexadecimal digits>`; copy it from another host of the cluster, or \
         make the first file with `hivectl keygen`"
    )]
    NoHash,
    /// There is no seal key.
    #[error(
        "there is no line `seal <64 hexadecimal digits>`; copy it from another host of the cluster, or \
         make the first file with `hivectl keygen`"
    )]
    NoSealKey,
    /// A key should be promoted, or others retired, and there is but one.
    #[error(
        "there is a single seal key, on line {line}; add another one with `hivectl keygen --add`"
    )]
    SingleKey {
        /// The line.
        line: usize,
    },
}
