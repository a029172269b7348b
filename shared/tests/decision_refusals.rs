//! A refused request is described by a limit that refused it.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and that is what it should do"
)]

mod support;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Code, Decision, Limiter, Status};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{OwnedRegion, Region};
use hivemind_shared::rules::Modes;
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;
use proptest::prelude::*;
use support::asker::START_S;
use support::small;

/// A key for each kind of descriptor.
const RULES: &str = "
domain: d
descriptors:
  - {key: plain, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: other, rate_limit: {unit: day, requests_per_unit: 3}}
  - {key: gated, rate_limit: {unit: hour, requests_per_unit: 3, hivemind: {count_denied: false}}}
  - {key: bucket, rate_limit: {unit: hour, requests_per_unit: 1, hivemind: {algorithm: token_bucket, burst: 3}}}
  - {key: quota, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: other_quota, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 3}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: year, requests_per_unit: 1}}
  - {key: exempt, rate_limit: {unlimited: true}}
";

const KEYS: [&str; 9] = [
    "plain",
    "other",
    "gated",
    "bucket",
    "quota",
    "other_quota",
    "shadow",
    "exempt",
    "no_rule",
];

fn is_quota(key: &str, modes: Modes) -> bool {
    modes.quota || key.ends_with("quota")
}

fn region(modes: Modes) -> OwnedRegion {
    let options = Options {
        modes,
        ..Options::default()
    };
    let source = Source::new("rules.yaml", RULES);
    let rules = parse(&[source], &options).unwrap().rules;
    let mut owned = Region::anonymous(&small()).unwrap();
    owned.publish_rules(&rules).unwrap();
    owned
}

/// The position of a status in the decision.
fn position(decision: &Decision, status: &Status) -> usize {
    let is_it = |it: &Status| std::ptr::eq(it, status);
    decision.statuses.iter().position(is_it).unwrap()
}

fn check(keys: &[&str], decision: &Decision, modes: Modes) -> Result<(), TestCaseError> {
    let over = |status: &Status| status.code == Code::OverLimit;
    let refusals: Vec<usize> = decision
        .refusals()
        .map(|status| position(decision, status))
        .collect();
    let all = || keys.iter().zip(&decision.statuses).enumerate();
    let fewest_of = |candidates: &[usize]| {
        candidates
            .iter()
            .copied()
            .filter(|at| decision.statuses[*at].limit.is_some())
            .min_by_key(|at| decision.statuses[*at].remaining)
    };
    let nearest = decision
        .nearest()
        .map(|(status, _)| position(decision, status));
    if decision.overall == Code::Ok {
        prop_assert_eq!(refusals, Vec::<usize>::new());
        let everything: Vec<usize> = (0..keys.len()).collect();
        prop_assert_eq!(nearest, fewest_of(&everything));
        prop_assert_eq!(decision.fired(), None);
        return Ok(());
    }
    let plain: Vec<usize> = all()
        .filter(|(_, (key, status))| over(status) && !is_quota(key, modes))
        .map(|(at, _)| at)
        .collect();
    let expected = if plain.is_empty() {
        all()
            .filter(|(_, (_, status))| over(status))
            .map(|(at, _)| at)
            .collect()
    } else {
        plain
    };
    prop_assert_eq!(nearest, fewest_of(&expected));
    prop_assert!(nearest.is_some_and(|at| over(&decision.statuses[at])));
    prop_assert_eq!(decision.fired(), decision.statuses[expected[0]].rule);
    prop_assert_eq!(refusals, expected);
    Ok(())
}

proptest! {
    #[test]
    fn what_describes_a_refused_request_refused_it(
        requests in prop::collection::vec(
            prop::collection::vec((0..KEYS.len(), prop::option::of(0..5_u64)), 1..6),
            1..12,
        ),
        quota: bool,
    ) {
        let modes = Modes { shadow: false, quota, ..Modes::default() };
        let owned = region(modes);
        let limiter = Limiter::new(owned.region().clone(), ManualClock::at(START_S));
        let mut decision = Decision::new();
        for request in requests {
            let keys: Vec<&str> = request.iter().map(|(key, _)| KEYS[*key]).collect();
            let entries: Vec<_> = keys.iter().map(|key| [Entry::new(*key, "v")]).collect();
            let descriptors: Vec<_> = entries
                .iter()
                .zip(&request)
                .map(|(entries, (_, hits_addend))| Descriptor {
                    hits_addend: *hits_addend,
                    ..Descriptor::new(entries)
                })
                .collect();
            limiter.decide(b"d", &descriptors, 1, &mut decision).unwrap();
            check(&keys, &decision, modes)?;
        }
    }
}
