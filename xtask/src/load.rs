//! A load client: many requests over a few connections that are kept alive, answers counted by
//! status.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderName, HeaderValue, InvalidHeaderName, InvalidHeaderValue};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long one request may take before it counts as failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection rests after a failure, so that a dead server is not a busy loop.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(1);

/// What to send, and to whom.
#[derive(Clone, Debug)]
pub struct Load {
    target: SocketAddr,
    connections: usize,
    headers: HeaderMap,
}

/// A header of a load is not one.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Its name.
    #[error("not a header name: {0}")]
    Name(#[from] InvalidHeaderName),
    /// Its value.
    #[error("not a header value: {0}")]
    Value(#[from] InvalidHeaderValue),
}

impl Load {
    /// GET requests to `target`, over one connection.
    pub fn new(target: SocketAddr) -> Self {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        Self {
            target,
            connections: 1,
            headers,
        }
    }

    /// Sends over this many connections at once, one request each at a time.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sends this header with each request.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] when it cannot stand in a request.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HeaderError> {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        self.headers.insert(name, HeaderValue::from_str(value)?);
        Ok(self)
    }

    /// Sends `requests` requests and waits for every answer.
    pub async fn run(&self, requests: usize) -> Report {
        self.start(requests).finish().await
    }

    /// Begins to send `requests` requests ([`usize::MAX`]: until it is stopped).
    pub fn start(&self, requests: usize) -> Running {
        let shared = Arc::new(Shared {
            unsent: AtomicUsize::new(requests),
            answered: AtomicUsize::new(0),
        });
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            connections.spawn(Connection::new(self, Arc::clone(&shared)).run());
        }
        Running {
            shared,
            connections,
            begin: Instant::now(),
        }
    }
}

/// A load under way; dropping it breaks it off.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    connections: JoinSet<Report>,
    begin: Instant,
}

impl Running {
    /// How many requests have been answered so far, whatever the answer.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Sends no more, and waits for the answers that are due.
    pub async fn stop(self) -> Report {
        self.shared.unsent.store(0, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until everything is sent and answered.
    pub async fn finish(mut self) -> Report {
        let mut total = Report::default();
        while let Some(report) = self.connections.join_next().await {
            // A task that panicked is a bug in here; its requests must not look like successes.
            total.add(&report.unwrap_or_else(|_| Report {
                failed: 1,
                ..Report::default()
            }));
        }
        total.elapsed = self.begin.elapsed();
        total
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Answers, by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Requests without an answer: no connection, or one that broke.
    pub failed: usize,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Report {
    /// Answers with this status.
    pub fn with_status(&self, status: StatusCode) -> usize {
        self.statuses.get(&status.as_u16()).copied().unwrap_or(0)
    }

    /// Requests that passed.
    pub fn passed(&self) -> usize {
        self.with_status(StatusCode::OK)
    }

    /// Requests that were over a limit.
    pub fn limited(&self) -> usize {
        self.with_status(StatusCode::TOO_MANY_REQUESTS)
    }

    /// Requests that got any answer.
    pub fn answered(&self) -> usize {
        self.statuses.values().sum()
    }

    /// Adds the counts of another load; the longer of the two times stays.
    pub fn add(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.failed += other.failed;
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// What the connections of a load have in common.
#[derive(Debug)]
struct Shared {
    unsent: AtomicUsize,
    answered: AtomicUsize,
}

impl Shared {
    /// Takes one of the requests that are still to be sent.
    fn take(&self) -> bool {
        let less = |unsent: usize| unsent.checked_sub(1);
        self.unsent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

type Sender = SendRequest<Empty<Bytes>>;

struct Connection {
    target: SocketAddr,
    headers: HeaderMap,
    shared: Arc<Shared>,
    /// Set while there is a connection that may still be good.
    sender: Option<Sender>,
}

impl Connection {
    fn new(load: &Load, shared: Arc<Shared>) -> Self {
        Self {
            target: load.target,
            headers: load.headers.clone(),
            shared,
            sender: None,
        }
    }

    async fn run(mut self) -> Report {
        let mut report = Report::default();
        while self.shared.take() {
            match timeout(TIMEOUT, self.exchange()).await {
                Ok(Some(status)) => {
                    *report.statuses.entry(status.as_u16()).or_default() += 1;
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Upstream;
    use crate::wait::{PATIENCE, until};

    #[tokio::test]
    async fn every_request_is_sent_and_counted_once() {
        let upstream = Upstream::start().await.unwrap();
        let report = Load::new(upstream.address())
            .connections(4)
            .run(1_000)
            .await;
        assert_eq!((report.passed(), report.failed), (1_000, 0));
        assert_eq!(upstream.answered(), 1_000);
    }

    #[tokio::test]
    async fn a_load_without_an_end_is_stopped() {
        let upstream = Upstream::start().await.unwrap();
        let running = Load::new(upstream.address())
            .connections(2)
            .start(usize::MAX);
        until("some answers", PATIENCE, async || {
            (running.answered() > 10).then_some(())
        })
        .await
        .unwrap();
        let report = running.stop().await;
        assert_eq!(report.passed(), upstream.answered());
        assert_eq!(report.failed, 0);
    }

    #[tokio::test]
    async fn requests_nobody_answers_have_failed() {
        let upstream = Upstream::start().await.unwrap();
        let target = upstream.address();
        drop(upstream);
        // The port is given up as soon as the aborted task has been dropped.
        let given_up = async || TcpStream::connect(target).await.is_err().then_some(());
        until("the port to close", PATIENCE, given_up)
            .await
            .unwrap();
        let report = Load::new(target).run(3).await;
        assert_eq!((report.answered(), report.failed), (0, 3));
    }
}
