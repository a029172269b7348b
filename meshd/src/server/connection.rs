//! One gRPC connection, from the thread that accepts it to the worker that serves it.

use std::convert::Infallible;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::grpc::Services;
use crate::shutdown::{Phase, StopSignal};

/// Calls one connection may have in flight. An Envoy worker that needs more opens another
/// connection, which another worker serves.
const CONCURRENT_STREAMS_MAX: u32 = 1_024;

/// Bytes of request headers, a few hundred in practice.
const HEADER_LIST_SIZE_MAX: u32 = 16 * 1_024;

/// How long a connection may be silent before it is asked whether anyone is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long the answer to that may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that was accepted and not yet bound to any runtime.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// Counts the connection as open with its worker for as long as it lives.
    pub(super) open: OpenCount,
}

/// What a connection runs over.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection's share in its worker's number of open connections.
#[derive(Debug)]
pub(super) struct OpenCount(Arc<AtomicUsize>);

impl OpenCount {
    /// Counts one more, until dropped.
    pub(super) fn add(count: &Arc<AtomicUsize>) -> Self {
        // Relaxed: the number only guides which worker is dealt the next connection.
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Serves the connection on the runtime of the calling task until it closes, or until the calls
    /// in flight are finished after a stop was asked for.
    pub(super) async fn serve(self, services: Services, stop: StopSignal) {
        let Self { stream, open } = self;
        let served = match stream {
            Stream::Tcp(stream) => match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => serve_io(stream, services, stop).await,
                Err(error) => return debug!(%error, "connection lost before it was served"),
            },
            Stream::Unix(stream) => match tokio::net::UnixStream::from_std(stream) {
                Ok(stream) => serve_io(stream, services, stop).await,
                Err(error) => return debug!(%error, "connection lost before it was served"),
            },
        };
        if let Err(error) = served {
            // Peers that go away in the middle are everyday life, not worth a warning.
            debug!(%error, "connection ended");
        }
        drop(open);
    }
}

/// Speaks HTTP/2 over `io`.
async fn serve_io<I>(io: I, services: Services, mut stop: StopSignal) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_SIZE_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        // No client of a gRPC service reads it, and it would be made for every call.
        .auto_date_header(false);
    let service = service_fn(move |request| {
        let services = services.clone();
        async move { Ok::<_, Infallible>(services.call(request).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        result = connection.as_mut() => result,
        () = stop.reached(Phase::Draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
