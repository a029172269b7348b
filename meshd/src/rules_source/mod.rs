//! Rules from files: read at the start, watched, and brought into force again when they change.

mod reload;
mod watch;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;

pub use self::reload::{
    LoadedRules, Outcome, Reloader, RulesState, RulesStatus, load, log_problems,
};
pub use self::watch::Watch;

/// Asks for the rules to be read again at once, changed or not.
#[derive(Clone, Copy, Debug)]
pub struct Kick;

/// Starts the thread that reloads rules when their files change or it is kicked, until `kicks`
/// disconnects.
///
/// # Errors
///
/// When the operating system has no more threads.
pub fn start(reloader: Reloader, kicks: Receiver<Kick>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("rules".to_owned())
        .spawn(move || follow(reloader, &kicks))
}

fn follow(mut reloader: Reloader, kicks: &Receiver<Kick>) {
    let mut watch = Watch::new(reloader.path().to_owned());
    loop {
        match kicks.recv_timeout(watch.interval()) {
            Ok(Kick) => {
                tracing::info!(outcome = ?reloader.reload(), "rules read again as asked");
            }
            Err(RecvTimeoutError::Timeout) => {
                if watch.look() {
                    reloader.reload();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
