//! What became of calls and connections at the level of HTTP/2.

use std::error::Error;

use hivemind_shared::sync::{AtomicWord, Ordering};

/// Why meshd ended a connection with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// The client had more calls reset, more refused, or more small frames in the queue than fit in it.
    ExcessiveLoad,
    /// It broke the protocol.
    Protocol,
}

impl ConnectionError {
    /// All of them, in order.
    pub const ALL: [Self; 2] = [Self::ExcessiveLoad, Self::Protocol];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExcessiveLoad => "excessive_load",
            Self::Protocol => "protocol",
        }
    }

    /// What the error of a connection says; none when it was the client's decision, or the network's.
    pub(in crate::server) fn of(error: &hyper::Error) -> Option<Self> {
        let error = error.source()?.downcast_ref::<h2::Error>()?;
        if !error.is_go_away() || !error.is_library() {
            return None;
        }
        Some(match error.reason() {
            Some(h2::Reason::ENHANCE_YOUR_CALM) => Self::ExcessiveLoad,
            _ => Self::Protocol,
        })
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct Http2Counts {
    resets: AtomicWord,
    errors: [AtomicWord; ConnectionError::ALL.len()],
}

impl Http2Counts {
    /// Clients reset so many calls.
    pub(in crate::server) fn reset(&self, calls: usize) {
        // Relaxed, here and below: a number that is only shown.
        self.resets.fetch_add(calls as u64, Ordering::Relaxed);
    }

    /// meshd ended a connection: how many it had ended for this cause before.
    pub(in crate::server) fn ended(&self, cause: ConnectionError) -> u64 {
        self.errors[cause as usize].fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self, cause: ConnectionError) -> u64 {
        self.errors[cause as usize].load(Ordering::Relaxed)
    }
}
