//! Many threads on one region, on the real clock: nothing lost, nothing doubled, never one too many.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Barrier;

use hivemind_shared::clock::{Clock, CoarseClock, ManualClock};
use hivemind_shared::decision::{Code, Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::{OwnedRegion, Region, RegionOptions};
use hivemind_shared::table::{Key, Slot, Table};
use hivemind_shared::window::Unit;
use support::rules;

const THREADS: usize = 8;

fn region() -> OwnedRegion {
    let options = RegionOptions {
        max_keys: 100,
        rules_bytes: 4_096,
        ..RegionOptions::default()
    };
    let mut owned = Region::anonymous(&options).unwrap();
    owned
        .publish_rules(&rules(
            "
domain: edge
descriptors:
  - key: shared
    rate_limit: {unit: year, requests_per_unit: 10000}
",
        ))
        .unwrap();
    owned
}

#[test]
fn threads_admit_exactly_the_limit() {
    let owned = region();
    let barrier = Barrier::new(THREADS);
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let limiter =
                        Limiter::new(owned.region().clone(), ManualClock::at(1_800_000_000));
                    let mut decision = Decision::new();
                    let entries = [Entry::new("shared", "x")];
                    barrier.wait();
                    (0..5_000)
                        .filter(|_| {
                            limiter
                                .decide(b"edge", &[Descriptor::new(&entries)], 1, &mut decision)
                                .unwrap();
                            decision.overall == Code::Ok
                        })
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(admitted, 10_000);
    let counters: Vec<_> = owned.region().counters(1_800_000_000).collect();
    assert_eq!(counters.len(), 1);
    assert_eq!(
        counters[0].local, 40_000,
        "every hit is counted, also the refused ones"
    );
    let stats = owned
        .region()
        .rule_stats(counters[0].rule_stats_index.unwrap());
    assert_eq!(
        (stats.total_hits, stats.within_limit, stats.over_limit),
        (40_000, 10_000, 30_000)
    );
}

#[test]
fn tickets_stay_unique_and_without_gaps_while_keys_churn_and_windows_change() {
    // Fewer slots than keys, windows of a second, on the real clock: keys expire and take one another's
    // slots all the time. Within a window every hit on a key must get a number of its own.
    let slots: Vec<Slot> = (0..32).map(|_| Slot::default()).collect();
    let start_s = CoarseClock.now_s();
    let hits: Vec<Hit> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let slots = &slots;
                scope.spawn(move || churn(slots, thread, start_s + 4))
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let seconds: HashSet<u32> = hits.iter().map(|hit| hit.window).collect();
    assert!(
        seconds.len() >= 3,
        "no windows changed: the test proves nothing"
    );
    let mut windows: HashMap<(u64, u32), Vec<u64>> = HashMap::new();
    for hit in &hits {
        windows
            .entry((hit.key, hit.window))
            .or_default()
            .push(hit.number);
    }
    for ((key, window), mut numbers) in windows {
        numbers.sort_unstable();
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "hits on key {key} in window {window}");
    }
    let table: Table<'_> = Table::new(&slots).unwrap();
    let mut keys = HashSet::new();
    for reading in (0..slots.len()).filter_map(|slot| table.read(slot)) {
        assert!(keys.insert(reading.key), "two slots for {:?}", reading.key);
    }
}

/// The how-many-eth hit on a key in a window.
struct Hit {
    key: u64,
    window: u32,
    number: u64,
}

/// Counts keys at random until a time, a bounded number of times.
fn churn(slots: &[Slot], thread: usize, until_s: u64) -> Vec<Hit> {
    let table: Table<'_> = Table::new(slots).unwrap();
    let mut hits = Vec::new();
    let mut state = thread as u64 + 1;
    let mut second = (0, 0);
    loop {
        let now_s = CoarseClock.now_s();
        if now_s >= until_s {
            break;
        }
        // A bounded number of hits each second, and then all wait for the next one to begin, which is
        // when windows change and keys expire.
        if second.0 != now_s {
            second = (now_s, 0);
        }
        if second.1 == 40_000 {
            std::hint::spin_loop();
            continue;
        }
        second.1 += 1;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Six keys that stay, and twelve that are new every second.
        let name = match state % 18 {
            staying @ 0..6 => staying,
            passing => 1_000 * now_s + passing,
        };
        let high = name.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let key = Key {
            fingerprint: Fingerprint {
                high,
                low: high.rotate_left(23) ^ name,
            },
            period: Unit::Second.into(),
        };
        if let Ok(counted) = table.count(&key, 1, now_s, &CoarseClock, |_, _| {}) {
            hits.push(Hit {
                key: name,
                window: counted.window.number(),
                number: counted.after,
            });
        }
    }
    hits
}
