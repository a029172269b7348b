//! What a real meshd says of its work on `/metrics`.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use hivemind_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use hivemind_shared::clock::CoarseClock;
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::Region;
use support::{Meshd, Site, admitted, ask, descriptor, eventually, request};

/// Ten a year for each user.
const TEN: &str = "domain: test\ndescriptors:\n  - key: user\n    rate_limit: {unit: year, requests_per_unit: 10}\n";

/// The number of a series, which has to be there.
fn number(meshd: &Meshd, series: &str) -> f64 {
    let (_, text) = meshd.http("/metrics");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    value.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_near_limit_ratio_holds_after_a_restart_for_the_service_and_for_modules() {
    const NEAR: &str = r#"hivemind_rule_near_limit_total{domain="test",rule="test.user"}"#;
    let site = Site::new(TEN);
    let meshd = site.start();
    // As a module does, which stays attached while meshd comes and goes.
    let region = Region::attach(&site.path("region")).expect("a region");
    let module = Limiter::new(region.into(), CoarseClock);
    let mut decision = Decision::new();
    let mut ask_module = |hits| {
        let entries = [Entry::new("user", "ada")];
        module
            .decide(b"test", &[Descriptor::new(&entries)], hits, &mut decision)
            .expect("a decision");
    };
    ask_module(4);
    assert_eq!(number(&meshd, NEAR), 0.0);

    assert!(meshd.stop().success());
    let meshd = site.start_with(&["--metrics-near-limit-ratio", "0.3"]);
    ask_module(1);
    assert_eq!(number(&meshd, NEAR), 1.0);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 2);
    assert_eq!(number(&meshd, NEAR), 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_are_counted_by_how_they_end_and_times_are_taken_of_those_by_grpc() {
    let meshd = Site::new(TEN).start_with(&["--metrics-ratelimit-compat", "true"]);
    // Two connections, which two workers serve.
    for user in ["ada", "lin"] {
        let mut client = meshd.client().await;
        assert_eq!(admitted(&mut client, user, 11).await, 10);
        let no_descriptors = client.should_rate_limit(request(Vec::new())).await;
        assert!(no_descriptors.is_err());
        let mut nameless = request(Vec::new());
        nameless.domain.clear();
        assert!(client.should_rate_limit(nameless).await.is_err());
        // More than a call may be.
        let large = descriptor(&[("user", &"x".repeat(1 << 20))]);
        let large = client.should_rate_limit(request(vec![large])).await;
        assert!(large.is_err());
    }
    assert_eq!(meshd.json("not JSON").0, 400);
    assert_eq!(meshd.json("{}").0, 400);
    for (protocol, outcome, expected) in [
        ("grpc", "ok", 20.0),
        ("grpc", "over_limit", 2.0),
        ("grpc", "empty_domain", 2.0),
        ("grpc", "empty_descriptor_list", 2.0),
        ("grpc", "malformed", 2.0),
        ("grpc", "no_rules", 0.0),
        ("json", "ok", 0.0),
        ("json", "empty_domain", 1.0),
        ("json", "malformed", 1.0),
    ] {
        let series =
            format!(r#"hivemind_calls_total{{protocol="{protocol}",outcome="{outcome}"}}"#);
        assert_eq!(number(&meshd, &series), expected, "{series}");
    }
    assert_eq!(number(&meshd, "hivemind_call_duration_seconds_count"), 28.0);
    assert!(number(&meshd, "hivemind_call_duration_seconds_sum") > 0.0);
    let all = r#"hivemind_call_duration_seconds_bucket{le="+Inf"}"#;
    assert_eq!(number(&meshd, all), 28.0);

    for (series, expected) in [
        (
            r#"ratelimit_service_total_requests{grpc_method="ShouldRateLimit"}"#,
            26.0,
        ),
        (
            r#"ratelimit_service_should_rate_limit_error{err_type="service_error"}"#,
            5.0,
        ),
        (
            r#"ratelimit_service_response_time_seconds_count{grpc_method="ShouldRateLimit"}"#,
            28.0,
        ),
    ] {
        assert_eq!(number(&meshd, series), expected, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_domain_that_no_rules_are_for_is_named_with_its_descriptors() {
    let meshd = Site::new(TEN).start_with(&["--metrics-ratelimit-compat", "true"]);
    let mut client = meshd.client().await;
    let unmatched = descriptor(&[("other", "x")]);
    ask(&mut client, request(vec![unmatched.clone()])).await;
    let elsewhere = RateLimitRequest {
        domain: "else.where".to_owned(),
        ..request(vec![unmatched.clone(), unmatched])
    };
    ask(&mut client, elsewhere).await;
    let series = r#"hivemind_domain_not_found_total{domain="else.where"}"#;
    assert_eq!(number(&meshd, series), 2.0);
    let series = "ratelimit_service_rate_limit_else_where_domain_not_found";
    assert_eq!(number(&meshd, series), 2.0);
    let (_, text) = meshd.http("/metrics");
    assert!(
        !text.contains(r#"domain_not_found_total{domain="test"}"#),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_pass_in_global_shadow_mode_alone_are_counted() {
    const SHADOWED: &str = "hivemind_global_shadow_mode_total";
    let site = Site::new(TEN);
    let compat = ["--metrics-ratelimit-compat", "true"];
    let meshd = site.start_with(&compat);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 11).await, 10);
    assert_eq!(number(&meshd, SHADOWED), 0.0, "it was refused");
    assert!(meshd.stop().success());

    let meshd = site.start_with(&[&compat[..], &["--rate-limiting-shadow-mode", "true"]].concat());
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "lin", 10).await, 10);
    assert_eq!(number(&meshd, SHADOWED), 0.0, "within the limit");
    assert_eq!(admitted(&mut client, "ada", 3).await, 3);
    assert_eq!(number(&meshd, SHADOWED), 3.0);
    assert_eq!(number(&meshd, "ratelimit_service_global_shadow_mode"), 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rule_keeps_its_sums_over_a_reload_and_begins_anew_in_a_new_region() {
    const HITS: &str = r#"hivemind_rule_hits_total{domain="test",rule="test.user"}"#;
    let other = TEN.replace("key: user", "key: other");
    let other = other.split_once("  -").expect("a descriptor").1;
    let site = Site::new(&TEN.replace("  -", &format!("  -{other}  -")));
    let meshd = site.start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 2).await, 2);
    // The rule is the second, and then the only one: its sums stay where they are.
    site.write("ratelimit.yaml", TEN);
    eventually("the reload", || {
        (number(&meshd, "hivemind_rules_generation") == 2.0).then_some(())
    });
    assert_eq!(admitted(&mut client, "ada", 1).await, 1);
    assert_eq!(number(&meshd, HITS), 3.0);
    // In another region they are elsewhere.
    std::fs::remove_file(site.path("region")).expect("the region can be removed");
    eventually("a new region", || {
        (number(&meshd, HITS) == 0.0).then_some(())
    });
    assert_eq!(admitted(&mut client, "ada", 1).await, 1);
    assert_eq!(number(&meshd, HITS), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hits_are_told_apart_by_value_where_a_rule_asks_for_it_whoever_counted_them() {
    let by_value = TEN.replace("rate_limit:", "detailed_metric: true\n    rate_limit:");
    let site = Site::new(&by_value);
    let compat = ["--metrics-ratelimit-compat", "true"];
    let meshd = site.start_with(&compat);
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 9).await, 9);
    let region = Region::attach(&site.path("region")).expect("a region");
    let module = Limiter::new(region.into(), CoarseClock);
    let mut decision = Decision::new();
    for user in ["ada", "ada", "ada", "lin"] {
        let entries = [Entry::new("user", user)];
        module
            .decide(b"test", &[Descriptor::new(&entries)], 1, &mut decision)
            .expect("a decision");
    }
    for (user, sum, expected) in [
        ("ada", "hits", 12.0),
        ("ada", "over_limit", 2.0),
        ("ada", "near_limit", 2.0),
        ("ada", "within_limit", 10.0),
        ("lin", "hits", 1.0),
    ] {
        let labels = format!(r#"domain="test",rule="test.user",descriptor="user_{user}""#);
        let series = format!("hivemind_rule_value_{sum}_total{{{labels}}}");
        assert_eq!(number(&meshd, &series), expected, "{series}");
        // There the rule's own series is not beside them.
        let sum = if sum == "hits" { "total_hits" } else { sum };
        let labels = format!(r#"domain="test",key1="user_{user}""#);
        let series = format!("ratelimit_service_rate_limit_{sum}{{{labels}}}");
        assert_eq!(number(&meshd, &series), expected, "{series}");
    }
    let (_, text) = meshd.http("/metrics");
    assert!(!text.contains(r#"key1="user"}"#), "{text}");

    assert!(meshd.stop().success());
    let meshd = site.start_with(&[&compat[..], &["--metrics-max-series", "0"]].concat());
    let series = r#"ratelimit_service_rate_limit_total_hits{domain="test",key1="user"}"#;
    assert_eq!(
        number(&meshd, series),
        13.0,
        "without series by value the rule has its own"
    );
    assert!(
        !meshd
            .http("/metrics")
            .1
            .contains("hivemind_rule_value_hits_total{")
    );
}
