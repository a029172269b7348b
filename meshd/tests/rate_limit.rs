//! The Rate Limit Service of a real meshd, asked by a real gRPC client.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use hivemind_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use hivemind_proto::envoy::r#type::v3::RateLimitUnit;
use support::{RULES, Site, admitted, ask, descriptor, eventually, request};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const YEAR_S: i64 = 31_536_000;

fn limit_of(status: &DescriptorStatus) -> (u32, Unit, &str) {
    let limit = status.current_limit.as_ref().expect("a limit");
    (limit.requests_per_unit, limit.unit(), &limit.name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_status_carries_everything_there_is_to_know() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;

    let response = ask(&mut client, request(vec![descriptor(&[("user", "ada")])])).await;
    assert_eq!(response.overall_code(), Code::Ok);
    let [status] = &response.statuses[..] else {
        panic!("one status: {response:?}")
    };
    assert_eq!(status.code(), Code::Ok);
    assert_eq!(limit_of(status), (3, Unit::Year, "per_user"));
    assert_eq!(status.limit_remaining, 2);
    let reset = status.duration_until_reset.expect("a time until reset");
    assert!(
        (1..=YEAR_S).contains(&reset.seconds) && reset.nanos == 0,
        "{reset:?}"
    );

    assert!(response.response_headers_to_add.is_empty());
    assert!(response.request_headers_to_add.is_empty());
    assert!(response.raw_body.is_empty());
    assert_eq!(response.dynamic_metadata, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_limit_admits_exactly_what_it_says() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 10).await, 3);
    assert_eq!(
        admitted(&mut client, "bob", 2).await,
        2,
        "every value counts on its own"
    );

    let response = ask(&mut client, request(vec![descriptor(&[("user", "ada")])])).await;
    assert_eq!(response.overall_code(), Code::OverLimit);
    assert_eq!(response.statuses[0].code(), Code::OverLimit);
    assert_eq!(response.statuses[0].limit_remaining, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_descriptor_has_its_status_in_order() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 3).await, 3);

    let descriptors = vec![
        descriptor(&[("unknown", "key")]),
        descriptor(&[("user", "ada")]),
        descriptor(&[("user", "bob")]),
        descriptor(&[]),
    ];
    let response = ask(&mut client, request(descriptors)).await;
    assert_eq!(
        response.overall_code(),
        Code::OverLimit,
        "one over is over in all"
    );
    let codes: Vec<Code> = response
        .statuses
        .iter()
        .map(DescriptorStatus::code)
        .collect();
    assert_eq!(codes, [Code::Ok, Code::OverLimit, Code::Ok, Code::Ok]);
    for unmatched in [&response.statuses[0], &response.statuses[3]] {
        assert_eq!(unmatched.current_limit, None);
        assert_eq!(unmatched.limit_remaining, 0);
        assert_eq!(unmatched.duration_until_reset, None);
    }
    assert_eq!(response.statuses[2].limit_remaining, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unlimited_rule_has_everything_left() {
    let rules = "domain: test\ndescriptors:\n  - key: probe\n    rate_limit: {unlimited: true}\n";
    let meshd = Site::new(rules).start();
    let mut client = meshd.client().await;
    let response = ask(&mut client, request(vec![descriptor(&[("probe", "x")])])).await;
    assert_eq!(response.statuses[0].limit_remaining, u32::MAX);
    assert_eq!(response.statuses[0].current_limit, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn addends_of_request_and_descriptor_count_as_they_should() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    let mut of_two = request(vec![descriptor(&[("user", "ada")])]);
    of_two.hits_addend = 2;
    assert_eq!(
        ask(&mut client, of_two.clone()).await.statuses[0].limit_remaining,
        1
    );

    of_two.descriptors[0].hits_addend = Some(0);
    let read = ask(&mut client, of_two.clone()).await;
    assert_eq!(
        read.statuses[0].limit_remaining, 1,
        "0 reads without counting"
    );
    assert_eq!(read.overall_code(), Code::Ok);

    of_two.descriptors[0].hits_addend = Some(u64::MAX);
    assert_eq!(
        ask(&mut client, of_two).await.overall_code(),
        Code::OverLimit
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_can_bring_its_own_limit() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    let with_limit = |requests_per_unit, unit: i32| {
        let mut descriptor = descriptor(&[("user", "ada")]);
        descriptor.limit = Some(RateLimitOverride {
            requests_per_unit,
            unit,
            unit_multiplier: None,
        });
        request(vec![descriptor])
    };

    let response = ask(&mut client, with_limit(9, RateLimitUnit::Hour.into())).await;
    assert_eq!(limit_of(&response.statuses[0]), (9, Unit::Hour, ""));
    assert_eq!(response.statuses[0].limit_remaining, 8);
    // Weeks have a number in the answer's enum alone.
    let response = ask(&mut client, with_limit(9, Unit::Week.into())).await;
    assert_eq!(limit_of(&response.statuses[0]), (9, Unit::Week, ""));

    for no_unit in [RateLimitUnit::Unknown.into(), 99, -1] {
        let response = ask(&mut client, with_limit(9, no_unit)).await;
        assert_eq!(
            limit_of(&response.statuses[0]),
            (3, Unit::Year, "per_user"),
            "the rule applies"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_window_of_several_units_that_a_request_brings_is_the_one_that_is_answered() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    let (hour, second) = (RateLimitUnit::Hour.into(), RateLimitUnit::Second.into());
    for (unit, multiplier, answered) in [
        (hour, None, (9, Unit::Hour, None)),
        (hour, Some(1), (9, Unit::Hour, None)),
        (hour, Some(36), (9, Unit::Hour, Some(36))),
        (Unit::Week.into(), Some(2), (9, Unit::Week, Some(2))),
        // More seconds than a window has.
        (second, Some(86_400), (9, Unit::Day, None)),
        (second, Some(90_000), (9, Unit::Hour, Some(25))),
        (second, Some(90_001), (9, Unit::Minute, Some(1_501))),
        // No length, or more than ten years: the rule applies.
        (hour, Some(0), (3, Unit::Year, None)),
        (hour, Some(u32::MAX), (3, Unit::Year, None)),
        (Unit::Year.into(), Some(11), (3, Unit::Year, None)),
    ] {
        let mut descriptor = descriptor(&[("user", "ada")]);
        descriptor.hits_addend = Some(0);
        descriptor.limit = Some(RateLimitOverride {
            requests_per_unit: 9,
            unit,
            unit_multiplier: multiplier,
        });
        let response = ask(&mut client, request(vec![descriptor])).await;
        let limit = response.statuses[0].current_limit.as_ref().unwrap();
        let found = (limit.requests_per_unit, limit.unit(), limit.unit_multiplier);
        assert_eq!(found, answered, "{multiplier:?} of {unit}");
    }
}

/// Envoy describes the first status with the fewest hits left.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_limit_that_refused_more_than_it_has_left_has_fewest_left_in_the_answer() {
    let rules = "
domain: test
descriptors:
  - {key: tight, rate_limit: {unit: year, requests_per_unit: 5}}
  - {key: wide, rate_limit: {unit: year, requests_per_unit: 50}}
  - {key: bucket, rate_limit: {unit: hour, requests_per_unit: 1, hivemind: {algorithm: token_bucket, burst: 8, debt: 0}}}
";
    let meshd = Site::new(rules).start();
    let mut client = meshd.client().await;
    for (keys, remaining) in [
        (["wide", "bucket"], [49, 8]),
        (["tight", "bucket"], [4, 0]),
        (["bucket", "tight"], [0, 3]),
        (["bucket", "wide"], [8, 48]),
    ] {
        let descriptors = keys.map(|key| {
            let mut descriptor = descriptor(&[(key, "v")]);
            descriptor.hits_addend = (key == "bucket").then_some(9);
            descriptor
        });
        let response = ask(&mut client, request(descriptors.into())).await;
        assert_eq!(response.overall_code(), Code::OverLimit);
        let found: Vec<u32> = response
            .statuses
            .iter()
            .map(|status| status.limit_remaining)
            .collect();
        assert_eq!(found, remaining, "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_value_that_is_not_utf_8_is_limited_like_any_other() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    let mut odd = descriptor(&[("user", "")]);
    odd.entries[0].value = b"\xff\xfe"[..].into();
    for remaining in [2, 1, 0] {
        let response = ask(&mut client, request(vec![odd.clone()])).await;
        assert_eq!(response.statuses[0].limit_remaining, remaining);
    }
    assert_eq!(
        ask(&mut client, request(vec![odd])).await.overall_code(),
        Code::OverLimit
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wrong_calls_are_refused_with_the_texts_clients_know() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    let mut nameless = request(Vec::new());
    nameless.domain.clear();
    for (wrong, text) in [
        // The domain is looked at first.
        (nameless, "rate limit domain must not be empty"),
        (
            request(Vec::new()),
            "rate limit descriptor list must not be empty",
        ),
    ] {
        let status = client
            .should_rate_limit(wrong)
            .await
            .expect_err("a wrong call");
        assert_eq!(
            (status.code(), status.message()),
            (tonic::Code::Unknown, text)
        );
    }
    let elsewhere = RateLimitRequest {
        domain: "elsewhere".to_owned(),
        ..request(vec![descriptor(&[("user", "ada")])])
    };
    let response = ask(&mut client, elsewhere).await;
    assert_eq!(
        response.overall_code(),
        Code::Ok,
        "an unknown domain has no limits"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_beyond_a_mebibyte_is_refused_and_the_connection_lives_on() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    let huge = request(vec![descriptor(&[("user", &"x".repeat(2 << 20))])]);
    let status = client.should_rate_limit(huge).await.expect_err("too large");
    assert_eq!(status.code(), tonic::Code::OutOfRange);
    assert_eq!(admitted(&mut client, "ada", 1).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_are_dealt_evenly_to_the_workers() {
    let meshd = Site::new(RULES).start();
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = meshd.client().await;
        admitted(&mut client, "ada", 1).await;
        clients.push(client);
    }
    let (status, body) = meshd.admin("/workers");
    assert_eq!(status, 200);
    let workers: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(workers[0]["open_connections"], 3, "{body}");
    assert_eq!(workers[1]["open_connections"], 3, "{body}");

    drop(clients);
    eventually("closed connections are not counted", || {
        meshd
            .admin("/workers")
            .1
            .matches("\"open_connections\":0")
            .nth(1)
            .map(drop)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_workers_count_together() {
    let meshd = Site::new(RULES).start();
    let mut total = 0;
    for _ in 0..4 {
        let mut client = meshd.client().await;
        total += admitted(&mut client, "ada", 2).await;
    }
    assert_eq!(total, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_unix_socket_gives_the_same_service() {
    let site = Site::new(RULES);
    let socket = site.path("rls.sock");
    let meshd = site.start_with(&["--server-grpc-socket", socket.to_str().expect("UTF-8")]);
    let endpoint =
        Endpoint::from_shared(format!("unix:{}", socket.display())).expect("an endpoint");
    let mut over_socket = support::Client::new(endpoint.connect().await.expect("a connection"));
    assert_eq!(admitted(&mut over_socket, "ada", 2).await, 2);
    let mut over_tcp = meshd.client().await;
    assert_eq!(admitted(&mut over_tcp, "ada", 2).await, 1);

    assert!(meshd.stop().success());
    assert!(!socket.exists(), "the socket's file goes away with meshd");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn grpc_health_answers_for_the_server_and_the_service() {
    use tonic_health::pb::health_check_response::ServingStatus;

    let meshd = Site::new(RULES).start();
    let endpoint = format!("http://127.0.0.1:{}", meshd.ports.grpc);
    let channel = Endpoint::from_shared(endpoint)
        .expect("an endpoint")
        .connect()
        .await
        .expect("open");
    let mut health = HealthClient::new(channel);
    for service in ["", "ratelimit"] {
        let asked = HealthCheckRequest {
            service: service.to_owned(),
        };
        let response = health.check(asked).await.expect("an answer").into_inner();
        assert_eq!(response.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest {
        service: "other".to_owned(),
    };
    let status = health.check(unknown).await.expect_err("an unknown service");
    assert_eq!(status.code(), tonic::Code::NotFound);
}
