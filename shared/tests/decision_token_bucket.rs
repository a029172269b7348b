//! Limits that are token buckets.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and that is what it should do"
)]

mod support;

use std::sync::mpsc;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Code, Standing};
use hivemind_shared::region::OwnedRegion;
use hivemind_shared::table::{Beside, Key};
use proptest::prelude::*;
use support::asker::{Asker, START_S, admitted_at_once, publish, region_with};

fn limit(unit: &str, tokens: u32, burst: u32) -> String {
    format!(
        "{{unit: {unit}, requests_per_unit: {tokens}, hivemind: {{algorithm: token_bucket, burst: {burst}}}}}"
    )
}

#[test]
fn a_full_bucket_lets_its_size_pass_at_once_and_then_what_flows_in() {
    let owned = region_with(&limit("minute", 60, 5));
    let mut asker = Asker::new(&owned);
    for left in (0..5).rev() {
        let status = asker.ask(1);
        assert_eq!((status.code, status.remaining), (Code::Ok, left));
    }
    let status = asker.ask(1);
    assert_eq!((status.code, status.remaining), (Code::OverLimit, 0));
    assert_eq!(status.reset_s, 1);
    asker.clock.advance_ms(999);
    assert!(!asker.passes(1));
    asker.clock.advance_ms(1);
    assert!(asker.passes(1));
    assert!(!asker.passes(1));
    asker.clock.advance_s(3);
    assert_eq!(asker.ask(0).remaining, 3);
    // Three tokens are there, and two more flow in in two seconds.
    assert_eq!(asker.ask(5).reset_s, 2);
    // However long nobody comes, it holds no more than its size.
    asker.clock.advance_s(3_600);
    let status = asker.ask(0);
    assert_eq!((status.remaining, status.reset_s), (5, 0));
    assert!(!asker.passes(6));
}

#[test]
fn what_a_bucket_lacks_when_a_window_ends_it_lacks_in_the_next_one() {
    let owned = region_with(&limit("minute", 60, 60));
    let mut asker = Asker::new(&owned);
    asker.clock.advance_s(59);
    assert!(asker.passes(60));
    asker.clock.advance_s(2);
    assert_eq!(asker.ask(0).remaining, 2);
    assert!(asker.passes(2));
    assert!(!asker.passes(1));
    // The window before is forgotten a window later, when the bucket is full whatever was in it.
    asker.clock.advance_s(120);
    assert_eq!(asker.ask(0).remaining, 60);
}

#[test]
fn a_bucket_larger_than_its_limit_fills_over_several_periods() {
    let owned = region_with(&limit("second", 10, 95));
    let mut asker = Asker::new(&owned);
    assert!(asker.passes(95));
    for second in 1..=9 {
        asker.clock.advance_s(1);
        assert_eq!(asker.ask(0).remaining, second * 10);
    }
    asker.clock.advance_s(1);
    assert_eq!(asker.ask(0).remaining, 95);
}

#[test]
fn without_a_burst_the_bucket_is_as_large_as_the_limit() {
    let owned =
        region_with("{unit: hour, requests_per_unit: 7, hivemind: {algorithm: token_bucket}}");
    assert_eq!(Asker::new(&owned).ask(0).remaining, 7);
}

#[test]
fn hits_of_peers_take_tokens_too() {
    let owned = region_with(&limit("minute", 60, 10));
    let mut asker = Asker::new(&owned);
    assert!(asker.passes(1));
    let counter = owned.region().counters(START_S).next().unwrap();
    let key = Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    };
    let put = |remote: i64| {
        owned
            .region()
            .put_remote(&key, counter.window, remote, &asker.clock)
    };
    put(8).unwrap();
    let missing = |owned: &OwnedRegion, now_ms| {
        let (_, published) = owned.region().load_rules().unwrap();
        let (_, rule) = published.rules().next().unwrap();
        let standing = Standing::of(owned.region(), key.fingerprint, rule, now_ms);
        standing.unwrap().held
    };
    assert_eq!(missing(&owned, START_S * 1_000), 9);
    assert!(asker.passes(1));
    assert!(!asker.passes(1));
    // Peers overshot by five: the bucket is in debt until that has flowed in.
    let put = |remote: i64| {
        owned
            .region()
            .put_remote(&key, counter.window, remote, &asker.clock)
    };
    put(13).unwrap();
    asker.clock.advance_s(5);
    assert!(!asker.passes(1));
    assert_eq!(missing(&owned, (START_S + 5) * 1_000), 10);
    asker.clock.advance_s(1);
    assert!(asker.passes(1));
}

#[test]
fn a_reset_fills_the_bucket_where_it_is_made_and_where_it_is_heard_of() {
    for forgiven_by_a_peer in [false, true] {
        let owned = region_with(&limit("minute", 60, 60));
        let mut asker = Asker::new(&owned);
        // Empty at the end of a window: the next one begins with a debt, which is remembered.
        asker.clock.advance_s(59);
        assert!(asker.passes(60));
        asker.clock.advance_s(2);
        assert!(asker.passes(1));
        assert_eq!(asker.ask(0).remaining, 1);
        let region = owned.region();
        region.scan(|reading| {
            if !forgiven_by_a_peer {
                region.forgive(&reading.key, &asker.clock).unwrap();
                return;
            }
            for window in reading.near_windows(START_S + 61) {
                // It knew of some hits of its own that nobody here has heard of yet.
                let forgiven = reading.local_in(window.number()) + 5;
                let beside = |counted| Beside { counted, forgiven };
                let (key, clock) = (&reading.key, &asker.clock);
                region.put_forgiven(key, window, beside(0), clock).unwrap();
                region
                    .put_remote(key, window, beside(5).hits(), clock)
                    .unwrap();
            }
        });
        assert_eq!(asker.ask(0).remaining, 60, "{forgiven_by_a_peer}");
        assert!(asker.passes(60));
        assert!(!asker.passes(1));
        asker.clock.advance_s(3);
        assert_eq!(asker.ask(0).remaining, 3);
    }
}

#[test]
fn a_reset_without_a_mesh_fills_the_bucket_though_more_was_forgiven_with_one() {
    let owned = region_with(&limit("minute", 60, 60));
    let mut asker = Asker::new(&owned);
    assert!(asker.passes(10));
    let region = owned.region();
    let counter = region.counters(START_S).next().unwrap();
    let key = Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    };
    // With the mesh, 90 hits of peers were forgiven as well.
    let beside = Beside {
        counted: 90,
        forgiven: 100,
    };
    region
        .put_forgiven(&key, counter.window, beside, &asker.clock)
        .unwrap();
    // Without it, the next window begins with a debt, and nothing is counted in it.
    asker.clock.advance_s(59);
    assert!(asker.passes(60));
    asker.clock.advance_s(2);
    assert!(!asker.passes(30));
    assert_eq!(asker.ask(0).remaining, 2);
    region.forgive(&key, &asker.clock).unwrap();
    assert_eq!(asker.ask(0).remaining, 60);
}

#[test]
fn hits_of_peers_after_a_reset_take_tokens_though_nobody_asked_here_in_between() {
    let owned = region_with(&limit("minute", 60, 60));
    let mut asker = Asker::new(&owned);
    // Much has flowed in since the window began: none of it is there for the hits of peers.
    asker.clock.advance_s(50);
    assert!(asker.passes(10));
    let counter = owned.region().counters(START_S).next().unwrap();
    let key = Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    };
    for counted in [0, 40] {
        // The second time it is no news that hits were forgiven: that would fill the bucket again.
        let beside = Beside {
            counted,
            forgiven: 10,
        };
        let region = owned.region();
        region
            .put_forgiven(&key, counter.window, beside, &asker.clock)
            .unwrap();
    }
    assert_eq!(asker.ask(0).remaining, 20);
    asker.clock.advance_s(5);
    assert_eq!(asker.ask(0).remaining, 25);
}

#[test]
fn a_bucket_that_fills_at_another_rate_after_a_reload_is_a_new_one() {
    let mut owned = region_with(&limit("hour", 10, 10));
    let mut asker = Asker::new(&owned);
    asker.clock.advance_s(1_800);
    assert!(asker.passes(10));
    publish(&mut owned, &limit("hour", 10, 8));
    assert!(!asker.passes(1), "only the size is another one");
    publish(&mut owned, &limit("hour", 20, 10));
    assert!(asker.passes(10));
    assert!(!asker.passes(1));
}

#[test]
fn statistics_of_a_bucket_speak_of_its_size() {
    let owned = region_with(&limit("hour", 1_000, 10));
    let mut asker = Asker::new(&owned);
    for _ in 0..12 {
        asker.ask(1);
    }
    let (_, published) = owned.region().load_rules().unwrap();
    let (_, rule) = published.rules().next().unwrap();
    let stats = owned.region().rule_stats(rule.stats_index);
    assert_eq!(
        (stats.total_hits, stats.within_limit, stats.over_limit),
        (12, 10, 2)
    );
    assert_eq!(stats.near_limit, 2);
}

#[test]
fn threads_that_come_at_once_get_one_token_each() {
    let owned = region_with(&limit("year", 1_000, 1_000));
    // Late in the window: most of what flowed in flowed past the full bucket.
    let clock = ManualClock::at(START_S + 20_000_000);
    let admitted = admitted_at_once(&owned, &clock);
    assert_eq!(admitted, 1_000);
}

#[test]
fn threads_never_get_more_than_the_bucket_and_what_flowed_in() {
    let owned = region_with(&limit("hour", 36_000, 50));
    let clock = ManualClock::at(START_S);
    let admitted: usize = std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        let is_done = std::sync::Arc::new(std::sync::Mutex::new(is_done));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let mut asker = Asker::by(&owned, clock.clone());
                let is_done = std::sync::Arc::clone(&is_done);
                scope.spawn(move || {
                    let mut admitted = 0;
                    while is_done.lock().unwrap().try_recv() == Err(mpsc::TryRecvError::Empty) {
                        admitted += usize::from(asker.passes(1));
                    }
                    admitted
                })
            })
            .collect();
        let mut waker = Asker::by(&owned, clock.clone());
        let mut own = 0;
        for _ in 0..1_000 {
            clock.advance_ms(10);
            own += usize::from(waker.passes(1));
        }
        drop(done);
        let others: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        own + others
    });
    // Ten tokens a second for ten seconds, within one window.
    assert!((51..=150).contains(&admitted), "{admitted}");
}

proptest! {
    /// Against a bucket that is one: tokens in eighths, of which one flows in every 125 ms.
    #[test]
    fn a_token_bucket_decides_as_a_bucket_would(
        burst in 1_u32..150,
        steps in prop::collection::vec((0..600_u64, 0..80_u64), 1..60),
    ) {
        let owned = region_with(&limit("minute", 60, burst));
        let mut asker = Asker::new(&owned);
        let full = u64::from(burst) * 8;
        let mut level = full;
        for (wait, hits) in steps {
            asker.clock.advance_ms(wait * 125);
            level = (level + wait).min(full);
            let status = asker.ask(hits);
            // Whoever asks with none wants to know of one.
            prop_assert_eq!(status.code == Code::Ok, hits.max(1) * 8 <= level);
            if hits * 8 <= level {
                level -= hits * 8;
            }
            prop_assert_eq!(u64::from(status.remaining), level / 8);
        }
    }

    /// At any rate and time: never more than the bucket holds, and hardly less.
    #[test]
    fn rounding_never_makes_a_token_and_hardly_loses_a_part_of_one(
        tokens in 1_u32..100_000,
        burst in 1_u32..100_000,
        steps in prop::collection::vec((0..90_000_u64, 0..200_u64), 1..60),
    ) {
        prop_assume!(burst / tokens < 1_000);
        let owned = region_with(&limit("minute", tokens, burst));
        let mut asker = Asker::new(&owned);
        let full = u128::from(burst) * 60_000;
        // An eighth of a token.
        let slack = 60_000 / 8;
        let mut level = full;
        for (wait_ms, percent) in steps {
            asker.clock.advance_ms(wait_ms);
            level = full.min(level + u128::from(wait_ms) * u128::from(tokens));
            let hits = u64::from(burst) * percent / 100;
            let taken = u128::from(hits) * 60_000;
            if asker.passes(hits) {
                prop_assert!(taken <= level, "made {} parts", taken - level);
                level -= taken;
            } else {
                let wanted = taken.max(60_000);
                prop_assert!(wanted + slack > level, "lost {} parts", level - taken);
            }
        }
    }
}
