//! How meshd stops: the phases everyone follows, and the signals that begin them.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How far the stop has come; phases only ever advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No stop was asked for.
    Running,
    /// No new connections and calls; those in flight finish.
    Draining,
    /// Whatever is left is cut off.
    Ended,
}

/// Moves everyone who holds a [`StopSignal`] from phase to phase.
#[derive(Debug)]
pub struct StopSwitch(watch::Sender<Phase>);

/// Tells its holder when to stop; dropping it says that the holder has.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<Phase>);

impl StopSwitch {
    /// A switch that stands at [`Phase::Running`].
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }

    /// A signal that follows this switch.
    pub fn signal(&self) -> StopSignal {
        StopSignal(self.0.subscribe())
    }

    /// Advances to `phase`, unless it is already that far.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let advances = *current < phase;
            if advances {
                *current = phase;
            }
            advances
        });
    }

    /// Waits until every signal is dropped.
    pub async fn all_stopped(&self) {
        self.0.closed().await;
    }
}

impl Default for StopSwitch {
    fn default() -> Self {
        Self::new()
    }
}

impl StopSignal {
    /// Whether the stop has come as far as `phase`.
    pub fn has_reached(&self, phase: Phase) -> bool {
        *self.0.borrow() >= phase
    }

    /// Waits until the stop has come as far as `phase`.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the switch is gone, and with it the daemon: that is the end as well.
        let _ = self.0.wait_for(|current| *current >= phase).await;
    }
}

/// The signals of the operating system that concern a daemon.
#[derive(Debug)]
pub struct OsSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT: stop.
    Stop(&'static str),
    /// SIGHUP: read rules, keys and certificates again.
    Reload,
}

impl OsSignals {
    /// Takes the signals over; from here on none of them ends the process by itself.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a handler. Must be called inside a runtime.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next request.
    pub async fn next(&mut self) -> Request {
        // A signal stream ends only with its runtime, so `Some` is all there is to wait for.
        tokio::select! {
            Some(()) = self.interrupt.recv() => Request::Stop("SIGINT"),
            Some(()) = self.terminate.recv() => Request::Stop("SIGTERM"),
            Some(()) = self.hangup.recv() => Request::Reload,
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_advance() {
        let switch = StopSwitch::new();
        let mut signal = switch.signal();
        switch.advance(Phase::Ended);
        switch.advance(Phase::Draining);
        signal.reached(Phase::Ended).await;
    }

    #[tokio::test]
    async fn a_switch_knows_when_everyone_has_stopped() {
        let switch = StopSwitch::new();
        let mut signal = switch.signal();
        let holder = tokio::spawn(async move { signal.reached(Phase::Draining).await });
        switch.advance(Phase::Draining);
        switch.all_stopped().await;
        holder.await.unwrap();
    }

    #[tokio::test]
    async fn a_signal_whose_switch_is_gone_has_reached_the_end() {
        let switch = StopSwitch::new();
        let mut signal = switch.signal();
        drop(switch);
        signal.reached(Phase::Ended).await;
    }
}
