//! The handshake of one connection, on the worker that will serve it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Cause, Tls};

/// How long a handshake may take: an honest one takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes in flight, on all workers together: more than Envoys come at once after a restart, and
/// little enough memory (some 40 KiB each) for those that never finish.
const IN_FLIGHT_MAX: usize = 1_024;

/// A handshake's share in the number of those in flight.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    /// Takes a share, unless there are none left.
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        // Relaxed: the number guards nothing but itself.
        let share = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < IN_FLIGHT_MAX).then_some(share)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tls {
    /// Shakes hands with a client; `None` when that came to nothing, which is counted and logged.
    pub(in crate::server) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Option<TlsStream<TcpStream>> {
        let peer = stream.peer_addr().ok();
        let failed = |cause, error: &str| {
            self.failures.add(cause, peer, error);
            None
        };
        let Some(_in_flight) = InFlight::begin(&self.in_flight) else {
            return failed(Cause::TooMany, "too many handshakes are in flight");
        };
        let config = self.in_force.load().config.clone();
        let accept = TlsAcceptor::from(config).accept(stream);
        match timeout(HANDSHAKE_TIMEOUT, accept).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => failed(Cause::of(&error), &error.to_string()),
            Err(_) => failed(Cause::Timeout, "the client took too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let signed = rcgen::generate_simple_self_signed(["here".to_owned()]).unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        std::fs::write(&cert, signed.cert.pem()).unwrap();
        std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
        let mut server = crate::config::Config::with_node_name("here".to_owned()).server;
        (server.tls_cert_file, server.tls_key_file) = (Some(cert), Some(key));
        let tls = super::super::load(&server).unwrap().unwrap();

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(tls.shake_hands(accepted).await.is_none());
        assert_eq!(tls.failures()[Cause::Timeout as usize], (Cause::Timeout, 1));
        assert_eq!(tls.in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn handshakes_in_flight_are_bounded() {
        let count = AtomicUsize::new(0);
        let all: Vec<_> = (0..IN_FLIGHT_MAX)
            .map(|_| InFlight::begin(&count).unwrap())
            .collect();
        assert!(InFlight::begin(&count).is_none());
        drop(all);
        assert!(InFlight::begin(&count).is_some());
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}
