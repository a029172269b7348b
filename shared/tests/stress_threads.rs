//! Many threads on one region, on the real clock: nothing lost, nothing doubled, never one too many.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Barrier;

use hivemind_shared::clock::{Clock, CoarseClock, ManualClock};
use hivemind_shared::decision::{Code, Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::{OwnedRegion, Region, RegionOptions};
use hivemind_shared::sync::{AtomicWord, Ordering};
use hivemind_shared::table::words::Life;
use hivemind_shared::table::{Claimant, Key, Slot, Source, Table, Usage};
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
fn tickets_stay_unique_and_without_gaps_while_keys_are_evicted_and_windows_change() {
    // Fewer slots than keys, windows of a second, on the real clock: keys expire and are evicted, and take
    // one another's slots all the time. Within a window every hit on a key must get a number of its own,
    // until the key is evicted; then its numbers begin again.
    let slots: Vec<Slot> = (0..32).map(|_| Slot::default()).collect();
    let start_s = CoarseClock.now_s();
    let evictions = AtomicWord::default();
    let hits: Vec<Hit> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (slots, evictions) = (&slots, &evictions);
                scope.spawn(move || churn(slots, thread, start_s + 4, evictions))
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
    // How often each number was given out.
    let mut numbers: HashMap<(u64, u32), BTreeMap<u64, u64>> = HashMap::new();
    for hit in &hits {
        let of_key = numbers.entry((hit.key, hit.window)).or_default();
        *of_key.entry(hit.number).or_default() += 1;
    }
    let mut begun_again = 0;
    for ((key, window), counts) in &numbers {
        let mut last = counts[&1];
        begun_again += last - 1;
        for (expected, (number, times)) in (1..).zip(counts) {
            assert_eq!(*number, expected, "a gap on key {key} in window {window}");
            assert!(
                *times <= last,
                "{number} twice on key {key} in window {window}"
            );
            last = *times;
        }
    }
    let evictions = evictions.load(Ordering::Relaxed);
    assert!(begun_again > 0, "no key came back: the test proves nothing");
    assert!(begun_again <= evictions, "{begun_again} and {evictions}");
    let table: Table<'_> = Table::new(&slots).unwrap();
    let mut keys = HashSet::new();
    for reading in (0..slots.len()).filter_map(|slot| table.read(slot)) {
        assert!(keys.insert(reading.key), "two slots for {:?}", reading.key);
    }
}

/// Counts evictions.
struct Evictions<'a>(&'a AtomicWord);

impl Claimant for Evictions<'_> {
    fn source(&self) -> Source {
        Source::of_hits(0)
    }

    fn claimed(&self, _: usize, _: Life) {}

    fn evicted(&self, _: Usage) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A hit on a key in a window, and its number there.
struct Hit {
    key: u64,
    window: u32,
    number: u64,
}

/// Counts keys at random until a time, a bounded number of times.
fn churn(slots: &[Slot], thread: usize, until_s: u64, evictions: &AtomicWord) -> Vec<Hit> {
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
        // Six keys that stay, and thirty that are new every second.
        let name = match state % 36 {
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
        if let Ok(counted) = table.count(&key, 1, now_s, &CoarseClock, Evictions(evictions)) {
            hits.push(Hit {
                key: name,
                window: counted.window.number(),
                number: counted.after,
            });
        }
    }
    hits
}
