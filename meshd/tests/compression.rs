//! Compressed requests and answers of gRPC.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs;

use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use support::{Meshd, RULES, Site, descriptor, request};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A call of so many descriptors with values of their own.
fn call(descriptors: usize) -> RateLimitRequest {
    let user = |number| descriptor(&[("user", &format!("user-{number}"))]);
    request((0..descriptors).map(user).collect())
}

/// A call that is small on the wire, and has a domain of so many bytes when it is unpacked.
fn bomb(bytes: usize) -> RateLimitRequest {
    RateLimitRequest {
        domain: "x".repeat(bytes),
        ..call(1)
    }
}

/// The most memory that meshd ever had.
fn peak_bytes(meshd: &Meshd) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", meshd.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .expect("a number")
        .parse::<u64>()
        .expect("a number")
        * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn compressed_calls_are_answered_like_others() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd
        .client()
        .await
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    for left in [2, 1, 0] {
        let answer = client.should_rate_limit(call(1)).await.expect("an answer");
        assert_eq!(answer.metadata().get("grpc-encoding"), None, "it is small");
        assert_eq!(answer.into_inner().statuses[0].limit_remaining, left);
    }
    // Near the limit of what is read, once unpacked.
    let answer = client.should_rate_limit(bomb(1_000_000)).await;
    assert_eq!(answer.expect("an answer").into_inner().statuses.len(), 1);

    let mut request = Request::new(call(1));
    let identity = MetadataValue::from_static("identity");
    request.metadata_mut().insert("grpc-encoding", identity);
    meshd
        .client()
        .await
        .should_rate_limit(request)
        .await
        .expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_answers_are_compressed_for_those_who_take_them_so() {
    let meshd = Site::new(RULES).start();
    let plain = meshd.client().await;
    let takes_gzip = plain.clone().accept_compressed(CompressionEncoding::Gzip);
    for (mut client, encoding) in [(plain, None), (takes_gzip, Some("gzip"))] {
        // More than the region has room for would be an error.
        let answer = client
            .should_rate_limit(call(700))
            .await
            .expect("an answer");
        let used = answer.metadata().get("grpc-encoding");
        assert_eq!(used.map(|used| used.to_str().expect("a text")), encoding);
        assert_eq!(answer.into_inner().statuses.len(), 700);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_too_large_when_it_is_unpacked_is_refused_before_it_is() {
    let meshd = Site::new(RULES).start();
    let client = meshd.client().await;
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    client.should_rate_limit(call(1)).await.expect("an answer");
    let before = peak_bytes(&meshd);
    for bytes in [1024 * 1024, 64 * 1024 * 1024] {
        let refused = client.should_rate_limit(bomb(bytes)).await;
        let refused = refused.expect_err("it is too large");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    }
    let grown = peak_bytes(&meshd) - before;
    assert!(grown < 16 * 1024 * 1024, "grown by {grown} bytes");
    let answer = client.should_rate_limit(call(1)).await.expect("an answer");
    assert_eq!(answer.into_inner().statuses[0].limit_remaining, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_has_one_message() {
    let meshd = Site::new(RULES).start();
    let endpoint = format!("http://127.0.0.1:{}", meshd.ports.grpc);
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).expect("an endpoint");
    let channel = endpoint.connect().await.expect("meshd accepts connections");
    let mut client = tonic::client::Grpc::new(channel).send_compressed(CompressionEncoding::Gzip);
    client.ready().await.expect("a connection");
    let messages = tokio_stream::iter((0..1_000).map(|_| bomb(1_000_000)));
    let codec = tonic_prost::ProstCodec::<RateLimitRequest, RateLimitResponse>::default();
    let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
    let refused = client
        .client_streaming(
            Request::new(messages),
            http::uri::PathAndQuery::from_static(path),
            codec,
        )
        .await
        .expect_err("the second one is too many");
    assert_eq!(refused.code(), Code::Internal, "{refused:?}");
    assert!(
        refused.message().contains("more than one message"),
        "{refused:?}"
    );
    let answer = meshd.client().await.should_rate_limit(call(1)).await;
    let answer = answer.expect("an answer").into_inner();
    assert_eq!(answer.statuses[0].limit_remaining, 2, "nothing was counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn encodings_that_are_not_known_are_refused_with_those_that_are() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    for encoding in ["snappy", "deflate", "GZIP"] {
        let mut request = Request::new(call(1));
        let encoding: MetadataValue<_> = encoding.parse().expect("a value");
        request.metadata_mut().insert("grpc-encoding", encoding);
        let refused = client.should_rate_limit(request).await;
        let refused = refused.expect_err("nobody knows it");
        assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
        let known = refused.metadata().get("grpc-accept-encoding");
        assert_eq!(known.expect("a list"), "gzip,identity");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_can_be_asked_compressed() {
    let meshd = Site::new(RULES).start();
    let endpoint = format!("http://127.0.0.1:{}", meshd.ports.grpc);
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).expect("an endpoint");
    let channel = endpoint.connect().await.expect("meshd accepts connections");
    let mut client = HealthClient::new(channel).send_compressed(CompressionEncoding::Gzip);
    let question = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    client
        .check(question("ratelimit"))
        .await
        .expect("an answer");
    let refused = client.check(question(&"x".repeat(64 * 1024))).await;
    let refused = refused.expect_err("it is too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
}
