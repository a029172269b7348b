//! Costs that are only known afterwards: a call with 0 hits asks, a later one reports what was spent.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and that is what it should do"
)]

mod support;

use std::sync::Barrier;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Code, Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{OwnedRegion, Region};
use hivemind_shared::table::Key;
use proptest::prelude::*;
use support::asker::{Asker, START_S, region_with};
use support::{rules, small};

/// Limits of ten that count only what they admit, with more in their `hivemind` block.
fn gated(more: &str) -> [String; 3] {
    [
        "count_denied: false",
        "algorithm: sliding_window",
        "algorithm: token_bucket",
    ]
    .map(|kind| format!("{{unit: hour, requests_per_unit: 10, hivemind: {{{kind}{more}}}}}"))
}

fn counted(owned: &OwnedRegion) -> u64 {
    let counters = owned.region().counters(START_S);
    counters
        .map(|counter| counter.local.saturating_add_signed(counter.remote))
        .sum()
}

#[test]
fn costs_that_are_reported_afterwards_use_up_a_limit_of_any_kind() {
    for limit in gated("") {
        for cost in [1, 4, 9, 11, 1_000, u64::MAX] {
            let owned = region_with(&limit);
            let mut asker = Asker::new(&owned);
            let mut asked = 0_u64;
            while asker.passes(0) {
                asked += 1;
                asker.report(cost);
                assert!(asked <= 10, "{limit}: costs of {cost} never end it");
            }
            assert_eq!(asked, 10_u64.div_ceil(cost), "{limit}, {cost}");
            // As many again is the debt of a rule that says none.
            assert_eq!(counted(&owned), asked.saturating_mul(cost).min(20));
            assert_eq!(asker.ask(0).remaining, 0);
        }
    }
}

#[test]
fn a_cost_that_does_not_fit_is_refused_and_charged_as_far_as_the_debt_allows() {
    for limit in gated(", debt: 25") {
        let owned = region_with(&limit);
        let mut asker = Asker::new(&owned);
        assert!(asker.passes(6));
        for (cost, total) in [(5, 11), (3, 14), (30, 35), (30, 35)] {
            let status = asker.report(cost);
            assert_eq!((status.code, status.remaining), (Code::OverLimit, 0));
            assert_eq!(counted(&owned), total, "{limit}");
            assert!(!asker.passes(0));
        }
    }
}

#[test]
fn ordinary_hits_that_are_refused_are_not_charged() {
    for limit in gated("") {
        let owned = region_with(&limit);
        let mut asker = Asker::new(&owned);
        // Several hits of a request pass together or not at all.
        assert!(!asker.passes(11));
        assert!(asker.passes(8));
        assert!(!asker.passes(3));
        assert!(asker.passes(2));
        assert!(!asker.passes(1));
        assert_eq!(asker.report(1).code, Code::OverLimit);
        assert_eq!(counted(&owned), 10, "{limit}");
    }
}

#[test]
fn without_a_debt_what_is_refused_is_never_charged() {
    for limit in gated(", debt: 0") {
        let owned = region_with(&limit);
        let mut asker = Asker::new(&owned);
        assert_eq!(asker.report(11).code, Code::OverLimit);
        assert_eq!(asker.report(10).code, Code::Ok);
        assert_eq!(counted(&owned), 10, "{limit}");
    }
}

#[test]
fn where_a_rule_says_its_debt_any_call_of_several_hits_is_a_cost() {
    for limit in gated(", debt: 3") {
        let owned = region_with(&limit);
        let mut asker = Asker::new(&owned);
        assert!(!asker.passes(12));
        assert_eq!(counted(&owned), 12, "{limit}");
        assert!(!asker.passes(1));
        assert_eq!(counted(&owned), 12, "{limit}");
    }
}

#[test]
fn a_bucket_pays_its_debt_from_what_flows_in_whoever_asks_meanwhile() {
    for asks in [false, true] {
        let owned = region_with(
            "{unit: minute, requests_per_unit: 60, hivemind: {algorithm: token_bucket, burst: 10, debt: 200}}",
        );
        let mut asker = Asker::new(&owned);
        // A whole window is four minutes; this is the end of one.
        asker.clock.advance_s(235);
        let status = asker.report(150);
        assert_eq!((status.code, status.reset_s), (Code::OverLimit, 141));
        for _ in 0..140 {
            asker.clock.advance_s(1);
            assert!(!asks || !asker.passes(0));
        }
        assert!(!asker.passes(0));
        asker.clock.advance_s(1);
        assert_eq!(asker.ask(0).remaining, 1, "{asks}");
        assert!(asker.passes(1));
    }
}

#[test]
fn a_debt_as_large_as_can_be_is_paid_to_the_last_token() {
    let most = u32::MAX - 1;
    let owned = region_with(&format!(
        "{{unit: second, requests_per_unit: 1000000, hivemind: {{algorithm: token_bucket, burst: 1, debt: {most}}}}}"
    ));
    let mut asker = Asker::new(&owned);
    // The window is as long as that takes; this is the beginning of one.
    asker.clock.advance_s(4_295 - START_S % 4_295);
    assert_eq!(asker.report(u64::MAX).code, Code::OverLimit);
    assert_eq!(asker.report(u64::MAX).remaining, 0);
    asker.clock.advance_ms(4_294_967);
    assert!(!asker.passes(1));
    // A token is there, but the window's count holds no more hits: none passes without being counted.
    asker.clock.advance_ms(1);
    assert!(!asker.passes(1));
    asker.clock.advance_ms(32);
    assert!(asker.passes(0));
    assert!(asker.passes(1));
    assert!(!asker.passes(1));
}

#[test]
fn a_sliding_window_forgets_a_debt_with_its_window() {
    let owned = region_with(
        "{unit: minute, requests_per_unit: 10, hivemind: {algorithm: sliding_window, debt: 30}}",
    );
    let mut asker = Asker::new(&owned);
    asker.report(40);
    asker.clock.advance_s(60);
    let status = asker.ask(0);
    // A quarter of forty, and nine of it once one hit fits.
    assert_eq!((status.code, status.reset_s), (Code::OverLimit, 47));
    asker.clock.advance_s(46);
    assert!(!asker.passes(0));
    asker.clock.advance_s(1);
    assert!(asker.passes(0));
    asker.clock.advance_s(60);
    assert_eq!(asker.ask(0).remaining, 10);
}

#[test]
fn a_cost_is_charged_in_every_limit_that_it_is_reported_to() {
    let text = "
domain: d
descriptors:
  - {key: small, rate_limit: {unit: hour, requests_per_unit: 5, hivemind: {algorithm: token_bucket}}}
  - {key: large, rate_limit: {unit: hour, requests_per_unit: 100, hivemind: {algorithm: sliding_window}}}
";
    let mut owned = Region::anonymous(&small()).unwrap();
    owned.publish_rules(&rules(text)).unwrap();
    let limiter = Limiter::new(owned.region().clone(), ManualClock::at(START_S));
    let (small, large) = ([Entry::new("small", "")], [Entry::new("large", "")]);
    let mut decision = Decision::new();
    let mut report = |hits: Option<u64>| {
        let cost = |entries| Descriptor {
            hits_addend: hits,
            ..Descriptor::new(entries)
        };
        let both = [cost(&small[..]), cost(&large[..])];
        limiter.decide(b"d", &both, 1, &mut decision).unwrap();
        [0, 1].map(|at| (decision.statuses[at].code, decision.statuses[at].remaining))
    };
    assert_eq!(report(Some(8)), [(Code::OverLimit, 0), (Code::Ok, 92)]);
    // What refuses an ordinary request keeps the others as they are.
    assert_eq!(report(None), [(Code::OverLimit, 0), (Code::Ok, 92)]);
    assert_eq!(report(Some(0)), [(Code::OverLimit, 0), (Code::Ok, 92)]);
}

#[test]
fn what_a_peer_charged_holds_here_and_is_repaid_here() {
    let owned = region_with(
        "{unit: minute, requests_per_unit: 60, hivemind: {algorithm: token_bucket, burst: 10}}",
    );
    let mut asker = Asker::new(&owned);
    assert!(asker.passes(1));
    let counter = owned.region().counters(START_S).next().unwrap();
    let key = Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    };
    let (region, window) = (owned.region(), counter.window);
    region.put_remote(&key, window, 40, &asker.clock).unwrap();
    assert!(!asker.passes(0));
    // The debt is that of all hosts: 60 and the ten of the bucket.
    assert_eq!(asker.report(1_000).code, Code::OverLimit);
    assert_eq!(counted(&owned), 70);
    asker.clock.advance_s(60);
    assert!(!asker.passes(0));
    asker.clock.advance_s(1);
    assert!(asker.passes(0));
}

#[test]
fn costs_that_are_reported_at_once_are_charged_up_to_the_debt_and_no_further() {
    for limit in gated(", debt: 990") {
        let owned = region_with(&limit);
        let clock = ManualClock::at(START_S);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut asker = Asker::by(&owned, clock.clone());
                    barrier.wait();
                    for _ in 0..200 {
                        asker.report(3);
                    }
                });
            }
        });
        assert_eq!(counted(&owned), 1_000, "{limit}");
    }
}

#[test]
fn a_full_counter_is_over_a_limit_that_no_count_is_above() {
    let owned = region_with("{unit: year, requests_per_unit: 4294967295}");
    let mut asker = Asker::new(&owned);
    assert!(asker.passes(u64::from(u32::MAX) - 1));
    assert!(asker.passes(0));
    assert!(asker.passes(1));
    assert!(!asker.passes(0));
    assert!(!asker.passes(1));
    assert!(!asker.passes(0));
    // Of any other limit a read of a count that is used up is within it, as in envoyproxy/ratelimit.
    let owned = region_with("{unit: year, requests_per_unit: 4294967294}");
    let mut asker = Asker::new(&owned);
    assert!(asker.passes(u64::from(u32::MAX) - 1));
    assert!(asker.passes(0));
}

proptest! {
    /// Against a bucket that is one: tokens in eighths, of which one flows in every 125 ms.
    #[test]
    fn a_bucket_in_debt_decides_as_a_bucket_would(
        burst in 1_u32..150,
        debt in prop::option::of(0_u32..400),
        steps in prop::collection::vec((0..900_u64, 0..120_u64, any::<bool>()), 1..60),
    ) {
        let written = debt.map_or(String::new(), |debt| format!(", debt: {debt}"));
        let owned = region_with(&format!(
            "{{unit: minute, requests_per_unit: 60, hivemind: {{algorithm: token_bucket, burst: {burst}{written}}}}}"
        ));
        let mut asker = Asker::new(&owned);
        let most = i64::from(debt.unwrap_or_else(|| burst.max(60)));
        let full = i64::from(burst) * 8;
        let mut level = full;
        for (wait, hits, reports) in steps {
            asker.clock.advance_ms(wait * 125);
            level = (level + wait.cast_signed()).min(full);
            let status = if reports { asker.report(hits) } else { asker.ask(hits) };
            let taken = hits.cast_signed();
            let fits = taken.max(1) * 8 <= level;
            prop_assert_eq!(status.code == Code::Ok, fits);
            if fits {
                level -= taken * 8;
            } else if taken > 1 && most > 0 && (reports || debt.is_some()) {
                level -= ((level + most * 8) / 8).min(taken) * 8;
            }
            prop_assert_eq!(i64::from(status.remaining), level.max(0) / 8);
        }
    }

    /// Against the formula, with nothing but two numbers to remember.
    #[test]
    fn a_sliding_window_in_debt_decides_by_its_formula(
        debt in 0_u64..60,
        steps in prop::collection::vec((0..90_000_u64, 0..30_u64), 1..60),
    ) {
        let owned = region_with(&format!(
            "{{unit: minute, requests_per_unit: 10, hivemind: {{algorithm: sliding_window, debt: {debt}}}}}"
        ));
        let mut asker = Asker::new(&owned);
        let (mut now_ms, mut window) = (START_S * 1_000, START_S / 60);
        let (mut previous, mut current) = (0_u64, 0_u64);
        for (wait_ms, hits) in steps {
            asker.clock.advance_ms(wait_ms);
            now_ms += wait_ms;
            let now_window = now_ms / 60_000;
            if now_window > window {
                previous = if now_window == window + 1 { current } else { 0 };
                current = 0;
                window = now_window;
            }
            let left_ms = 60_000 - now_ms % 60_000;
            let used = (previous * left_ms).div_ceil(60_000) + current;
            let fits = used + hits.max(1) <= 10;
            prop_assert_eq!(asker.report(hits).code == Code::Ok, fits);
            current += if fits {
                hits
            } else if hits > 1 && debt > 0 {
                (10 + debt).saturating_sub(used).min(hits)
            } else {
                0
            };
        }
    }
}
