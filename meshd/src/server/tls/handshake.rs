//! The handshake of one connection, on the worker that will serve it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Cause, Tls};

/// How long a client may take to say what it wants: an honest one does so at once.
const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a handshake may take: an honest one takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

impl Tls {
    /// Shakes hands with a client; `None` when that failed, which is counted and logged.
    pub(in crate::server) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Option<TlsStream<TcpStream>> {
        let peer = stream.peer_addr().ok();
        let failed = |cause, error: &str| {
            self.failures.add(cause, peer, error);
            None
        };
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let place = self.in_flight.begin(address);
        let handshake = async {
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
            let start = match timeout(CLIENT_HELLO_TIMEOUT, hello).await {
                Ok(start) => start?,
                Err(_) => return Ok(None),
            };
            place.was_heard();
            let config = self.in_force.load().config.clone();
            start.into_stream(config).await.map(Some)
        };
        tokio::select! {
            done = timeout(HANDSHAKE_TIMEOUT, handshake) => match done {
                Ok(Ok(Some(stream))) => Some(stream),
                Ok(Err(error)) => failed(Cause::of(&error), &error.to_string()),
                Ok(Ok(None)) | Err(_) => failed(Cause::Timeout, "the client took too long"),
            },
            () = place.gives_way() => {
                failed(Cause::TooMany, "too many handshakes are in flight: this one was the oldest")
            }
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
        assert_eq!(tls.in_flight.len(), 0);
    }
}
