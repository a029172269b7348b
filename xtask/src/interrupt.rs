//! Ctrl-C and SIGTERM, met in a way that leaves nothing running.

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Waits until this process is asked to end.
///
/// # Errors
///
/// When the system does not let us wait for signals.
pub async fn asked_to_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// Does `work`, unless this process is asked to end before it is done. Then the work is dropped,
/// and with it whatever processes and files it has.
///
/// # Errors
///
/// Those of `work`, and one that says that it was interrupted.
pub async fn unless<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        asked = asked_to_end() => {
            asked?;
            bail!("interrupted")
        }
    }
}
