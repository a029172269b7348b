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
use support::certificates::Authority;
use support::{Meshd, RULES, Site, admitted, ask, descriptor, eventually, request};

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

/// Whether the series has a sample.
#[test]
fn room_for_rules_is_told_and_its_end_is_announced_once() {
    const USED: &str = "hivemind_region_rules_used_bytes";
    const AVAILABLE: &str = "hivemind_region_rules_available_bytes";
    const WARNING: &str = "the rules take most of their room in the region";
    let of_length = |length: u16| {
        let key = "u".repeat(length.into());
        RULES.replace("key: user", &format!("key: {key}"))
    };
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--region-rules-bytes", "4096"]);
    let (first, left) = (number(&meshd, USED), number(&meshd, AVAILABLE));
    assert!(first > 0.0, "{first}");
    assert!((first + left - 4_064.0).abs() < 0.1, "{first} and {left}");

    for (length, warnings) in [(3_300, 1), (3_400, 1), (10, 1), (3_350, 2)] {
        site.write("ratelimit.yaml", &of_length(length));
        let length = f64::from(length);
        let reloaded = || {
            let used = number(&meshd, USED);
            used > length && used < first + length
        };
        eventually("the rules are in force", || reloaded().then_some(()));
        eventually("it is said", || {
            (meshd.log().matches(WARNING).count() == warnings).then_some(())
        });
    }
    // What does not fit is refused, and what is in force is what is told.
    site.write("ratelimit.yaml", &of_length(5_000));
    meshd.await_log("rules rejected");
    assert!(number(&meshd, USED) < 4_064.0);
}

fn has(meshd: &Meshd, series: &str) -> bool {
    let (_, text) = meshd.http("/metrics");
    let wanted = format!("\n{series} ");
    text.contains(&wanted)
}

/// Waits until the series has this number.
fn await_number(meshd: &Meshd, series: &str, expected: f64) {
    eventually(series, || (number(meshd, series) == expected).then_some(()));
}

fn unix_s() -> f64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock").as_secs_f64()
}

#[test]
fn the_last_reload_of_rules_certificates_and_keys_is_told_with_the_time_of_the_last_success() {
    let began = unix_s() - 1.0;
    let site = Site::new(TEN);
    let authority = Authority::new("authority");
    let pair = authority.issue("ratelimit.internal");
    let keys = format!("hash {}\nseal {}\n", "0".repeat(32), "1".repeat(64));
    let files = [
        ("rules", "ratelimit.yaml", TEN.to_owned()),
        ("tls", "tls.crt", pair.cert),
        ("key_file", "mesh.keys", keys),
    ];
    for (_, name, text) in &files {
        site.write(name, text);
    }
    site.write("tls.key", &pair.key);
    let meshd = site.start_sealed();
    for (config, name, good) in &files {
        let successful = format!(r#"hivemind_config_last_reload_successful{{config="{config}"}}"#);
        let time = format!(
            r#"hivemind_config_last_reload_success_timestamp_seconds{{config="{config}"}}"#
        );
        assert_eq!(number(&meshd, &successful), 1.0);
        let loaded_s = number(&meshd, &time);
        assert!((began..=unix_s()).contains(&loaded_s), "{time} {loaded_s}");

        site.write(name, "nonsense: [");
        await_number(&meshd, &successful, 0.0);
        let last_success_s = number(&meshd, &time);
        assert!(last_success_s < unix_s(), "the time is not of the failure");
        site.write(name, good);
        await_number(&meshd, &successful, 1.0);
        assert!(number(&meshd, &time) > last_success_s);
    }
}

#[test]
fn what_was_never_loaded_has_no_reload_to_tell_of() {
    let site = Site::new(TEN);
    let arguments = ["--rate-limiting-source=xds", "--xds-server=127.0.0.1:9"];
    let meshd = site.start_with(&arguments);
    for config in ["rules", "tls", "key_file"] {
        let successful = format!(r#"hivemind_config_last_reload_successful{{config="{config}"}}"#);
        assert!(!has(&meshd, &successful), "{successful}");
    }
    assert_eq!(number(&meshd, "hivemind_config_load_success_total"), 0.0);
    let down = r#"hivemind_component_state{component="rules",state="down"}"#;
    assert_eq!(number(&meshd, down), 1.0);
    assert!(meshd.stop().success());

    // Rules of an earlier run were not loaded by this one.
    let meshd = site.start();
    assert_eq!(number(&meshd, "hivemind_config_load_success_total"), 1.0);
    assert!(meshd.stop().success());
    let meshd = site.start_with(&arguments);
    assert_eq!(number(&meshd, "hivemind_config_load_success_total"), 0.0);
    let degraded = r#"hivemind_component_state{component="rules",state="degraded"}"#;
    assert_eq!(number(&meshd, degraded), 1.0);
}

#[test]
fn each_component_is_in_one_state_and_moves_to_another() {
    let site = Site::new(TEN);
    let meshd = site.start();
    let state = |component: &str, state: &str| {
        format!(r#"hivemind_component_state{{component="{component}",state="{state}"}}"#)
    };
    meshd.await_log("meshd is ready");
    for component in ["region", "rules", "mesh", "tls", "server"] {
        assert_eq!(number(&meshd, &state(component, "up")), 1.0);
        assert_eq!(number(&meshd, &state(component, "degraded")), 0.0);
        assert_eq!(number(&meshd, &state(component, "down")), 0.0);
    }
    assert!(
        !has(&meshd, &state("xds", "up")),
        "there is no management server"
    );
    site.write("ratelimit.yaml", "nonsense");
    await_number(&meshd, &state("rules", "degraded"), 1.0);
    assert_eq!(number(&meshd, &state("rules", "up")), 0.0);
}

#[test]
fn the_process_is_described_under_the_names_that_prometheus_clients_agree_on() {
    let began = unix_s() - 2.0;
    let meshd = Site::new(TEN).start();
    let before = number(&meshd, "process_cpu_seconds_total");
    eventually("work costs time", || {
        (number(&meshd, "process_cpu_seconds_total") > before).then_some(())
    });
    let proc = |file: &str| {
        std::fs::read_to_string(format!("/proc/{}/{file}", meshd.pid())).expect("procfs")
    };
    let threads = proc("status")
        .lines()
        .find_map(|line| line.strip_prefix("Threads:")?.trim().parse::<f64>().ok());
    assert!(number(&meshd, "process_threads") >= threads.expect("a number") - 1.0);
    let soft_limit: Option<f64> = proc("limits").lines().find_map(|line| {
        line.strip_prefix("Max open files")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    assert_eq!(
        number(&meshd, "process_max_fds"),
        soft_limit.expect("a limit")
    );
    let open = number(&meshd, "process_open_fds");
    assert!((10.0..1_000.0).contains(&open), "{open}");
    let resident = number(&meshd, "process_resident_memory_bytes");
    assert!(resident > 1e6, "{resident}");
    assert!(number(&meshd, "process_virtual_memory_bytes") >= resident);
    let started = number(&meshd, "process_start_time_seconds");
    assert!((began..=unix_s() + 1.0).contains(&started), "{started}");
}
