//! A port that speaks HTTP, and can be left to another process without a request that is not answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::codegen::Service;
use tracing::debug;

use super::accept::retried;
use super::connections::body::{AnswerBody, RequestBody, Span};
use super::connections::io::{Protocol, Watched};
use super::connections::{Connections, Held, Member, Place, PortName};
use crate::shutdown::{Phase, StopSignal};

/// How long a connection has for its next request once the port was left. One that was accepted a moment
/// before has not been heard yet, and closing it would lose what it has asked.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of a head, and of what is read or written at once.
const BUFFER_BYTES_MAX: usize = 64 * 1_024;

/// Serves a port until it is `left` to another process, and then the connections there are until their
/// requests are answered.
pub async fn serve(
    name: PortName,
    listener: TcpListener,
    router: Router,
    connections: Arc<Connections>,
    left: StopSignal,
) {
    let mut served = JoinSet::new();
    let accepting = async {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // Reaps what has ended, so that the set does not grow for ever.
                Some(_) = served.join_next() => continue,
            };
            let Some((stream, address)) = retried(name, accepted).await else {
                continue;
            };
            let Some(place) = connections.admit(name).await else {
                continue;
            };
            let connection = Connection {
                stream,
                caller: Caller(address),
                place,
            };
            served.spawn(connection.serve(router.clone(), left.clone()));
        }
    };
    let mut is_left = left.clone();
    tokio::select! {
        () = accepting => {}
        () = is_left.reached(Phase::Draining) => {}
    }
    drop(listener);
    while served.join_next().await.is_some() {}
    // Held so long: whoever waits for the end of all signals waits for the last answer.
    drop(left);
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub SocketAddr);

/// One connection.
struct Connection {
    stream: TcpStream,
    caller: Caller,
    place: Place,
}

impl Connection {
    /// Serves it until it closes, or until its request is answered after the port was left.
    async fn serve(self, router: Router, left: StopSignal) {
        let Self {
            stream,
            caller,
            place,
        } = self;
        let member = place.member();
        let service = service_fn(|request| {
            let (router, member, left) = (router.clone(), Arc::clone(member), left.clone());
            async move { Ok::<_, Infallible>(answer(router, request, caller, &member, &left).await) }
        });
        let io = Watched::new(stream, Arc::clone(member), Protocol::Http1, Some(caller.0));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                // The connection's own time begins with the first byte, so that an idle one may stay.
                .header_read_timeout(None)
                .max_buf_size(BUFFER_BYTES_MAX)
                .serve_connection(TokioIo::new(io), service)
        );
        let mut closing = left.clone();
        let is_over = async move {
            closing.reached(Phase::Draining).await;
            tokio::time::sleep(LAST_REQUEST_TIMEOUT).await;
        };
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            cause = member.must_close() => {
                return debug!(cause = cause.name(), "connection closed");
            }
            () = is_over => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection => served,
                    _ = member.must_close() => return,
                }
            }
        };
        if let Err(error) = served {
            debug!(%error, "connection ended");
        }
    }
}

/// Answers one request.
async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    caller: Caller,
    member: &Arc<Member>,
    left: &StopSignal,
) -> Response<AnswerBody<Body>> {
    member.is_answering(true);
    let answering = Answering(Arc::clone(member));
    let Ok(held) = Held::call(member, request.headers()) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response.map(|body| AnswerBody::new(body, Held::nothing(member)));
    };
    let mut request = request.map(|body| Body::new(RequestBody::new(body, member, Span::Request)));
    request.extensions_mut().insert(ConnectInfo(caller));
    let Ok(mut response) = router.call(request).await;
    if left.has_reached(Phase::Draining) {
        // The client is told to ask for more on another connection, before this one closes under a request.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    member.used();
    drop(answering);
    response.map(|body| AnswerBody::new(body, held))
}

/// A request that is being answered, also one that is given up meanwhile.
struct Answering(Arc<Member>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.is_answering(false);
    }
}
