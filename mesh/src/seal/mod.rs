//! Opening and closing datagrams: who may talk to whom.
//!
//! Every datagram is sealed by AES-256-GCM-SIV. The keys are in a file that all hosts of a cluster share; a
//! cluster without one seals all the same, with a key that anyone can derive from its name. That keeps
//! clusters apart and finds damaged datagrams, but proves nothing about who made them.
//!
//! * [`key_file`] is the text of that file, and how it is changed.
//! * [`KeyRing`] holds the keys of one.
//! * [`header`] is a datagram's layout, byte by byte.
//! * [`session`] derives the key that seals the datagrams of one process run.
//! * [`Sealer`] closes datagrams, [`Opener`] opens them, each once.
//!
//! # Changing the seal key
//!
//! Without a pause, in three steps; each reaches every host before the next one begins:
//!
//! 1. Add the new key at the end of the file. Everybody can open with it; nobody seals with it yet.
//! 2. Move it to the front. Everybody seals with it; who has not noticed yet seals with the old one,
//!    which still opens everywhere.
//! 3. Remove the old key. A datagram sealed with it is of an unknown key from now on.
//!
//! `hivectl keygen` has an option for each: `--add`, `--promote`, `--retire`.

pub mod header;
pub mod key_file;
mod key_ring;
mod opener;
mod replay;
mod runs;
mod sealer;
pub mod session;
#[cfg(test)]
mod tests;

pub use header::{OVERHEAD_BYTES, SenderId};
pub use key_file::{
    KEY_FILE_BYTES_MAX, KeyFileError, SEAL_KEYS_MAX, add_key, generate_key_file, promote_key,
    retire_keys,
};
pub use key_ring::KeyRing;
pub use opener::{Opened, Opener, SENDERS_MAX};
pub use replay::WINDOW_SEQUENCES;
pub use sealer::{SealError, Sealer};
