//! A port that speaks HTTP, and can be left to another process without a request that is not answered.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};

use crate::shutdown::{Phase, StopSignal};

/// How long a connection has for its next request once the port was left. One that was accepted a moment
/// before has not been heard yet, and closing it would lose what it has asked.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves a port until it is `left` to another process, and then the connections there are until their
/// requests are answered.
pub async fn serve(listener: TcpListener, router: Router, left: StopSignal) {
    let mut closing = left.clone();
    let is_over = async move {
        closing.reached(Phase::Draining).await;
        tokio::time::sleep(LAST_REQUEST_TIMEOUT).await;
    };
    let port = Port {
        listener: Some(listener),
        left: left.clone(),
    };
    let answering = left.clone();
    let router = router.layer(map_response(move |response: Response| {
        let leaves = answering.has_reached(Phase::Draining);
        async move {
            if leaves {
                closing_after(response)
            } else {
                response
            }
        }
    }));
    let service = router.into_make_service_with_connect_info::<Caller>();
    // It tells no errors.
    let _ = axum::serve(port, service)
        .with_graceful_shutdown(is_over)
        .await;
    // Held so long: whoever waits for the end of all signals waits for the last answer.
    drop(left);
}

/// Tells the client to ask for more on another connection, before this one closes under a request.
fn closing_after(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub SocketAddr);

impl Connected<IncomingStream<'_, Port>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Port>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A listener that closes as soon as it is left, with connections still served.
struct Port {
    listener: Option<TcpListener>,
    left: StopSignal,
}

impl Listener for Port {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if let Some(listener) = &mut self.listener {
            tokio::select! {
                accepted = Listener::accept(listener) => return accepted,
                () = self.left.reached(Phase::Draining) => {}
            }
        }
        self.listener = None;
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
