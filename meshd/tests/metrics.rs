//! What a real meshd says of its work on `/metrics`.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use hivemind_shared::clock::CoarseClock;
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::Region;
use support::{Meshd, Site, admitted};

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
