//! Handshakes that came to nothing: counted by cause, and logged now and then.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{CertificateError, Error};
use tracing::{debug, warn};

use crate::telemetry::throttle::SharedThrottle;

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It took too long.
    Timeout,
    /// Too many were in flight, and it was the oldest.
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
    warnings: SharedThrottle,
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
            of_cause.warnings.next()
        };
        let cause = cause.name();
        match warning {
            Some(suppressed) => warn!(
                peer,
                cause,
                error,
                suppressed,
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
}
