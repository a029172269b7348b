//! TLS on the gRPC port: the certificate meshd shows, and the ones it wants to see.
//!
//! [`load`] reads the files before anything is opened, [`reload`] follows their changes, and every
//! connection takes what is in force when it begins ([`handshake`]).

mod client_name;
mod failures;
mod files;
mod handshake;
mod in_flight;
pub mod reload;

use std::sync::Arc;

use arc_swap::ArcSwap;
use hivemind_shared::yaml::{Problem, Problems};

use self::failures::Failures;
pub use self::failures::{Cause, FailureCounts};
use self::files::{Files, Loaded};
use self::in_flight::InFlight;
use crate::config;
use crate::reload::{LastReload, ReloadStatus};

/// TLS as it is in force, for every connection that begins.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    in_force: ArcSwap<Loaded>,
    failures: Failures,
    reloads: ReloadStatus,
    /// Handshakes that have begun and not ended.
    in_flight: InFlight,
}

impl Tls {
    /// When the certificate meshd shows ends, in Unix seconds.
    pub fn expiry_unix_s(&self) -> u64 {
        self.in_force.load().expiry_unix_s
    }

    /// Handshakes that came to nothing, by cause.
    pub fn failures(&self) -> FailureCounts {
        self.failures.counts()
    }

    /// How the last reload of the files went.
    pub fn last_reload(&self) -> LastReload {
        self.reloads.last()
    }

    /// What is odd about the files but no reason to stop.
    pub fn warnings(&self) -> Vec<String> {
        self.in_force.load().warnings.clone()
    }
}

/// Reads certificate, key and authorities; `None` when no TLS is wanted.
///
/// # Errors
///
/// What is wrong with the files, all of it, with the settings that name them. It is the operator's to
/// mend.
pub fn load(server: &config::Server) -> Result<Option<Arc<Tls>>, Problems> {
    let Some(files) = Files::of(server) else {
        return Ok(None);
    };
    match files.load() {
        Ok(loaded) => Ok(Some(Arc::new(Tls {
            files,
            in_force: ArcSwap::from_pointee(loaded),
            failures: Failures::default(),
            reloads: ReloadStatus::loaded(),
            in_flight: InFlight::default(),
        }))),
        Err(errors) => {
            let mut problems = Problems::default();
            problems.extend(errors.into_iter().map(|error| {
                let hint = format!("{} names this file", error.key);
                Problem::with_file(error.path.to_string_lossy(), error.cause.to_string())
                    .with_hint(hint)
            }));
            Err(problems)
        }
    }
}
