//! The filter on real regions, against a stand-in for Envoy.

use std::path::PathBuf;
use std::sync::Arc;

use envoy_proxy_dynamic_modules_rust_sdk::abi::{
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_response_headers_status as ResponseHeadersStatus,
};
use envoy_proxy_dynamic_modules_rust_sdk::{HttpFilter, HttpFilterConfig};
use hivemind_shared::region::{OwnedRegion, RegionOptions};
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;
use tempfile::TempDir;

use super::*;
use crate::fake_envoy::{FakeEnvoy, FakeEnvoyConfig};

const RULES: &str = "
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: year, requests_per_unit: 2, name: per-user}
  - key: generic_key
    value: all
    rate_limit: {unit: year, requests_per_unit: 1000}
  - key: remote_address
    rate_limit: {unit: year, requests_per_unit: 1}
";

const PER_USER: &str =
    r#"[{"actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]}]"#;

/// A host with a region, or a place for one.
struct Host {
    directory: TempDir,
    region: Option<OwnedRegion>,
}

impl Host {
    fn without_region() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            region: None,
        }
    }

    fn with_rules() -> Self {
        let mut host = Self::without_region();
        host.make_region();
        host.publish(RULES);
        host
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("region")
    }

    fn make_region(&mut self) {
        let options = RegionOptions {
            max_keys: 100,
            ..RegionOptions::default()
        };
        self.region = Some(OwnedRegion::open(&self.path(), &options).unwrap().0);
    }

    fn publish(&mut self, rules: &str) {
        let loaded = parse(&[Source::new("rules.yaml", rules)], &Options::default()).unwrap();
        self.region
            .as_mut()
            .unwrap()
            .publish_rules(&loaded.rules)
            .unwrap();
    }

    fn config(&self, rate_limits: &str, more: &str) -> String {
        format!(
            r#"{{"domain": "edge", "region": {:?}, "rate_limits": {rate_limits}{more}}}"#,
            self.path().to_str().unwrap()
        )
    }

    /// The filter as Envoy has it, with this configuration.
    fn filter(&self, rate_limits: &str, more: &str) -> Worker {
        Worker::new(&self.config(rate_limits, more))
    }
}

/// One worker's use of a filter configuration.
struct Worker {
    config: Box<dyn HttpFilterConfig<FakeEnvoy>>,
    counters: Vec<String>,
}

impl Worker {
    fn new(config: &str) -> Self {
        let mut envoy = FakeEnvoyConfig::default();
        let config = new_filter_config(&mut envoy, "ratelimit", config.as_bytes()).unwrap();
        Self {
            config,
            counters: envoy.counters,
        }
    }

    /// Sends a request through the filter, and a response if it passes.
    fn run(&self, mut envoy: FakeEnvoy) -> FakeEnvoy {
        envoy.counters.clone_from(&self.counters);
        let mut filter: Box<dyn HttpFilter<FakeEnvoy>> = self.config.new_http_filter(&mut envoy);
        let status = filter.on_request_headers(&mut envoy, true);
        if envoy.reply.is_some() {
            assert_eq!(status, RequestHeadersStatus::StopIteration);
        } else {
            assert_eq!(status, RequestHeadersStatus::Continue);
            let status = filter.on_response_headers(&mut envoy, true);
            assert_eq!(status, ResponseHeadersStatus::Continue);
        }
        envoy
    }

    fn run_user(&self, user: &str) -> FakeEnvoy {
        self.run(FakeEnvoy::with_headers([("x-user", user)]))
    }
}

fn header<'e>(headers: &'e [(String, String)], name: &str) -> Option<&'e str> {
    headers
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

#[test]
fn requests_pass_up_to_the_limit_and_then_are_answered() {
    let host = Host::with_rules();
    let worker = host.filter(PER_USER, "");
    for _ in 0..2 {
        let envoy = worker.run_user("ann");
        assert_eq!(envoy.reply, None);
        assert_eq!(envoy.response_headers, []);
        assert!(envoy.metadata.is_empty());
        assert_eq!(*envoy.counted.borrow(), ["hivemind.ok"]);
    }
    let envoy = worker.run_user("ann");
    let (status, headers, details) = envoy.reply.unwrap();
    assert_eq!((status, details.as_str()), (429, "request_rate_limited"));
    assert_eq!(
        headers[0],
        ("x-envoy-ratelimited".to_owned(), "true".to_owned())
    );
    let retry_after: u32 = header(&headers, "retry-after").unwrap().parse().unwrap();
    assert!((1..=31_536_000).contains(&retry_after));
    assert_eq!(headers.len(), 2);
    assert_eq!(envoy.flags, ["RL"]);
    let noted = |key, value: &str| ["hivemind", key, value].map(str::to_owned);
    assert_eq!(
        envoy.metadata,
        [noted("rule", "edge.user"), noted("rule_name", "per-user")]
    );
    assert_eq!(*envoy.counted.borrow(), ["hivemind.over_limit"]);
    assert_eq!(worker.run_user("bob").reply, None, "somebody else");
}

#[test]
fn rate_limit_headers_are_on_every_response_when_they_are_wanted() {
    let host = Host::with_rules();
    let worker = host.filter(
        PER_USER,
        r#", "enable_x_ratelimit_headers": "DRAFT_VERSION_03""#,
    );
    let limit = "2, 2;w=31536000;name=\"per-user\"";
    for remaining in ["1", "0"] {
        let envoy = worker.run_user("ann");
        assert_eq!(
            header(&envoy.response_headers, "x-ratelimit-limit"),
            Some(limit)
        );
        assert_eq!(
            header(&envoy.response_headers, "x-ratelimit-remaining"),
            Some(remaining)
        );
        assert!(header(&envoy.response_headers, "x-ratelimit-reset").is_some());
    }
    let (_, headers, _) = worker.run_user("ann").reply.unwrap();
    assert_eq!(header(&headers, "x-ratelimit-limit"), Some(limit));
    assert_eq!(header(&headers, "x-ratelimit-remaining"), Some("0"));
    assert_eq!(
        header(&headers, "x-ratelimit-reset"),
        header(&headers, "retry-after")
    );
}

#[test]
fn a_request_without_a_descriptor_is_not_asked_about() {
    let host = Host::with_rules();
    let worker = host.filter(PER_USER, "");
    let envoy = worker.run(FakeEnvoy::default());
    assert_eq!(envoy.reply, None);
    assert_eq!(*envoy.counted.borrow(), [""; 0]);
}

#[test]
fn a_request_without_a_descriptor_passes_whatever_state_the_region_is_in() {
    let host = Host::without_region();
    let worker = host.filter(PER_USER, r#", "failure_mode_deny": true"#);
    let envoy = worker.run(FakeEnvoy::default());
    assert_eq!(envoy.reply, None);
    assert_eq!(*envoy.counted.borrow(), [""; 0]);
}

#[test]
fn answers_follow_the_configuration() {
    let host = Host::with_rules();
    let worker = host.filter(
        PER_USER,
        r#", "rate_limited_status": {"code": 503}, "disable_x_envoy_ratelimited_header": true"#,
    );
    worker.run_user("ann");
    worker.run_user("ann");
    let (status, headers, _) = worker.run_user("ann").reply.unwrap();
    assert_eq!(status, 503);
    assert_eq!(header(&headers, "x-envoy-ratelimited"), None);
}

#[test]
fn grpc_answers_carry_the_grpc_status() {
    let host = Host::with_rules();
    let call = || {
        FakeEnvoy::with_headers([
            ("x-user", "ann"),
            ("content-type", "application/grpc+proto"),
        ])
    };
    let unavailable = host.filter(PER_USER, "");
    let exhausted = host.filter(PER_USER, r#", "rate_limited_as_resource_exhausted": true"#);
    unavailable.run(call());
    unavailable.run(call());
    let (_, headers, _) = unavailable.run(call()).reply.unwrap();
    assert_eq!(header(&headers, "grpc-status"), Some("14"));
    let (_, headers, _) = exhausted.run(call()).reply.unwrap();
    assert_eq!(header(&headers, "grpc-status"), Some("8"));
}

#[test]
fn without_a_region_requests_pass_and_the_cause_is_counted() {
    let host = Host::without_region();
    let envoy = host.filter(PER_USER, "").run_user("ann");
    assert_eq!(envoy.reply, None);
    assert_eq!(
        *envoy.counted.borrow(),
        [
            "hivemind.error.region_missing",
            "hivemind.failure_mode_allowed"
        ]
    );
}

#[test]
fn without_a_region_requests_are_refused_if_that_is_wanted() {
    let host = Host::without_region();
    let deny = r#", "failure_mode_deny": true, "status_on_error": {"code": 503}"#;
    let envoy = host.filter(PER_USER, deny).run_user("ann");
    let (status, headers, details) = envoy.reply.unwrap();
    assert_eq!((status, details.as_str()), (503, "rate_limiter_error"));
    assert_eq!(headers, []);
    assert_eq!(envoy.flags, ["RLSE"]);
    assert_eq!(*envoy.counted.borrow(), ["hivemind.error.region_missing"]);
}

#[test]
fn without_rules_the_cause_is_counted_until_they_are_published() {
    let mut host = Host::without_region();
    host.make_region();
    let worker = host.filter(PER_USER, "");
    let envoy = worker.run_user("ann");
    assert_eq!(
        *envoy.counted.borrow(),
        ["hivemind.error.no_rules", "hivemind.failure_mode_allowed"]
    );
    host.publish(RULES);
    assert_eq!(*worker.run_user("ann").counted.borrow(), ["hivemind.ok"]);
}

#[test]
fn a_rule_edit_is_in_force_for_the_next_request() {
    let mut host = Host::with_rules();
    let worker = host.filter(PER_USER, "");
    worker.run_user("ann");
    worker.run_user("ann");
    assert!(worker.run_user("ann").reply.is_some());
    host.publish(&RULES.replace("requests_per_unit: 2,", "requests_per_unit: 5,"));
    assert_eq!(worker.run_user("ann").reply, None);
}

#[test]
fn a_routes_configuration_takes_the_filters_place() {
    let host = Host::with_rules();
    let worker = host.filter(PER_USER, "");
    let route = |config: &str| -> Arc<dyn Any> {
        Arc::from(new_route_config("ratelimit", config.as_bytes()).unwrap())
    };
    let on = |route: &Arc<dyn Any>| {
        let mut envoy = FakeEnvoy::with_headers([("x-user", "ann")]);
        envoy.source_address = Some("192.0.2.1:4711".to_owned());
        envoy.route_config = Some(Arc::clone(route));
        envoy
    };
    let by_address = route(&host.config(r#"[{"actions": [{"remote_address": {}}]}]"#, ""));
    assert_eq!(worker.run(on(&by_address)).reply, None);
    assert!(worker.run(on(&by_address)).reply.is_some());
    let unlimited = route(&host.config("[]", ""));
    for _ in 0..3 {
        assert_eq!(*worker.run(on(&unlimited)).counted.borrow(), [""; 0]);
    }
    assert_eq!(
        worker.run_user("ann").reply,
        None,
        "the filter's own, not used up by the routes"
    );
}

#[test]
fn workers_and_configurations_share_one_count() {
    let host = Host::with_rules();
    let first = host.filter(PER_USER, "");
    let config = host.config(PER_USER, "");
    first.run_user("ann");
    let elsewhere = std::thread::spawn(move || {
        let second = Worker::new(&config);
        second.run_user("ann").reply.is_none()
    });
    assert!(elsewhere.join().unwrap());
    assert!(first.run_user("ann").reply.is_some());
}

#[test]
fn counters_carry_the_prefix() {
    let host = Host::with_rules();
    let worker = host.filter(PER_USER, r#", "stat_prefix": "api""#);
    assert_eq!(
        *worker.run_user("ann").counted.borrow(),
        ["hivemind.api.ok"]
    );
    assert!(
        worker
            .counters
            .iter()
            .all(|name| name.starts_with("hivemind.api."))
    );
}

#[test]
fn what_cannot_be_configured_is_refused() {
    let host = Host::with_rules();
    let config = host.config(PER_USER, "");
    let mut envoy = FakeEnvoyConfig::default();
    let mut refused = |name: &str, config: &str| {
        let made: Option<Box<dyn HttpFilterConfig<FakeEnvoy>>> =
            new_filter_config(&mut envoy, name, config.as_bytes());
        made.is_none() && new_route_config(name, config.as_bytes()).is_none()
    };
    assert!(refused("ratelimiter", &config));
    assert!(refused("ratelimit", "{}"));
    assert!(!refused("ratelimit", &config));
    let mut frozen = FakeEnvoyConfig {
        frozen: true,
        ..FakeEnvoyConfig::default()
    };
    let made: Option<Box<dyn HttpFilterConfig<FakeEnvoy>>> =
        new_filter_config(&mut frozen, "ratelimit", config.as_bytes());
    assert!(made.is_none());
}
