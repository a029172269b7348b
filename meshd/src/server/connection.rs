//! One gRPC connection, from the thread that accepts it to the worker that serves it.

use std::convert::Infallible;
use std::error::Error;
use std::future::{pending, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, warn};

use super::calls::{ConnectionError, Http2Counts};
use super::connections::io::{Protocol, Watched};
use super::connections::{Cause, Member, Place};
use super::grpc::Services;
use super::inline_calls::InlineCalls;
use super::reset_count::ResetsCounted;
use super::tls::Tls;
use crate::config;
use crate::shutdown::{Phase, StopSignal};

/// Calls one connection may have in flight. An Envoy worker that needs more opens another
/// connection, which another worker serves.
const CONCURRENT_STREAMS_MAX: u32 = 1_024;

/// Calls that were reset while they waited to be looked at, after which a connection is ended as a flood.
/// While meshd stands still, everything in flight runs into its client's time-out, and then what took its
/// place: with time-outs of 20 ms that is all of it twice in a stall of 50 ms. What is reset does not count
/// among the calls in flight any more, but takes memory until it was looked at, which is why there is a bound.
const RESET_STREAMS_MAX: u32 = 2 * CONCURRENT_STREAMS_MAX;

/// Frames on one connection in all its life that meshd itself answers with a reset, above all those of calls
/// that came, before the client knew how many may be in flight, beyond that: the head of each counts and the
/// message. As many calls may come so as may be reset.
const REFUSED_FRAMES_MAX: u32 = 2 * RESET_STREAMS_MAX;

/// Bytes of requests that may be on their way. h2 ends a connection when frames of less than 256 bytes that
/// wait to be looked at have cost half of it, each of them what is missing to 256: so much that calls in
/// flight and those that were reset may all have one.
const CONNECTION_WINDOW_BYTES: u32 = 2 * 256 * (RESET_STREAMS_MAX + CONCURRENT_STREAMS_MAX);

/// The same of one call.
const STREAM_WINDOW_BYTES: u32 = 64 * 1_024;

/// How much of one answer is taken from whoever makes it before the peer has room for it.
const SEND_BUFFER_BYTES: usize = 64 * 1_024;

/// How long a connection that has to make room may take to say goodbye.
const DISPLACED_GRACE: Duration = Duration::from_millis(250);

/// Bytes of request headers, a few hundred in practice.
const HEADER_LIST_SIZE_MAX: u32 = 16 * 1_024;

/// What all connections have in common.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// How old a connection gets, give or take a tenth, before it ends gracefully; `None` is no limit.
    pub age_max: Option<Duration>,
    /// How long calls in flight may take after that.
    pub age_grace: Duration,
    /// How long a peer may be silent before it is asked whether it is still there; `None` is for ever.
    pub keepalive_interval: Option<Duration>,
    /// How long the answer may take.
    pub keepalive_timeout: Duration,
    /// TLS on TCP, if it is wanted.
    pub tls: Option<Arc<Tls>>,
}

impl ConnectionSettings {
    /// Those of the configuration.
    pub fn new(server: &config::Server, tls: Option<Arc<Tls>>) -> Self {
        let unless_zero = |span: Duration| (!span.is_zero()).then_some(span);
        Self {
            age_max: unless_zero(server.max_connection_age),
            age_grace: server.max_connection_age_grace,
            keepalive_interval: unless_zero(server.keepalive_interval),
            keepalive_timeout: server.keepalive_timeout,
            tls,
        }
    }
}

/// A connection that was accepted and not yet bound to any runtime.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// Counts the connection as open with its worker for as long as it lives.
    pub(super) open: OpenCount,
    /// Its place among all.
    pub(super) place: Place,
}

/// What a connection runs over.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Who is at the other end; nobody with an address on a Unix socket.
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }
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
    /// in flight are finished after a stop was asked for or the connection has become too old.
    pub(super) async fn serve(
        self,
        services: Services,
        settings: &ConnectionSettings,
        stop: StopSignal,
    ) {
        let Self {
            stream,
            open,
            place,
        } = self;
        let member = place.member();
        let peer = stream.peer();
        let worker = services.rate_limit().clone();
        let served = match stream {
            Stream::Tcp(stream) => match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => match &settings.tls {
                    None => serve_io(stream, peer, member, services, settings, stop).await,
                    Some(tls) => {
                        // It has times of its own.
                        member.has_head();
                        let handshake = tls.shake_hands(stream);
                        let stream = tokio::select! {
                            stream = handshake => stream,
                            _ = member.must_close() => None,
                        };
                        let Some(stream) = stream else { return };
                        member.owes_head();
                        serve_io(stream, peer, member, services, settings, stop).await
                    }
                },
                Err(error) => return debug!(%error, "connection lost before it was served"),
            },
            Stream::Unix(stream) => match tokio::net::UnixStream::from_std(stream) {
                Ok(stream) => serve_io(stream, peer, member, services, settings, stop).await,
                Err(error) => return debug!(%error, "connection lost before it was served"),
            },
        };
        if let Err(error) = served {
            if member.speaks_other_protocol() {
                debug!(?peer, %error, "connection ended");
            } else {
                note_end(&error, peer, worker.counts().http2());
            }
        }
        drop((open, place));
    }
}

/// Counts and logs the end of a connection.
fn note_end(error: &hyper::Error, peer: Option<SocketAddr>, counts: &Http2Counts) {
    let cause = ConnectionError::of(error);
    // Of many, ever fewer: the first, the second, the fourth.
    let is_shown = cause.is_some_and(|cause| (counts.ended(cause) + 1).is_power_of_two());
    let cause = cause.map(ConnectionError::name);
    let error = error.source().unwrap_or(error);
    if is_shown {
        warn!(?peer, cause, %error, "a gRPC connection was ended: its client does what none should");
    } else {
        // Peers that go away in the middle are everyday life, not worth a warning.
        debug!(?peer, cause, %error, "connection ended");
    }
}

/// Speaks HTTP/2 over `io`.
async fn serve_io<I>(
    io: I,
    peer: Option<SocketAddr>,
    member: &Arc<Member>,
    services: Services,
    settings: &ConnectionSettings,
    mut stop: StopSignal,
) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let calls = InlineCalls::default();
    let mut builder = http2::Builder::new(calls.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX as usize)
        .max_local_error_reset_streams(REFUSED_FRAMES_MAX as usize)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_LIST_SIZE_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout)
        // No client of a gRPC service reads it, and it would be made for every call.
        .auto_date_header(false);
    let io = ResetsCounted::new(io, services.rate_limit().clone());
    let caller = Arc::clone(member);
    let service = service_fn(move |request| {
        let (services, caller) = (services.clone(), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(services.call(request, &caller).await) }
    });
    let io = Watched::new(io, Arc::clone(member), Protocol::Http2, peer);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let age_max = settings.age_max.map(|age| jittered(age, random_u32()));
    let grace = tokio::select! {
        // First what happens all the time, without drawing lots.
        biased;
        result = poll_fn(|context| calls.poll(connection.as_mut(), context)) => return result,
        // What is left of the stop bounds it.
        () = stop.reached(Phase::Draining) => None,
        () = elapsed(age_max) => Some(settings.age_grace),
        cause = member.must_close() => match goodbye(cause, member) {
            Some(grace) => Some(grace),
            None => return Ok(()),
        },
    };
    // GOAWAY: calls in flight finish, the next ones go to another connection.
    member.leave();
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        result = poll_fn(|context| calls.poll(connection.as_mut(), context)) => result,
        () = elapsed(grace) => {
            debug!("connection closed: its calls have not finished in time");
            Ok(())
        }
        () = closed_at_once(member) => Ok(()),
    }
}

/// How long a connection that has to close may take for its calls in flight; `None` where it closes at once.
fn goodbye(cause: Cause, member: &Member) -> Option<Duration> {
    debug!(cause = cause.name(), "connection closed");
    (cause == Cause::Displaced && member.was_used()).then_some(DISPLACED_GRACE)
}

/// Waits until a connection that is on its way out has to close at once.
async fn closed_at_once(member: &Member) {
    if goodbye(member.must_close().await, member).is_some() {
        pending::<()>().await;
    }
}

/// Waits that long; for ever when there is no end.
async fn elapsed(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => pending().await,
    }
}

/// The age, longer or shorter by up to a tenth: clients that came together do not all leave together.
fn jittered(age: Duration, random: u32) -> Duration {
    let share = 0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX);
    // No span of the configuration is long enough to overflow.
    age.mul_f64(share)
}

/// A number that differs from connection to connection; nothing is lost when somebody guesses it.
fn random_u32() -> u32 {
    // The upper half; lossless.
    u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_both_ways() {
        let age = Duration::from_secs(1_000);
        assert_eq!(jittered(age, 0), Duration::from_secs(900));
        assert_eq!(jittered(age, u32::MAX), Duration::from_secs(1_100));
        assert_ne!(random_u32(), random_u32());
    }
}
