//! A real meshd whose region is full: who goes on being limited, and what operators are told.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use hivemind_proto::envoy::r#type::v3::RateLimitUnit;
use support::{Client, Meshd, Site, ask, descriptor, eventually, request};

const RULES: &str = "
domain: test
descriptors:
  - key: user
    rate_limit: {unit: year, requests_per_unit: 5}
  - key: header
    rate_limit: {unit: year, requests_per_unit: 5}
";

const LIMIT: u32 = 5;
const USERS: u32 = 100;

/// Keys of the region of most tests here; the flood brings many times as many.
const MAX_KEYS: u32 = 1_024;

fn start(site: &Site) -> Meshd {
    site.start_with(&["--region-max-keys", &MAX_KEYS.to_string()])
}

async fn passes(client: &mut Client, key: &str, value: &str) -> bool {
    let asked = request(vec![descriptor(&[(key, value)])]);
    ask(client, asked).await.overall_code() == Code::Ok
}

/// How many of so many requests of a user pass.
async fn passed(client: &mut Client, user: &str, times: u32) -> u32 {
    let mut passed = 0;
    for _ in 0..times {
        passed += u32::from(passes(client, "user", user).await);
    }
    passed
}

/// Asks with a new value each time until told to stop, a bounded number of times; returns how many passed, of how
/// many.
async fn flood(mut client: Client, number: u32, stop: Arc<AtomicBool>) -> (u32, u32) {
    let (mut passed, mut asked) = (0, 0);
    while !stop.load(Ordering::Relaxed) && asked < 1_000_000 {
        let value = format!("{number}-{asked}");
        passed += u32::from(passes(&mut client, "header", &value).await);
        asked += 1;
    }
    (passed, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_deserves_it_goes_on_being_limited_while_a_flood_of_new_keys_fills_the_region() {
    let site = Site::new(RULES);
    let meshd = start(&site);
    let mut client = meshd.client().await;
    for user in 0..20 {
        let user = format!("before-{user}");
        assert_eq!(passed(&mut client, &user, LIMIT + 1).await, LIMIT);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut floods = Vec::new();
    for number in 0..4 {
        let client = meshd.client().await;
        floods.push(tokio::spawn(flood(client, number, Arc::clone(&stop))));
    }
    meshd.await_log("the region is full");
    // All users at once, each as fast as it gets answers.
    let admitted = Arc::new(AtomicU32::new(0));
    let mut users = Vec::new();
    for user in 0..USERS {
        let (mut client, admitted) = (client.clone(), Arc::clone(&admitted));
        users.push(tokio::spawn(async move {
            let passed = passed(&mut client, &format!("fresh-{user}"), 50).await;
            assert!(passed >= LIMIT, "user {user} was refused within the limit");
            admitted.fetch_add(passed, Ordering::Relaxed);
        }));
    }
    for user in users {
        user.await.expect("a user is served");
    }
    let beyond = admitted.load(Ordering::Relaxed) - USERS * LIMIT;
    assert!(beyond * 100 <= USERS * LIMIT, "{beyond} beyond the limit");
    for user in 0..20 {
        let user = format!("before-{user}");
        assert_eq!(passed(&mut client, &user, 1).await, 0, "{user}");
    }
    stop.store(true, Ordering::Relaxed);
    let mut brought = 0;
    for flood in floods {
        let (passed, asked) = flood.await.expect("the flood ends");
        assert_eq!(passed, asked, "a new key is within its limit");
        brought += asked;
    }
    assert!(brought > 4 * MAX_KEYS, "no flood: {brought}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_region_holds_as_many_keys_as_it_is_made_for_and_says_when_there_are_more() {
    let site = Site::new(RULES);
    let meshd = start(&site);
    let mut client = meshd.client().await;
    let sample = |name: &str| {
        let text = meshd.http("/metrics").1;
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    for value in 0..MAX_KEYS {
        assert!(passes(&mut client, "header", &value.to_string()).await);
    }
    eventually("all keys are counted", || {
        (sample("hivemind_region_live_keys") == Some(f64::from(MAX_KEYS))).then_some(())
    });
    meshd.await_log("the region fills up");
    let evicted = "hivemind_rule_evicted_keys_total{domain=\"test\",rule=\"test.header\"}";
    assert_eq!(sample(evicted), Some(0.0));
    assert_eq!(sample("hivemind_region_table_full_total"), Some(0.0));
    assert!(meshd.log().contains(" of rule test.header"));

    for value in MAX_KEYS..3 * MAX_KEYS {
        assert!(passes(&mut client, "header", &value.to_string()).await);
    }
    meshd.await_log("the region is full");
    assert!(sample(evicted).is_some_and(|keys| keys > 0.0));
    let of_rules = "hivemind_region_evicted_keys_total{source=\"rule\"}";
    assert_eq!(sample(of_rules), sample(evicted));
    let degraded = "hivemind_component_state{component=\"region\",state=\"degraded\"}";
    eventually("the component is degraded", || {
        (sample(degraded) == Some(1.0)).then_some(())
    });
    assert_eq!(meshd.http("/ready").0, 200);
}

/// A descriptor with a limit of its own.
fn with_limit(
    value: &str,
) -> hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor {
    let mut descriptor = descriptor(&[("brought", value)]);
    descriptor.limit = Some(RateLimitOverride {
        requests_per_unit: 1,
        unit: RateLimitUnit::Year.into(),
        unit_multiplier: None,
    });
    descriptor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn limits_that_requests_bring_take_no_room_from_those_of_rules() {
    let site = Site::new(RULES);
    let meshd = start(&site);
    let mut client = meshd.client().await;
    let users = MAX_KEYS / 2;
    for user in 0..users {
        assert_eq!(passed(&mut client, &user.to_string(), 1).await, 1);
    }
    for call in 0..40 {
        let brought = (0..100).map(|value| with_limit(&format!("{call}-{value}")));
        ask(&mut client, request(brought.collect())).await;
    }
    // Each has its one hit still.
    for user in 0..users {
        assert_eq!(passed(&mut client, &user.to_string(), 5).await, 4, "{user}");
    }
    let metrics = meshd.http("/metrics").1;
    let evicted = "hivemind_region_evicted_keys_total{source=\"request_limit\"}";
    let evicted = metrics.lines().find(|line| line.starts_with(evicted));
    assert!(
        evicted.is_some_and(|line| !line.ends_with(" 0")),
        "{evicted:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_brings_a_bounded_number_of_limits() {
    let site = Site::new(RULES);
    let meshd = start(&site);
    let mut client = meshd.client().await;
    let brought = |count: u32| request((0..count).map(|it| with_limit(&it.to_string())).collect());
    assert_eq!(ask(&mut client, brought(100)).await.statuses.len(), 100);
    let status = client
        .should_rate_limit(brought(101))
        .await
        .expect_err("too many");
    assert!(status.message().contains("100"), "{status:?}");
    let metrics = meshd.http("/metrics").1;
    let outcome = "hivemind_calls_total{protocol=\"grpc\",outcome=\"too_many_request_limits\"} 1";
    assert!(metrics.contains(outcome), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn limits_of_requests_are_left_alone_where_they_are_switched_off() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--rate-limiting-request-limits", "false"]);
    let mut client = meshd.client().await;
    let mut user = descriptor(&[("user", "ada")]);
    user.limit = with_limit("").limit;
    let answer = ask(&mut client, request(vec![user, with_limit("x")])).await;
    let limits: Vec<_> = answer
        .statuses
        .iter()
        .map(|status| status.current_limit.as_ref().map(|it| it.requests_per_unit))
        .collect();
    assert_eq!(limits, [Some(5), None]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_counted_of_an_evicted_key_comes_back_with_it_here_and_at_peers() {
    let sites = [Site::new(RULES), Site::new(RULES)];
    let first = sites[0].start_with(&["--region-max-keys", "64", "--mesh-bind", "127.0.0.1:0"]);
    let port = first.ports.mesh.expect("the mesh is on");
    let peer = format!("127.0.0.1:{port}");
    let second = sites[1].start_with(&[
        "--mesh-bind",
        "127.0.0.1:0",
        "--mesh-bootstrap-peers",
        &peer,
    ]);
    let (mut here, mut there) = (first.client().await, second.client().await);
    // Asks without counting.
    let look = async |client: &mut Client| {
        let mut user = descriptor(&[("user", "ada")]);
        user.hits_addend = Some(0);
        ask(client, request(vec![user])).await.statuses[0].limit_remaining
    };
    let await_left = async |client: &mut Client, left: u32| {
        for _ in 0..2_000 {
            if look(client).await == left {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never {left} left");
    };
    assert_eq!(passed(&mut here, "ada", 2).await, 2);
    await_left(&mut there, LIMIT - 2).await;
    // Keys that have used all of their limit are worth more than hers; fewer than the mesh remembers of those that
    // were evicted.
    for value in 0..125 {
        for _ in 0..LIMIT {
            passes(&mut here, "header", &value.to_string()).await;
        }
    }
    assert_eq!(look(&mut here).await, LIMIT, "her key was not evicted");
    assert_eq!(passed(&mut here, "ada", 1).await, 1);
    await_left(&mut here, LIMIT - 3).await;
    await_left(&mut there, LIMIT - 3).await;
}
