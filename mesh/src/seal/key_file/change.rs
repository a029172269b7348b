//! How a key file is made and changed.

use std::fmt::Write;

use super::{HASH, KeyFile, KeyFileError, SEAL};
use crate::seal::key_ring::KeyRing;

/// What is above the keys in a new file.
const EXPLANATION: &str = "\
# Keys of a Hivemind cluster, made by `hivectl keygen`.
# Keep them secret: whoever has them can read and make the cluster's datagrams.
# All hosts of the cluster have the same file; nobody but meshd needs to read it (mode 0600).
#
# hash: names the counters. It is never changed: hosts with another one count for themselves.
# seal: seals datagrams. The first one seals, all of them open. There may be eight.
#
# To change the seal key without a pause, take three steps; bring each to all hosts before the next:
#   1. hivectl keygen --add FILE      a new key at the end, which all hosts can open with
#   2. hivectl keygen --promote FILE  the new key first, which all hosts seal with
#   3. hivectl keygen --retire FILE   the first key alone; the old one is worth nothing any more
# Each prints the new file, or writes it with --out NEW_FILE; FILE stays as it is.
";

/// A new file with one hash key and one seal key, from 48 random bytes.
pub fn generate_key_file(random: &[u8; 48]) -> String {
    let (hash_key, seal_key) = random.split_at(16);
    format!(
        "{EXPLANATION}\n{}\n{}\n",
        key_line(HASH, hash_key),
        key_line(SEAL, seal_key)
    )
}

/// The file with a new seal key at its end, from 32 random bytes: the first step of a change.
///
/// # Errors
/// When the file is wrong, or there is no room for another key.
pub fn add_key(existing: &str, random: &[u8; 32]) -> Result<String, KeyFileError> {
    let mut lines = KeyFile::parse(existing)?.lines;
    let line = key_line(SEAL, random);
    lines.push(&line);
    let changed = joined(&lines);
    KeyRing::parse(&changed)?;
    Ok(changed)
}

/// The file with its last seal key in front of the first: the second step of a change.
///
/// # Errors
/// When the file is wrong, or has one seal key alone.
pub fn promote_key(existing: &str) -> Result<String, KeyFileError> {
    let mut file = KeyFile::parse(existing)?;
    let (first, last) = file.first_and_last_of_several()?;
    // What is between them moves down together.
    file.lines[first..=last].rotate_right(1);
    Ok(joined(&file.lines))
}

/// The file without seal keys but the first: the third step of a change.
///
/// # Errors
/// When the file is wrong, or has one seal key alone.
pub fn retire_keys(existing: &str) -> Result<String, KeyFileError> {
    let mut file = KeyFile::parse(existing)?;
    let (first, _) = file.first_and_last_of_several()?;
    let mut index = 0;
    file.lines.retain(|_| {
        let is_other = index != first && file.seals.iter().any(|seal| seal.index == index);
        index += 1;
        !is_other
    });
    Ok(joined(&file.lines))
}

fn key_line(word: &str, key: &[u8]) -> String {
    key.iter().fold(format!("{word} "), |mut line, byte| {
        // A string takes whatever is written to it.
        let _ = write!(line, "{byte:02x}");
        line
    })
}

fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}
