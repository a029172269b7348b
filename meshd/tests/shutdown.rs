//! Between the signal to stop and the end.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use rustix::process::Signal;
use support::{Meshd, PATIENCE, RULES, Site, admitted, eventually};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1;

/// So long that a test which waits for its end fails.
const FOR_EVER: &str = "1h";

async fn channel(meshd: &Meshd) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", meshd.ports.grpc));
    let endpoint = endpoint.expect("an endpoint");
    endpoint.connect().await.expect("a connection")
}

async fn health(meshd: &Meshd) -> ServingStatus {
    let mut client = HealthClient::new(channel(meshd).await);
    let answer = client.check(HealthCheckRequest::default()).await;
    answer.expect("an answer").into_inner().status()
}

async fn watch(meshd: &Meshd) -> Streaming<HealthCheckResponse> {
    let mut client = HealthClient::new(channel(meshd).await);
    let watch = client.watch(HealthCheckRequest::default()).await;
    watch.expect("a watch").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_delayed_stop_is_unready_at_once_and_serves_until_it_is_asked_again() {
    let site = Site::new(RULES);
    for second in [Signal::TERM, Signal::INT] {
        let meshd = site.start_with(&["--server-shutdown-delay", FOR_EVER]);
        let mut lasting = meshd.client().await;
        let mut watching = watch(&meshd).await;
        let status = async |watching: &mut Streaming<HealthCheckResponse>| {
            let next = watching.next().await.expect("a status");
            next.expect("a status").status()
        };
        assert_eq!(status(&mut watching).await, ServingStatus::Serving);
        meshd.signal(Signal::TERM);
        assert_eq!(status(&mut watching).await, ServingStatus::NotServing);

        let (code, ready) = meshd.http("/ready");
        assert_eq!(code, 503, "{ready}");
        assert!(
            ready.contains(r#""server":{"state":"down","detail":"stopping"}"#),
            "{ready}"
        );
        assert_eq!(meshd.http("/healthcheck").0, 500);
        assert_eq!(meshd.http("/live"), (200, "OK".to_owned()));
        assert_eq!(health(&meshd).await, ServingStatus::NotServing);

        // What routes calls here needs a while to hear of it.
        let user = second.as_raw().to_string();
        assert_eq!(admitted(&mut lasting, &user, 1).await, 1);
        assert_eq!(admitted(&mut meshd.client().await, &user, 1).await, 1);
        let call = format!(
            r#"{{"domain": "test", "descriptors": [{{"entries": [{{"key": "user", "value": "{user}"}}]}}]}}"#
        );
        assert_eq!(meshd.json(&call).0, 200);
        assert_eq!(meshd.json(&call).0, 429);
        // Rules go on changing as well.
        meshd.signal(Signal::HUP);
        meshd.await_log("rules read again as asked");

        meshd.signal(second);
        assert_eq!(meshd.wait().code(), Some(0));
    }
}

#[test]
fn a_delay_ends_by_itself() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-shutdown-delay=300ms"]);
    meshd.signal(Signal::TERM);
    meshd.await_log("serves for server.shutdown_delay");
    meshd.await_log("meshd stops");
    assert_eq!(meshd.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_meshd_takes_over_during_the_delay() {
    let site = Site::new(RULES);
    let first = site.start_with(&["--server-shutdown-delay", FOR_EVER]);
    let ports = first.ports;
    first.signal(Signal::TERM);
    first.await_log("serves for server.shutdown_delay");
    let mut second = site.launch("second", &[]);
    second.await_ready();
    assert_eq!(first.wait().code(), Some(0));
    assert_eq!(second.ports.grpc, ports.grpc);
    assert_eq!(second.http("/ready").0, 200);
    assert_eq!(admitted(&mut second.client().await, "ada", 4).await, 3);
}

/// Calls that have no end of their own: a watch, and a stream of questions.
struct Endless {
    watch: Streaming<HealthCheckResponse>,
    reflection: Streaming<v1::ServerReflectionResponse>,
    /// Nothing more is asked, but it could be.
    _questions: tokio::sync::mpsc::Sender<v1::ServerReflectionRequest>,
}

impl Endless {
    async fn begin(meshd: &Meshd) -> Self {
        let mut watch = watch(meshd).await;
        watch.next().await.expect("a status").expect("a status");
        let (questions, asked) = tokio::sync::mpsc::channel(1);
        let question = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            )),
        };
        questions.send(question).await.expect("asked");
        let channel = channel(meshd).await;
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
        let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
        let answers = client.server_reflection_info(asked).await;
        let mut reflection = answers.expect("a stream").into_inner();
        reflection
            .next()
            .await
            .expect("an answer")
            .expect("an answer");
        Self {
            watch,
            reflection,
            _questions: questions,
        }
    }

    /// Waits for the end of both, which is none that a client has to worry about.
    async fn end(self) {
        let ended = tokio::time::timeout(PATIENCE, self.until_the_end()).await;
        ended.expect("they end in time");
    }

    async fn until_the_end(mut self) {
        let mut last = None;
        let end = loop {
            match self.watch.next().await {
                Some(Ok(status)) => last = Some(status.status()),
                Some(Err(end)) => break end.code(),
                None => break Code::Ok,
            }
        };
        assert_eq!(end, Code::Unavailable, "last was {last:?}");
        while let Some(Ok(_)) = self.reflection.next().await {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_an_end_hold_no_stop_up() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[
        "--server-drain-timeout",
        FOR_EVER,
        "--server-body-timeout",
        FOR_EVER,
    ]);
    let endless = Endless::begin(&meshd).await;
    meshd.signal(Signal::TERM);
    endless.end().await;
    assert_eq!(meshd.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_an_end_hold_no_hand_over_up() {
    let site = Site::new(RULES);
    let first = site.start_with(&[
        "--server-drain-timeout",
        FOR_EVER,
        "--server-body-timeout",
        FOR_EVER,
    ]);
    let endless = Endless::begin(&first).await;
    let mut second = site.launch("second", &[]);
    second.await_ready();
    endless.end().await;
    assert_eq!(first.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_an_end_outlive_no_connection_that_is_too_old() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[
        "--server-max-connection-age=1s",
        "--server-max-connection-age-grace",
        FOR_EVER,
        "--server-body-timeout",
        FOR_EVER,
    ]);
    let endless = Endless::begin(&meshd).await;
    endless.end().await;
    eventually("the connections are closed", || {
        let metrics = meshd.http("/metrics").1;
        metrics
            .contains("hivemind_connections_open{port=\"grpc\"} 0")
            .then_some(())
    });
}
