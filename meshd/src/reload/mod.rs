//! Files that are followed while meshd runs: rules, certificates and keys. What they said last and was good
//! stays in force.

mod follower;
mod schedule;
mod status;
mod watch;

use std::time::Duration;

pub(crate) use self::follower::{Follower, LastGood};
pub use self::status::{LastReload, ReloadStatus};

/// How long reading the files of one kind may last. A file system that does not answer can exceed it, and
/// is told of as overdue.
pub(crate) const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The files say what they said before.
    Unchanged,
    /// What they say is in force now.
    Published,
    /// The files are broken; what was in force before stays.
    Rejected,
    /// The files cannot be read now, and what was in force before stays; reading is tried again.
    Unreadable,
}
