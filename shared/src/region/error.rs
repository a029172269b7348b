//! What can be wrong with a region, whose fault it is, and the way out.

use std::io;
use std::path::PathBuf;

use super::place::{Risk, User};

/// Why a file could not be used as a region. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such file: meshd has not run yet, or runs with another `region.path`.
    #[error("no region at {}: start meshd, or point region.path to where it keeps the region", path.display())]
    Missing {
        /// The path tried.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot open the region at {}: {source}; check region.mode and the user this runs as", path.display())]
    Unreadable {
        /// The path tried.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is of a user who is not trusted with a region.
    #[error(
        "the region at {} belongs to {owner}, who is neither root nor the one this runs as, and no group of it is the file's: run both as one user, use region.mode \"0660\" and a common group, or set region_owner to that user's number", path.display()
    )]
    OtherOwner {
        /// The path tried.
        path: PathBuf,
        /// Whose it is.
        owner: User,
    },
    /// There is something else than a file at the path.
    #[error("{} is not a regular file, or a symbolic link, which is not followed: point region.path to a file", path.display())]
    NotAFile {
        /// The path tried.
        path: PathBuf,
    },
    /// meshd has created the file but not finished it, or was killed doing so.
    #[error(
        "the region is not finished yet: meshd is starting, or was killed while it did; it mends that when it starts again"
    )]
    NotReady,
    /// The file is no region.
    #[error("this is not a region (its first eight bytes are {found:#018x}): check region.path")]
    Foreign {
        /// The first word found.
        found: u64,
    },
    /// The region is of another version of Hivemind.
    #[error(
        "the region has layout version {found}, this program knows version {expected}: run meshd, module and tools of one release"
    )]
    OtherVersion {
        /// The version found.
        found: u64,
        /// [`super::LAYOUT_VERSION`].
        expected: u64,
    },
    /// The file is shorter than its own header says, or than a header.
    #[error(
        "the file is cut short, or no region: it has {found_bytes} bytes and should have {expected_bytes}; check region.path, or restart meshd to replace it"
    )]
    Truncated {
        /// Length of the file.
        found_bytes: u64,
        /// What it should be.
        expected_bytes: u64,
    },
    /// The header contradicts itself.
    #[error("the region's header is damaged ({what}): restart meshd to replace it")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
}

impl AttachError {
    /// The cause in one word, for statistics: the same for every error of a kind.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "region_missing",
            Self::Unreadable { .. } => "region_unreadable",
            Self::OtherOwner { .. } => "region_owner",
            Self::NotAFile { .. } => "region_not_a_file",
            Self::NotReady => "region_not_ready",
            Self::Foreign { .. } => "region_foreign",
            Self::OtherVersion { .. } => "region_version",
            Self::Truncated { .. } => "region_truncated",
            Self::Damaged { .. } => "region_damaged",
        }
    }

    /// Every cause there is.
    pub const CAUSES: [&'static str; 9] = [
        "region_missing",
        "region_unreadable",
        "region_owner",
        "region_not_a_file",
        "region_not_ready",
        "region_foreign",
        "region_version",
        "region_truncated",
        "region_damaged",
    ];
}

/// Why a daemon could not own a region.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// Another daemon owns it. Nothing was changed.
    #[error("another meshd{} owns the region at {}: stop it, or give this one its own region.path", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path.display())]
    Owned {
        /// The region's path.
        path: PathBuf,
        /// The owner, when the region says.
        pid: Option<u64>,
    },
    /// What is at the path, or the directory it is in, can be exchanged by another user, or is theirs. It was
    /// left alone.
    #[error("{} {risk}, or point region.path elsewhere", path.display())]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and whose it is.
        risk: Risk,
    },
    /// The file at the path is no region of any version. It was left alone.
    #[error("{} exists and is not a region: remove it, or point region.path elsewhere", path.display())]
    Foreign {
        /// The region's path.
        path: PathBuf,
    },
    /// The configured sizes make no region. Nothing was changed.
    #[error(
        "no region can be made with max_keys {max_keys}, label_bytes {label_bytes} and rules_bytes {rules_bytes}: see the ranges in SPECIFICATION.md"
    )]
    Shape {
        /// As configured.
        max_keys: u32,
        /// As configured.
        label_bytes: u64,
        /// As configured.
        rules_bytes: u64,
    },
    /// There is not enough room. A partly written temporary file was removed.
    #[error("no room for a region of {bytes} bytes at {}: {source}; lower region.max_keys or use a larger file system (in a container, a memory volume)", path.display())]
    NoRoom {
        /// The region's path.
        path: PathBuf,
        /// What it needs.
        bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("cannot {action} the region at {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The region's path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Why rules could not be published. The published rules stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// They do not fit.
    #[error(
        "the compiled rules take {bytes} bytes, the region has room for {room_bytes}: set region.rules_bytes to {needed_bytes} or more"
    )]
    TooLarge {
        /// What they take.
        bytes: u64,
        /// What there is.
        room_bytes: u64,
        /// The least `region.rules_bytes` with room for them.
        needed_bytes: u64,
    },
}

/// Why rules could not be read from a region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadRulesError {
    /// meshd has published none yet.
    #[error(
        "no rules have been published in this region yet: meshd is starting, or has no valid rules"
    )]
    NonePublished,
    /// They changed every time while being read, or the area is damaged.
    #[error("the published rules cannot be read ({what}); if this lasts, restart meshd")]
    Unreadable {
        /// Which check failed.
        what: &'static str,
    },
    /// They are not in a form this version knows.
    #[error(transparent)]
    Decode(#[from] crate::rules::DecodeError),
}
