//! The service behind Envoy: it answers every request with 200.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// How long to wait after a connection that could not be accepted.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A small HTTP/1.1 server in this process, stopped when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Upstream {
    /// Starts it on a free port of the loopback address.
    ///
    /// # Errors
    ///
    /// When the system has no port to give.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let answered = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(listener, Arc::clone(&answered))).abort_handle();
        Ok(Self {
            address,
            answered,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have reached it: those that nothing in front of it refused.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, answered: Arc<AtomicUsize>) {
    // The connections end with this task, because the set aborts what it holds when it goes.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&answered)));
                }
                // Out of file descriptors, most likely: give connections time to end.
                Err(_) => sleep(RETRY_INTERVAL).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, answered: Arc<AtomicUsize>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(async |_: Request<hyper::body::Incoming>| {
        answered.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
    });
    // A connection that breaks is its client's business.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;

    #[tokio::test]
    async fn every_request_is_answered_and_counted() {
        let upstream = Upstream::start().await.unwrap();
        for _ in 0..3 {
            assert_eq!(
                http::get(upstream.address(), "/any").await.unwrap().text(),
                "hello\n"
            );
        }
        assert_eq!(upstream.answered(), 3);
    }
}
