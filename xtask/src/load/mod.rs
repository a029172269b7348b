//! A load client: many requests over a few connections that are kept alive, answers counted by
//! status.

mod connection;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::header::{HOST, HeaderName, HeaderValue, InvalidHeaderName, InvalidHeaderValue};
use hyper::{HeaderMap, StatusCode};
use tokio::task::JoinSet;

use connection::{Connection, Shared};

/// What to send, and to whom.
#[derive(Clone, Debug)]
pub struct Load {
    target: SocketAddr,
    connections: usize,
    headers: HeaderMap,
    /// Between two requests, over all connections; zero for as fast as answers come.
    interval: Duration,
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
            interval: Duration::ZERO,
        }
    }

    /// Sends over this many connections at once, one request each at a time.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sends one request every `interval`, all connections together, as far as answers come in time: what
    /// was held up is made up for.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
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
        let shared = Arc::new(Shared::new(requests, self.interval));
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

    /// How many of these said that a limit is reached.
    pub fn limited(&self) -> usize {
        self.shared.limited.load(Ordering::Relaxed)
    }

    /// Answers a second so far.
    pub fn rate(&self) -> f64 {
        self.answered() as f64 / self.begin.elapsed().as_secs_f64()
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

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
    async fn a_paced_load_takes_its_time() {
        let upstream = Upstream::start().await.unwrap();
        let load = Load::new(upstream.address()).connections(4);
        let report = load.every(Duration::from_millis(1)).run(50).await;
        assert_eq!(report.passed(), 50);
        // The 50th is due 49 intervals after the first; it may be later, but never sooner.
        assert!(report.elapsed >= Duration::from_millis(49), "{report:?}");
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
