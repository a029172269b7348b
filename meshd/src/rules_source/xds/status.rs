//! What is told of the management server.

use hivemind_shared::clock::unix_time_ms;
use hivemind_shared::yaml::printable;
use serde::Serialize;

/// Longest version that is shown, in bytes.
const VERSION_BYTES_MAX: usize = 128;

/// How it stands with the management server, for those who show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct XdsStatus {
    /// Where it is.
    pub server: String,
    /// What this host calls itself there.
    pub node_id: String,
    /// Whether there is a stream to it.
    pub connected: bool,
    /// Version of the set in force; none before the first.
    pub version: Option<String>,
    /// Sets that were taken.
    pub accepted: u64,
    /// When the last one was, Unix time in milliseconds.
    pub last_accepted_unix_ms: Option<u64>,
    /// Sets that were refused.
    pub rejected: u64,
    /// When the last one was, Unix time in milliseconds.
    pub last_rejected_unix_ms: Option<u64>,
    /// Streams that came about.
    pub streams: u64,
    /// Streams that ended or did not come about.
    pub failures: u64,
    /// Why the last of them did.
    pub last_failure: Option<String>,
}

impl XdsStatus {
    /// A stream has come about.
    pub(super) fn connected(&mut self) {
        self.connected = true;
        self.streams += 1;
    }

    /// The stream has ended, or did not come about.
    pub(super) fn lost(&mut self, why: String) {
        self.connected = false;
        self.failures += 1;
        self.last_failure = Some(why);
    }

    /// A set is in force.
    pub(super) fn accepted(&mut self, version: &str) {
        let mut shown = printable(version);
        let mut end = shown.len().min(VERSION_BYTES_MAX);
        while !shown.is_char_boundary(end) {
            end -= 1;
        }
        shown.truncate(end);
        self.version = Some(shown);
        self.accepted += 1;
        self.last_accepted_unix_ms = Some(unix_time_ms());
    }

    /// A set was refused.
    pub(super) fn rejected(&mut self) {
        self.rejected += 1;
        self.last_rejected_unix_ms = Some(unix_time_ms());
    }
}
