//! Bringing changed files into force, and keeping what was good when they are broken.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;

use tracing::{error, info, warn};

use super::Tls;
use crate::rules_source::{Kick, Watch};
use crate::server::health::{Health, State};

/// Reads the files again.
#[derive(Debug)]
struct Reloader {
    tls: Arc<Tls>,
    health: Health,
    /// What was wrong the last time, so that it is logged once.
    rejected: Option<String>,
}

impl Reloader {
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
            self.health.update(|components| components.tls = State::Up);
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
        let detail = format!("the TLS files are rejected, those from before stay: {problem}");
        self.health
            .update(|components| components.tls = State::Degraded(detail));
        self.rejected = Some(problem);
    }
}

/// Starts the thread that reloads the files when they change or it is kicked, until `kicks` disconnects.
///
/// # Errors
///
/// When the operating system has no more threads.
pub fn start(tls: Arc<Tls>, health: Health, kicks: Receiver<Kick>) -> io::Result<JoinHandle<()>> {
    let reloader = Reloader {
        tls,
        health,
        rejected: None,
    };
    std::thread::Builder::new()
        .name("tls-files".to_owned())
        .spawn(move || follow(reloader, &kicks))
}

fn follow(mut reloader: Reloader, kicks: &Receiver<Kick>) {
    let paths = reloader.tls.files.paths().map(Path::to_owned);
    let mut watches: Vec<Watch> = paths.map(Watch::new).collect();
    loop {
        let interval = watches.iter().map(Watch::interval).min();
        match kicks.recv_timeout(interval.unwrap_or_default()) {
            Ok(Kick) => reloader.reload(),
            Err(RecvTimeoutError::Timeout) => {
                // Every one is looked at, whatever the others say.
                let changed = watches.iter_mut().map(Watch::look);
                if changed.fold(false, |any, changed| any | changed) {
                    reloader.reload();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
