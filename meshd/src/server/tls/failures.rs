//! Handshakes that came to nothing: counted by cause, and logged now and then.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::{CertificateError, Error};
use tracing::{debug, warn};

/// How often one cause is logged as a warning; what comes in between is logged for debugging alone.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It took too long.
    Timeout,
    /// Too many were in flight.
    TooMany,
    /// The client went away in the middle: everyday life, such as a load balancer that looks whether
    /// the port is open.
    Disconnected,
    /// The client does not speak TLS.
    NotTls,
    /// The client has no certificate, and must have one.
    NoCertificate,
    /// The client's certificate is not signed by the right authority, or not valid now.
    BadCertificate,
    /// The client's certificate does not carry the wanted name.
    WrongName,
    /// The client refused: most often it does not trust meshd's certificate.
    Refused,
    /// No version, cipher or protocol (ALPN) that both know.
    Incompatible,
    /// Anything else.
    Other,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Timeout,
        Self::TooMany,
        Self::Disconnected,
        Self::NotTls,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::WrongName,
        Self::Refused,
        Self::Incompatible,
        Self::Other,
    ];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::TooMany => "too_many",
            Self::Disconnected => "disconnected",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::WrongName => "wrong_name",
            Self::Refused => "refused",
            Self::Incompatible => "incompatible",
            Self::Other => "other",
        }
    }

    /// The cause of an error of a handshake.
    pub(super) fn of(error: &io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            None => Self::Disconnected,
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(CertificateError::NotValidForName)) => Self::WrongName,
            Some(Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(Error::AlertReceived(_)) => Self::Refused,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::Incompatible,
            Some(_) => Self::Other,
        }
    }
}

/// How often each cause was met.
pub type FailureCounts = [(Cause, u64); Cause::ALL.len()];

/// Counts failures.
#[derive(Debug, Default)]
pub(super) struct Failures {
    causes: [OfCause; Cause::ALL.len()],
}

#[derive(Debug, Default)]
struct OfCause {
    count: AtomicUsize,
    warned: Mutex<Warned>,
}

/// When a cause was last warned of.
#[derive(Debug, Default)]
struct Warned {
    at: Option<Instant>,
    /// Failures since.
    unsaid: usize,
}

impl Warned {
    /// Whether to warn now; then with how many failures that were not warned of.
    fn next(&mut self, now: Instant) -> Option<usize> {
        let is_quiet = self
            .at
            .is_some_and(|at| now.duration_since(at) < WARNING_INTERVAL);
        if is_quiet {
            self.unsaid += 1;
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Failures {
    /// Counts one failure, and logs it if that is due.
    pub(super) fn add(&self, cause: Cause, peer: Option<SocketAddr>, error: &str) {
        let of_cause = &self.causes[cause as usize];
        // Relaxed: a number for people.
        of_cause.count.fetch_add(1, Ordering::Relaxed);
        let peer = peer.map(tracing::field::display);
        let warning = if cause == Cause::Disconnected {
            None
        } else {
            let mut warned = of_cause
                .warned
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            warned.next(Instant::now())
        };
        let cause = cause.name();
        match warning {
            Some(unsaid) => warn!(
                peer,
                cause,
                error,
                unsaid,
                "TLS handshake failed; the next of this cause are counted alone"
            ),
            None => debug!(peer, cause, error, "TLS handshake failed"),
        }
    }

    pub(super) fn counts(&self) -> FailureCounts {
        Cause::ALL.map(|cause| {
            let count = self.causes[cause as usize].count.load(Ordering::Relaxed);
            (cause, count as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_in_their_own_places() {
        let failures = Failures::default();
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
            failures.add(cause, None, "");
        }
        assert!(failures.counts().iter().all(|(_, count)| *count == 1));
    }

    #[test]
    fn a_cause_is_warned_of_once_a_minute() {
        let mut warned = Warned::default();
        let begin = Instant::now();
        assert_eq!(warned.next(begin), Some(0));
        assert_eq!(warned.next(begin + Duration::from_secs(1)), None);
        assert_eq!(warned.next(begin + Duration::from_secs(59)), None);
        assert_eq!(warned.next(begin + WARNING_INTERVAL), Some(2));
    }
}
