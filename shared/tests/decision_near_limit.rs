//! Hits that come near a limit, by the ratio that is published with the rules.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and that is what it should do"
)]

mod support;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::region::{OwnedRegion, Region};
use hivemind_shared::rules::NearLimitRatio;
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;
use support::asker::{Asker, START_S};
use support::{Place, small};

/// Publishes one limit, with this ratio.
fn publish(owned: &mut OwnedRegion, limit: &str, ratio: f32) {
    let text = format!("domain: d\ndescriptors:\n  - key: k\n    rate_limit: {limit}\n");
    let options = Options {
        near_limit_ratio: NearLimitRatio::new(ratio).unwrap(),
        ..Options::default()
    };
    let rules = parse(&[Source::new("rules.yaml", text.as_str())], &options)
        .unwrap()
        .rules;
    owned.publish_rules(&rules).unwrap();
}

/// Hits near the limit so far, and those above it.
fn near_and_over(region: &Region) -> (u64, u64) {
    let (_, rules) = region.load_rules().unwrap();
    let (_, rule) = rules.rules().next().unwrap();
    let stats = region.rule_stats(rule.stats_index);
    (stats.near_limit, stats.over_limit)
}

#[test]
fn hits_above_the_ratio_and_up_to_the_limit_are_near_it_by_every_algorithm() {
    for limit in [
        "{unit: hour, requests_per_unit: 10}",
        "{unit: hour, requests_per_unit: 10, hivemind: {count_denied: false}}",
        "{unit: hour, requests_per_unit: 10, hivemind: {algorithm: sliding_window}}",
        "{unit: day, requests_per_unit: 1, hivemind: {algorithm: token_bucket, burst: 10}}",
    ] {
        for (ratio, expected) in [(0.0, 10), (0.29, 8), (0.8, 2), (0.99, 1), (1.0, 0)] {
            let mut owned = Region::anonymous(&small()).unwrap();
            publish(&mut owned, limit, ratio);
            let mut asker = Asker::new(&owned);
            for _ in 0..12 {
                asker.ask(1);
            }
            let found = near_and_over(owned.region());
            assert_eq!(found, (expected, 2), "{ratio} of {limit}");
        }
    }
}

#[test]
fn another_ratio_holds_from_the_next_request_on_for_whoever_is_attached() {
    const LIMIT: &str = "{unit: hour, requests_per_unit: 10}";
    let place = Place::new();
    let (mut owned, _) = OwnedRegion::open(&place.region(), &small()).unwrap();
    publish(&mut owned, LIMIT, 0.8);
    let attached = Region::attach(&place.region()).unwrap();
    let mut asker = Asker::on(attached.into(), ManualClock::at(START_S));
    for _ in 0..4 {
        asker.ask(1);
    }
    assert_eq!(near_and_over(owned.region()), (0, 0));
    // The owner is started again with another setting.
    drop(owned);
    let (mut owned, _) = OwnedRegion::open(&place.region(), &small()).unwrap();
    publish(&mut owned, LIMIT, 0.5);
    asker.ask(3);
    assert_eq!(
        near_and_over(owned.region()),
        (2, 0),
        "the sixth and seventh"
    );
}
