//! Bringing changed files into force, and keeping what was good when they are broken.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;

use hivemind_shared::clock::unix_time_ms;
use tracing::{error, info, warn};

use super::Tls;
use crate::panics::PanicNotice;
use crate::rules_source::{Kick, Watch};
use crate::server::health::{Health, State};

/// Reads the files again.
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

    /// Reads the files, and brings them into force if they say something else and are good.
    fn reload(&mut self) {
        let loaded = match self.tls.files.load() {
            Ok(loaded) => loaded,
            Err(errors) => {
                let problems: Vec<_> = errors.iter().map(ToString::to_string).collect();
                return self.reject(problems.join("; "));
            }
        };
        self.tls.reloads.succeeded();
        if self.rejected.take().is_some() {
            self.show();
            info!("the TLS files are good again");
        }
        if loaded.digest == self.tls.in_force.load().digest {
            return;
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

/// Starts the thread that reloads the files when they change or it is kicked, until `kicks` disconnects.
///
/// # Errors
///
/// When the operating system has no more threads.
pub fn start(tls: Arc<Tls>, health: Health, kicks: Receiver<Kick>) -> io::Result<JoinHandle<()>> {
    let reloader = Reloader::new(tls, health.clone());
    let notice = death_notice(health);
    std::thread::Builder::new()
        .name("tls-files".to_owned())
        .spawn(move || {
            let _notice = notice;
            follow(reloader, &kicks);
        })
}

fn follow(mut reloader: Reloader, kicks: &Receiver<Kick>) {
    let paths = reloader.tls.files.paths().map(Path::to_owned);
    let mut watches: Vec<Watch> = paths.map(Watch::new).collect();
    loop {
        let interval = watches.iter().map(Watch::interval).min();
        match kicks.recv_timeout(interval.unwrap_or_default()) {
            Ok(Kick) => {
                reloader.reload();
                // That they are broken may have been said long ago.
                match &reloader.rejected {
                    Some(problem) => {
                        warn!(problem, "TLS files read again as asked: they are broken");
                    }
                    None => info!("TLS files read again as asked"),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                // Every one is looked at, whatever the others say.
                let changed = watches.iter_mut().map(Watch::look);
                if changed.fold(false, |any, changed| any | changed) {
                    reloader.reload();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        reloader.check_expiry(unix_time_ms() / 1_000);
    }
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
