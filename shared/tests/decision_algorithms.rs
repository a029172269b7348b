//! Limits that slide, and limits that count only what they admit.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and that is what it should do"
)]

mod support;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::Code;
use hivemind_shared::region::{OwnedRegion, Region};
use hivemind_shared::window::{Period, Unit};
use proptest::prelude::*;
use support::asker::{Asker, START_S, admitted_at_once, region_with};

const SLIDING: &str =
    "{unit: minute, requests_per_unit: 10, hivemind: {algorithm: sliding_window}}";

#[test]
fn a_sliding_window_gives_back_what_the_window_before_took_little_by_little() {
    let owned = region_with(SLIDING);
    let mut asker = Asker::new(&owned);
    asker.clock.advance_s(59);
    assert!(asker.passes(10));
    assert!(!asker.passes(1));
    // A fixed window would begin at zero here.
    asker.clock.advance_s(1);
    let status = asker.ask(1);
    assert_eq!((status.code, status.remaining), (Code::OverLimit, 0));
    // Nine tenths of the minute before still count six seconds in: then one passes.
    assert_eq!(status.reset_s, 6);
    asker.clock.advance_ms(5_999);
    assert!(!asker.passes(1));
    asker.clock.advance_ms(1);
    assert!(asker.passes(1));
    assert!(!asker.passes(1));
    // Half of the ten, and the one.
    asker.clock.advance_s(24);
    assert_eq!(asker.ask(0).remaining, 4);
    // Two minutes later nothing counts any more.
    asker.clock.advance_s(90);
    assert_eq!(asker.ask(0).remaining, 10);
}

#[test]
fn a_sliding_window_counts_what_peers_had_in_the_window_before() {
    let owned = region_with(SLIDING);
    let mut asker = Asker::new(&owned);
    assert!(asker.passes(1));
    let counter = owned.region().counters(START_S).next().unwrap();
    let key = hivemind_shared::table::Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    };
    let window = Period::from(Unit::Minute).window_at(START_S);
    let put = |remote: i64| {
        owned
            .region()
            .put_remote(&key, window, remote, &asker.clock)
    };
    put(9).unwrap();
    asker.clock.advance_s(60);
    assert!(!asker.passes(1));
    asker.clock.advance_s(30);
    assert_eq!(asker.ask(0).remaining, 5);
}

#[test]
fn a_reset_lets_the_limit_through_again_whatever_its_algorithm() {
    for limit in [
        "{unit: hour, requests_per_unit: 5}",
        "{unit: hour, requests_per_unit: 5, hivemind: {count_denied: false}}",
        "{unit: hour, requests_per_unit: 5, hivemind: {algorithm: sliding_window}}",
        "{unit: hour, requests_per_unit: 5, hivemind: {algorithm: token_bucket, burst: 5, debt: 0}}",
    ] {
        let owned = region_with(limit);
        let mut asker = Asker::new(&owned);
        // Some of the window before as well, which counts for all but the first two.
        asker.clock.advance_s(3_599);
        assert!(asker.passes(3), "{limit}");
        asker.clock.advance_s(2);
        while asker.passes(1) {}
        reset(&owned, &asker.clock);
        let status = asker.ask(0);
        assert_eq!((status.code, status.remaining), (Code::Ok, 5), "{limit}");
        for _ in 0..5 {
            assert!(asker.passes(1), "{limit}");
        }
        assert!(!asker.passes(1), "{limit}");
    }
}

/// Forgives whatever is counted.
fn reset(owned: &OwnedRegion, clock: &ManualClock) {
    let region = owned.region();
    region.scan(|reading| {
        let forgiven = region.forgive(&reading.key, clock).unwrap();
        assert_eq!(forgiven.len(), 2, "this window and the one before");
        assert!(forgiven.iter().all(|counter| counter.after == 0));
        assert_eq!(region.forgivable(&reading.key, clock), []);
    });
}

#[test]
fn refused_hits_leave_no_trace_in_a_limit_that_does_not_count_them() {
    let owned = region_with("{unit: hour, requests_per_unit: 5, hivemind: {count_denied: false}}");
    let mut asker = Asker::new(&owned);
    assert!(!asker.passes(6));
    assert_eq!(owned.region().counters(START_S).count(), 0);
    assert!(asker.passes(3));
    for _ in 0..100 {
        assert!(!asker.passes(3));
    }
    assert!(asker.passes(2));
    let counter = owned.region().counters(START_S).next().unwrap();
    assert_eq!(counter.local, 5);
    let (_, published) = owned.region().load_rules().unwrap();
    let (_, rule) = published.rules().next().unwrap();
    let stats = owned.region().rule_stats(rule.stats_index);
    assert_eq!((stats.total_hits, stats.within_limit), (311, 5));
    // Of six, one was above the limit; of each three on top of three, one.
    assert_eq!(stats.over_limit, 101);
}

#[test]
fn threads_that_come_at_once_are_admitted_up_to_the_limit_and_no_further() {
    for limit in [
        "{unit: year, requests_per_unit: 1000, hivemind: {count_denied: false}}",
        "{unit: year, requests_per_unit: 1000, hivemind: {algorithm: sliding_window}}",
    ] {
        let owned = region_with(limit);
        let admitted = admitted_at_once(&owned, &ManualClock::at(START_S));
        assert_eq!(admitted, 1_000, "{limit}");
        assert_eq!(
            owned.region().counters(START_S).next().unwrap().local,
            1_000
        );
    }
}

proptest! {
    /// Against the formula, with nothing but two numbers to remember.
    #[test]
    fn a_sliding_window_decides_by_its_formula(
        steps in prop::collection::vec((0..90_000_u64, 0..8_u64), 1..60),
    ) {
        let owned = region_with(SLIDING);
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
            let fits = used + hits <= 10;
            // Whoever asks with none wants to know of one.
            prop_assert_eq!(asker.passes(hits), used + hits.max(1) <= 10);
            current += if fits { hits } else { 0 };
        }
    }
}

#[test]
fn of_limits_with_as_few_left_the_first_is_told() {
    let rules = support::rules(
        "domain: d\ndescriptors:\n  - key: k\n    rate_limits:\n      \
         - {name: first, unit: hour, requests_per_unit: 5}\n      \
         - {name: second, unit: day, requests_per_unit: 5}\n",
    );
    let mut owned = Region::anonymous(&support::small()).unwrap();
    owned.publish_rules(&rules).unwrap();
    let mut asker = Asker::new(&owned);
    for hits in [0, 3, 2] {
        let status = asker.ask(hits);
        let told = status.limit.unwrap();
        assert_eq!(told.period, Period::from(Unit::Hour), "{hits}: {status:?}");
    }
}
