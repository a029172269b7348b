//! One HTTP request over a connection of its own, for admin and health endpoints.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// The body as text; bytes that are none become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens there, or not any more.
    #[error("no connection to {address}: {source}")]
    Connect {
        /// Whom we tried to reach.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The request cannot be written down.
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    /// The connection broke, or what came back is not HTTP.
    #[error("no whole answer from {address}: {source}")]
    Exchange {
        /// Whom we asked.
        address: SocketAddr,
        /// What went wrong.
        source: hyper::Error,
    },
    /// No answer within ten seconds.
    #[error("no answer from {address} within {} s", TIMEOUT.as_secs())]
    TimedOut {
        /// Whom we asked.
        address: SocketAddr,
    },
}

/// Sends a GET.
///
/// # Errors
///
/// [`HttpError`]; a status that means failure is an answer, not an error.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response, HttpError> {
    send(address, Method::GET, path, &[]).await
}

/// Sends a GET with these headers.
///
/// # Errors
///
/// [`HttpError`].
pub async fn get_with(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response, HttpError> {
    send(address, Method::GET, path, headers).await
}

/// Sends a POST without a body, as Envoy's admin endpoint wants for everything that acts.
///
/// # Errors
///
/// [`HttpError`].
pub async fn post(address: SocketAddr, path: &str) -> Result<Response, HttpError> {
    send(address, Method::POST, path, &[]).await
}

async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response, HttpError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default())?;
    timeout(TIMEOUT, exchange(address, request))
        .await
        .map_err(|_| HttpError::TimedOut { address })?
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Response, HttpError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| HttpError::Connect { address, source })?;
    let broken = |source| HttpError::Exchange { address, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Both halves have to be driven: the sender only queues. Dropping the task closes the socket.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(broken)?.to_bytes();
    driver.abort();
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body,
    })
}
