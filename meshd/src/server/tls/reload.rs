//! Bringing changed files into force, and keeping what was good when they are broken.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hivemind_shared::clock::unix_time_ms;
use tracing::{error, info, warn};

use super::Tls;
use super::files::{FileError, Loaded};
use crate::panics::PanicNotice;
use crate::reload::{Follower, LastGood, Outcome};
use crate::server::health::{Health, State};

/// Brings files into force that were read again.
#[derive(Debug)]
struct Reloader {
    tls: Arc<Tls>,
    health: Health,
    /// What was wrong the last time, so that it is logged once.
    rejected: Option<String>,
    /// Whether it was said that the certificate in force has ended.
    is_expired: bool,
}

impl Reloader {
    fn new(tls: Arc<Tls>, health: Health) -> Self {
        Self {
            tls,
            health,
            rejected: None,
            is_expired: false,
        }
    }

    /// Brings good files into force if they say something else.
    fn bring_into_force(&mut self, loaded: Loaded) -> Outcome {
        self.tls.reloads.succeeded();
        if self.rejected.take().is_some() {
            self.show();
            info!("the TLS files are good again");
        }
        if loaded.digest == self.tls.in_force.load().digest {
            return Outcome::Unchanged;
        }
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        let expiry_unix_s = loaded.expiry_unix_s;
        self.tls.in_force.store(Arc::new(loaded));
        info!(
            expiry_unix_s,
            "TLS files reloaded, in force for new connections"
        );
        Outcome::Published
    }

    fn reject(&mut self, problem: String) {
        self.tls.reloads.failed();
        if self.rejected.as_ref() == Some(&problem) {
            return;
        }
        error!(
            problem,
            "TLS files rejected, what was in force before stays"
        );
        self.rejected = Some(problem);
        self.show();
    }

    /// Notices when the certificate in force ends, and when a valid one has taken its place.
    fn check_expiry(&mut self, now_unix_s: u64) {
        let expiry_unix_s = self.tls.expiry_unix_s();
        let is_expired = expiry_unix_s < now_unix_s;
        if is_expired == self.is_expired {
            return;
        }
        self.is_expired = is_expired;
        if is_expired {
            error!(
                expiry_unix_s,
                "the certificate of the gRPC port has expired: clients refuse it"
            );
        } else {
            info!(
                expiry_unix_s,
                "the certificate of the gRPC port is valid again"
            );
        }
        self.show();
    }

    /// Tells health.
    fn show(&self) {
        let state = match &self.rejected {
            Some(problem) => State::Degraded(format!(
                "the TLS files are rejected, those from before stay: {problem}"
            )),
            None if self.is_expired => State::Degraded("the certificate has expired".to_owned()),
            None => State::Up,
        };
        self.health.update(|components| components.tls = state);
    }
}

impl LastGood for Reloader {
    type Read = Result<Loaded, Vec<FileError>>;
    const NAME: &'static str = "tls-files";

    fn paths(&self) -> Vec<PathBuf> {
        self.tls.files.paths().map(Path::to_owned).collect()
    }

    fn reading(&self) -> Box<dyn FnOnce() -> Self::Read + Send> {
        let files = self.tls.files.clone();
        Box::new(move || files.load())
    }

    fn apply(&mut self, read: Self::Read) -> Outcome {
        match read {
            Ok(loaded) => self.bring_into_force(loaded),
            Err(errors) => {
                let is_transient = errors.iter().any(FileError::is_transient);
                let problems: Vec<_> = errors.iter().map(ToString::to_string).collect();
                self.reject(problems.join("; "));
                if is_transient {
                    Outcome::Unreadable
                } else {
                    Outcome::Rejected
                }
            }
        }
    }

    fn is_overdue(&mut self, problem: &str) {
        self.reject(problem.to_owned());
    }

    fn report(&self, _: Outcome) {
        // That they are broken may have been said long ago.
        match &self.rejected {
            Some(problem) => warn!(problem, "TLS files read again as asked: they are broken"),
            None => info!("TLS files read again as asked"),
        }
    }

    fn tend(&mut self) {
        self.check_expiry(unix_time_ms() / 1_000);
    }

    fn death_notice(&self) -> PanicNotice {
        death_notice(self.health.clone())
    }
}

/// Starts to follow the files.
///
/// # Errors
///
/// When the operating system has no more threads.
pub(crate) fn start(tls: Arc<Tls>, health: Health) -> io::Result<Follower> {
    Follower::start(Reloader::new(tls, health))
}

/// Says in health when the thread dies. What is in force stays.
fn death_notice(health: Health) -> PanicNotice {
    PanicNotice::new(move || {
        health.update(|components| {
            let detail = "the thread that reads the files again died: restart meshd";
            components.tls = State::Degraded(detail.to_owned());
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics::die_with;

    #[test]
    fn a_thread_that_dies_degrades_tls() {
        let health = Health::starting();
        die_with(death_notice(health.clone()));
        assert!(matches!(health.now().tls, State::Degraded(_)));
    }
}
