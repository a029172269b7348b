//! The life of a gRPC connection, and what a client can ask a server about itself.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::time::{Duration, Instant};

use support::raw_http2::Peer;
use support::{RULES, Site, admitted, remaining};
use tonic::transport::{Channel, Endpoint};
use tonic_reflection::pb::{v1, v1alpha};

/// GOAWAY and PING among the frames of HTTP/2.
const GOAWAY: u8 = 7;
const PING: u8 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn old_connections_are_replaced_without_a_failed_call() {
    let site = Site::new(&RULES.replace("requests_per_unit: 3", "requests_per_unit: 1000000"));
    let meshd = site.start_with(&["--server-max-connection-age", "20ms"]);
    let mut client = meshd.client().await;
    let until = Instant::now() + Duration::from_secs(2);
    let mut left = 1_000_000;
    while Instant::now() < until {
        // No call is lost, and none is counted twice.
        left -= 1;
        assert_eq!(remaining(&mut client, "ada").await, left);
    }
    assert!(left < 1_000_000 - 100, "{left} left");
}

#[test]
fn a_connection_that_is_too_old_is_told_to_go_and_closed_when_it_does_not() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[
        "--server-max-connection-age",
        "100ms",
        "--server-max-connection-age-grace",
        "100ms",
    ]);
    let mut peer = Peer::connect(meshd.ports.grpc);
    let frames = peer.frames_until_the_end();
    assert!(frames.contains(&GOAWAY), "{frames:?}");
}

#[test]
fn a_silent_peer_is_asked_whether_it_is_there_and_given_up() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[
        "--server-keepalive-interval",
        "1s",
        "--server-keepalive-timeout",
        "1s",
    ]);
    let mut peer = Peer::connect(meshd.ports.grpc);
    let frames = peer.frames_until_the_end();
    assert!(frames.contains(&PING), "{frames:?}");
}

async fn channel(port: u16) -> Channel {
    let endpoint = format!("http://127.0.0.1:{port}");
    let endpoint = Endpoint::from_shared(endpoint).expect("an endpoint");
    endpoint.connect().await.expect("meshd accepts connections")
}

/// The names of the services, as reflection `v1` tells them.
async fn services(port: u16) -> Result<Vec<String>, tonic::Status> {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;

    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(port).await);
    let question = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client
        .server_reflection_info(tokio_stream::once(question))
        .await?;
    let answer = answers.into_inner().message().await?.expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list: {answer:?}");
    };
    Ok(list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reflection_lists_the_services() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let names = services(meshd.ports.grpc).await.expect("an answer");
    for name in [
        "envoy.service.ratelimit.v3.RateLimitService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
    assert_eq!(
        admitted(&mut meshd.client().await, "ada", 1).await,
        1,
        "calls as ever"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reflection_knows_the_messages_also_in_its_older_version() {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;

    let site = Site::new(RULES);
    let meshd = site.start();
    let channel = channel(meshd.ports.grpc).await;
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let question = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "envoy.service.ratelimit.v3.RateLimitRequest".to_owned(),
        )),
    };
    let answers = client
        .server_reflection_info(tokio_stream::once(question))
        .await
        .expect("reflection is on");
    let answer = answers.into_inner().message().await;
    let answer = answer.expect("no error").expect("an answer");
    assert!(
        matches!(
            answer.message_response,
            Some(MessageResponse::FileDescriptorResponse(_))
        ),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reflection_can_be_turned_off() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-reflection", "false"]);
    let refused = services(meshd.ports.grpc).await.expect_err("it is off");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}
