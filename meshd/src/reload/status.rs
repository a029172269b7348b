//! How the last reload of one kind of configuration went: the rules, the TLS files or the key file.

use std::sync::{Mutex, PoisonError};

use hivemind_shared::clock::unix_time_ms;

/// How the last reload went; what was loaded at the start counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastReload {
    /// Whether the last attempt was successful; none before the first. One that finds what is in force is.
    pub successful: Option<bool>,
    /// When the last successful attempt was, Unix time in milliseconds; none before the first.
    pub success_unix_ms: Option<u64>,
}

impl LastReload {
    /// That of something that was loaded just now.
    pub fn loaded() -> Self {
        let mut reload = Self::default();
        reload.succeeded();
        reload
    }

    /// An attempt was successful.
    pub fn succeeded(&mut self) {
        *self = Self {
            successful: Some(true),
            success_unix_ms: Some(unix_time_ms()),
        };
    }

    /// An attempt failed.
    pub fn failed(&mut self) {
        self.successful = Some(false);
    }
}

/// The same, shared by whoever reloads and whoever shows it.
#[derive(Debug)]
pub struct ReloadStatus(Mutex<LastReload>);

impl ReloadStatus {
    /// That of something that was loaded just now.
    pub fn loaded() -> Self {
        Self(Mutex::new(LastReload::loaded()))
    }

    /// An attempt was successful.
    pub fn succeeded(&self) {
        self.update(LastReload::succeeded);
    }

    /// An attempt failed.
    pub fn failed(&self) {
        self.update(LastReload::failed);
    }

    /// How it went.
    pub fn last(&self) -> LastReload {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut LastReload)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_leaves_the_time_of_the_last_success() {
        let status = ReloadStatus::loaded();
        let loaded = status.last();
        assert_eq!(loaded.successful, Some(true));
        status.failed();
        let failed = status.last();
        assert_eq!(failed.successful, Some(false));
        assert_eq!(failed.success_unix_ms, loaded.success_unix_ms);
        status.succeeded();
        assert_eq!(status.last().successful, Some(true));
    }
}
