//! The accept loops of the gRPC listeners: one place that sees every connection, and so can deal
//! them evenly.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::connection::Stream;
use super::connections::{Connections, PortName};
use super::workers::Workers;
use crate::shutdown::{Phase, StopSignal};
use crate::telemetry::throttle::SharedThrottle;

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
    pub async fn accept(
        self,
        workers: Arc<Workers>,
        connections: Arc<Connections>,
        mut stop: StopSignal,
        mut left: StopSignal,
    ) {
        let over_tcp = async {
            loop {
                let Some((stream, _)) = retried(PortName::Grpc, self.tcp.accept().await).await
                else {
                    continue;
                };
                let Some(place) = connections.admit(PortName::Grpc).await else {
                    continue;
                };
                match ready_tcp(stream) {
                    Ok(stream) => workers.deal(stream, place),
                    Err(error) => debug!(%error, "connection lost before it was dealt"),
                }
            }
        };
        let over_unix = async {
            let Some(listener) = &self.unix else {
                return std::future::pending().await;
            };
            loop {
                let accepted = listener.accept().await;
                let Some((stream, _)) = retried(PortName::GrpcSocket, accepted).await else {
                    continue;
                };
                let Some(place) = connections.admit(PortName::GrpcSocket).await else {
                    continue;
                };
                match stream.into_std() {
                    Ok(stream) => workers.deal(Stream::Unix(stream), place),
                    Err(error) => debug!(%error, "connection lost before it was dealt"),
                }
            }
        };
        tokio::select! {
            () = over_tcp => {}
            () = over_unix => {}
            () = stop.reached(Phase::Draining) => {}
            () = left.reached(Phase::Draining) => {}
        }
    }
}

fn ready_tcp(stream: tokio::net::TcpStream) -> io::Result<Stream> {
    // A call is one small frame each way: waiting to fill a segment only adds latency.
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream.into_std()?))
}

/// What was accepted; `None` after a pause, or at once if only that one connection is gone.
pub(super) async fn retried<T>(port: PortName, accepted: io::Result<T>) -> Option<T> {
    /// For all ports: they run out of the same.
    static WARNINGS: SharedThrottle = SharedThrottle::new();

    match accepted {
        Ok(accepted) => return Some(accepted),
        Err(error) if is_about_one_connection(&error) => {
            debug!(%error, "connection lost before it was accepted");
        }
        Err(error) => {
            if let Some(suppressed) = WARNINGS.next() {
                let port = port.name();
                warn!(
                    port,
                    %error,
                    suppressed,
                    "cannot accept connections, trying again; once a minute is logged"
                );
            }
            tokio::time::sleep(ERROR_PAUSE).await;
        }
    }
    None
}

/// Whether accepting failed for this connection alone, because its peer is gone already.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
