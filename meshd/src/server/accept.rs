//! The accept loop of the gRPC listeners: one place that sees every connection, and so can deal
//! them evenly.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::connection::Stream;
use super::workers::Workers;
use crate::shutdown::{Phase, StopSignal};

/// How long accepting rests after it failed: the usual cause is that file descriptors have run out,
/// and trying again at once would only burn the core others need to finish.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The listeners of the Rate Limit Service, bound to the runtime that accepts.
#[derive(Debug)]
pub struct GrpcListeners {
    tcp: tokio::net::TcpListener,
    unix: Option<tokio::net::UnixListener>,
}

impl GrpcListeners {
    /// Takes over bound listeners. Must be called inside a runtime.
    ///
    /// # Errors
    ///
    /// When the operating system has no more file descriptors.
    pub fn new(tcp: TcpListener, unix: Option<UnixListener>) -> io::Result<Self> {
        Ok(Self {
            tcp: tokio::net::TcpListener::from_std(tcp)?,
            unix: unix.map(tokio::net::UnixListener::from_std).transpose()?,
        })
    }

    /// Deals connections to `workers` until a stop is asked for, or the listeners are `left` to another
    /// process; then closes them.
    pub async fn accept(self, workers: Arc<Workers>, mut stop: StopSignal, mut left: StopSignal) {
        loop {
            let accepted = tokio::select! {
                accepted = self.next() => accepted,
                () = stop.reached(Phase::Draining) => return,
                () = left.reached(Phase::Draining) => return,
            };
            match accepted {
                Ok(stream) => workers.deal(stream),
                Err(error) if is_about_one_connection(&error) => {
                    debug!(%error, "connection lost before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "cannot accept connections, trying again");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// The next connection, on whichever listener.
    async fn next(&self) -> io::Result<Stream> {
        let unix = async {
            match &self.unix {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => {
                let (stream, _) = accepted?;
                // A call is one small frame each way: waiting to fill a segment only adds latency.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream.into_std()?))
            }
            accepted = unix => {
                let (stream, _) = accepted?;
                Ok(Stream::Unix(stream.into_std()?))
            }
        }
    }
}

/// Whether accepting failed for this connection alone, because its peer is gone already.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::InvalidInput // set_nodelay on a socket whose peer has reset it
    )
}
