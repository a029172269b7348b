//! The connections of a load, and what they have in common.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use super::{Load, Report};

/// How long one request may take before it counts as failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection rests after a failure, so that a dead server is not a busy loop.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(1);

/// What the connections of a load have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Requests that are still to be sent.
    pub(super) unsent: AtomicUsize,
    /// Requests that have been answered.
    pub(super) answered: AtomicUsize,
    /// Those of them that said that a limit is reached.
    pub(super) limited: AtomicUsize,
    interval: Duration,
    /// When the next request is due.
    next: Mutex<Instant>,
}

impl Shared {
    pub(super) fn new(requests: usize, interval: Duration) -> Self {
        Self {
            unsent: AtomicUsize::new(requests),
            answered: AtomicUsize::new(0),
            limited: AtomicUsize::new(0),
            interval,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until it is time for the next request.
    async fn pace(&self) {
        if self.interval.is_zero() {
            return;
        }
        let due = {
            // A plain time: nobody leaves it half written.
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let due = *next;
            *next += self.interval;
            due
        };
        sleep_until(due.into()).await;
    }

    /// Takes one of the requests that are still to be sent.
    fn take(&self) -> bool {
        let less = |unsent: usize| unsent.checked_sub(1);
        self.unsent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

type Sender = SendRequest<Empty<Bytes>>;

/// One connection, kept alive as long as it is good.
pub(super) struct Connection {
    target: SocketAddr,
    headers: HeaderMap,
    shared: Arc<Shared>,
    /// Set while there is a connection that may still be good.
    sender: Option<Sender>,
}

impl Connection {
    pub(super) fn new(load: &Load, shared: Arc<Shared>) -> Self {
        Self {
            target: load.target,
            headers: load.headers.clone(),
            shared,
            sender: None,
        }
    }

    /// Sends until nothing is left to be sent.
    pub(super) async fn run(mut self) -> Report {
        let mut report = Report::default();
        while self.shared.take() {
            self.shared.pace().await;
            match timeout(TIMEOUT, self.exchange()).await {
                Ok(Some(status)) => {
                    *report.statuses.entry(status.as_u16()).or_default() += 1;
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                    if status == StatusCode::TOO_MANY_REQUESTS {
                        self.shared.limited.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(None) | Err(_) => {
                    report.failed += 1;
                    self.sender = None;
                    sleep(REST_AFTER_FAILURE).await;
                }
            }
        }
        report
    }

    /// One request and its answer, the whole body read. None when there was no whole answer.
    async fn exchange(&mut self) -> Option<StatusCode> {
        // A server may close a connection between two requests; that is no failure of either.
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        let sender = match &mut self.sender {
            Some(sender) => sender,
            none => none.insert(connect(self.target).await?),
        };
        let mut request = Request::new(Empty::new());
        request.headers_mut().clone_from(&self.headers);
        let response = sender.send_request(request).await.ok()?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.ok()?;
        }
        Some(status)
    }
}

async fn connect(target: SocketAddr) -> Option<Sender> {
    let stream = TcpStream::connect(target).await.ok()?;
    // Without this, small requests wait for the acknowledgement of the one before.
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // Ends by itself when the sender is dropped.
    tokio::spawn(connection);
    Some(sender)
}
