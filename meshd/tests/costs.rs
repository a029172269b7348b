//! Costs that are only known afterwards, through both ports and over the mesh.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use serde_json::Value;
use support::{Client, Meshd, Site, ask, descriptor, eventually, request};

const RULES: &str = "
domain: test
descriptors:
  - {key: user, value: bucket, rate_limit: {unit: day, requests_per_unit: 10, hivemind: {algorithm: token_bucket}}}
  - {key: user, value: sliding, rate_limit: {unit: year, requests_per_unit: 10, hivemind: {algorithm: sliding_window}}}
  - {key: user, value: uncounted, rate_limit: {unit: year, requests_per_unit: 10, hivemind: {count_denied: false}}}
";

const USERS: [&str; 3] = ["bucket", "sliding", "uncounted"];

/// Makes a call of so many hits by gRPC; whether it is within its limit.
async fn passes(client: &mut Client, user: &str, hits: u64) -> bool {
    let mut descriptor = descriptor(&[("user", user)]);
    descriptor.hits_addend = Some(hits);
    ask(client, request(vec![descriptor])).await.overall_code() == Code::Ok
}

/// The same on `/json`.
fn passes_json(meshd: &Meshd, user: &str, hits: u64) -> bool {
    let call = format!(
        r#"{{"domain":"test","descriptors":[{{"entries":[{{"key":"user","value":"{user}"}}],"hitsAddend":"{hits}"}}]}}"#
    );
    let (status, body) = meshd.json(&call);
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let is_ok = answer["overallCode"] == "OK";
    assert_eq!(status, if is_ok { 200 } else { 429 }, "{body}");
    is_ok
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn asking_and_reporting_ends_when_the_limit_is_used_up_by_grpc() {
    let meshd = Site::new(RULES).start();
    let mut client = meshd.client().await;
    for user in USERS {
        for round in 0..3 {
            assert_eq!(passes(&mut client, user, 0).await, round < 2, "{user}");
            assert_eq!(passes(&mut client, user, 9).await, round < 1, "{user}");
        }
    }
}

#[test]
fn asking_and_reporting_ends_when_the_limit_is_used_up_on_json() {
    let meshd = Site::new(RULES).start();
    for user in USERS {
        for round in 0..3 {
            assert_eq!(passes_json(&meshd, user, 0), round < 2, "{user}");
            assert_eq!(passes_json(&meshd, user, 9), round < 1, "{user}");
        }
    }
}

#[test]
fn a_cost_that_is_reported_on_one_host_refuses_on_all() {
    let sites = [Site::new(RULES), Site::new(RULES)];
    let first = sites[0].start_with(&["--mesh-bind", "127.0.0.1:0"]);
    let port = first.ports.mesh.expect("the mesh is on");
    let second = sites[1].start_with(&[
        "--mesh-bind",
        "127.0.0.1:0",
        "--mesh-bootstrap-peers",
        &format!("127.0.0.1:{port}"),
    ]);
    // What a host counted itself, and what it has heard of.
    let counted = |meshd: &Meshd, user: &str| -> Option<(i64, i64)> {
        let list: Value = serde_json::from_str(&meshd.admin("/counters").1).ok()?;
        let is_it = |counter: &&Value| counter["entries"][0]["value"] == user;
        let counter = list["counters"].as_array()?.iter().find(is_it)?;
        Some((counter["local"].as_i64()?, counter["remote"].as_i64()?))
    };
    for user in USERS {
        assert!(passes_json(&first, user, 1), "{user}");
        assert!(passes_json(&first, user, 0), "{user}");
        assert!(!passes_json(&second, user, 12), "{user}");
        assert!(!passes_json(&second, user, 0), "{user}");
        eventually("the host that was asked has heard of the cost", || {
            (!passes_json(&first, user, 0)).then_some(())
        });
        // The debt is that of all hosts together.
        assert!(!passes_json(&first, user, 100), "{user}");
        eventually("both know of both", || {
            let both = (counted(&first, user)?, counted(&second, user)?);
            (both == ((8, 12), (12, 8))).then_some(())
        });
    }
}
