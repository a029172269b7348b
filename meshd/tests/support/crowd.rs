//! Clients of all kinds who call all the time, while one meshd replaces the other.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use super::lasting_http::LastingHttp;
use super::{Client, Meshd, RULES, Site, eventually, exchange, remaining};

pub(crate) const LIMIT: u32 = 1_000_000;

/// How long a client rests between two calls, so that they do not take the whole machine.
pub(crate) const CALL_INTERVAL: Duration = Duration::from_millis(2);

/// A call of one hit by HTTP, and one that only looks.
pub(crate) const CALL: &str =
    r#"{"domain":"test","descriptors":[{"entries":[{"key":"user","value":"ada"}]}]}"#;
pub(crate) const LOOK: &str = r#"{"domain":"test","descriptors":[{"hitsAddend":"0","entries":[{"key":"user","value":"ada"}]}]}"#;

/// A site whose limit is not reached.
pub(crate) fn busy_site() -> Site {
    Site::new(&RULES.replace(
        "requests_per_unit: 3",
        &format!("requests_per_unit: {LIMIT}"),
    ))
}

/// Starts the next meshd beside `before`, and waits until it serves and the other has ended.
pub(crate) fn replace(site: &Site, before: Meshd, log: &str, arguments: &[&str]) -> Meshd {
    let mut next = site.launch(log, arguments);
    next.await_ready();
    assert_eq!(before.wait().code(), Some(0));
    next
}

/// How many hits the region has for the user of the calls.
pub(crate) fn counted(meshd: &Meshd) -> u32 {
    let (status, answer) = meshd.json(LOOK);
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let remaining = answer["statuses"][0]["limitRemaining"].as_u64();
    LIMIT - u32::try_from(remaining.unwrap_or(0)).expect("a count")
}

/// Clients of all kinds, who call all the time, and fail when a call does.
#[derive(Debug)]
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    clients: JoinSet<()>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self {
            stop: Arc::default(),
            calls: Arc::default(),
            clients: JoinSet::new(),
        }
    }

    /// Adds a client that makes a call whenever `call` does.
    pub(crate) fn add<F>(&mut self, mut call: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, calls) = (Arc::clone(&self.stop), Arc::clone(&self.calls));
        self.clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                call().await;
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(CALL_INTERVAL).await;
            }
        });
    }

    /// A client on one connection for as long as that lasts.
    pub(crate) fn add_lasting(&mut self, client: Client) {
        self.add(move || {
            let mut client = client.clone();
            async move {
                remaining(&mut client, "ada").await;
            }
        });
    }

    /// A client with a connection for each call.
    pub(crate) fn add_brief(&mut self, endpoint: Endpoint) {
        self.add(move || {
            let endpoint = endpoint.clone();
            async move {
                let channel = endpoint.connect().await.expect("no connection is refused");
                remaining(&mut Client::new(channel), "ada").await;
            }
        });
    }

    /// A client that speaks HTTP, with a connection for each call.
    pub(crate) fn add_http(&mut self, port: u16) {
        self.add(move || async move {
            let call = move || {
                let length = CALL.len();
                let head = format!(
                    "POST /json HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
                     content-type: application/json\r\ncontent-length: {length}"
                );
                exchange(port, &format!("{head}\r\n\r\n{CALL}"))
            };
            let (status, answer) = tokio::task::spawn_blocking(call).await.expect("an answer");
            assert_eq!(status, 200, "{answer}");
        });
    }

    /// A client that speaks HTTP on one connection for as long as that lasts.
    pub(crate) fn add_lasting_http(&mut self, port: u16) {
        let client = Arc::new(Mutex::new(LastingHttp::new(port)));
        self.add(move || {
            let client = Arc::clone(&client);
            async move {
                let call = move || client.lock().expect("no call failed").post(CALL);
                let status = tokio::task::spawn_blocking(call).await.expect("an answer");
                assert_eq!(status, 200);
            }
        });
    }

    /// Waits until they have made many more calls.
    pub(crate) fn await_calls(&self) {
        let so_far = self.calls.load(Ordering::Relaxed);
        eventually("calls", || {
            (self.calls.load(Ordering::Relaxed) > so_far + 50).then_some(())
        });
    }

    /// Stops all of them; how many calls they made.
    pub(crate) async fn disperse(mut self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("no call failed");
        }
        self.calls.load(Ordering::Relaxed)
    }
}

pub(crate) fn endpoint(port: u16) -> Endpoint {
    Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an endpoint")
}

pub(crate) fn unix_endpoint(site: &Site) -> Endpoint {
    let path = site.path("rls.sock");
    Endpoint::from_shared(format!("unix://{}", path.display())).expect("an endpoint")
}
