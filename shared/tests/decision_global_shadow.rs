//! Requests that pass in global shadow mode alone are told apart from those within their limits.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and that is what it should do"
)]

mod support;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Code, Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::Region;
use hivemind_shared::rules::Modes;
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;
use proptest::prelude::*;
use support::asker::START_S;
use support::small;

/// A key for each kind of descriptor: plain, quota, in shadow mode, exempt.
const RULES: &str = "
domain: d
descriptors:
  - {key: plain, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: quota, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: other_quota, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 3}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: exempt, rate_limit: {unlimited: true}}
";

const KEYS: [&str; 6] = [
    "plain",
    "quota",
    "other_quota",
    "shadow",
    "exempt",
    "no_rule",
];

/// Decides these requests one after the other: whether each may pass, and whether it does in shadow mode
/// alone.
fn decide(modes: Modes, requests: &[Vec<usize>]) -> Vec<(Code, bool)> {
    let options = Options {
        modes,
        ..Options::default()
    };
    let rules = parse(&[Source::new("rules.yaml", RULES)], &options)
        .unwrap()
        .rules;
    let mut owned = Region::anonymous(&small()).unwrap();
    owned.publish_rules(&rules).unwrap();
    let limiter = Limiter::new(owned.region().clone(), ManualClock::at(START_S));
    let mut decision = Decision::new();
    let decide = |keys: &Vec<usize>| {
        let entries: Vec<_> = keys
            .iter()
            .map(|&key| [Entry::new(KEYS[key], "v")])
            .collect();
        let descriptors: Vec<_> = entries.iter().map(|it| Descriptor::new(it)).collect();
        limiter
            .decide(b"d", &descriptors, 1, &mut decision)
            .unwrap();
        (decision.overall, decision.is_shadowed())
    };
    requests.iter().map(decide).collect()
}

proptest! {
    #[test]
    fn shadowed_is_what_would_be_refused_without_shadow_mode(
        requests in prop::collection::vec(prop::collection::vec(0..KEYS.len(), 1..4), 1..12),
        quota: bool,
    ) {
        let refused = decide(Modes { shadow: false, quota, ..Modes::default() }, &requests);
        let shadowed = decide(Modes { shadow: true, quota, ..Modes::default() }, &requests);
        for ((code, never), (passes, is_shadowed)) in refused.into_iter().zip(shadowed) {
            prop_assert_eq!((passes, never), (Code::Ok, false));
            prop_assert_eq!(is_shadowed, code == Code::OverLimit);
        }
    }
}
