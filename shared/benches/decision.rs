//! What a decision costs in time: `cargo bench -p hivemind-shared --bench decision`.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod scenarios;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use hivemind_shared::descriptor::Entry;
use scenarios::{Asker, Growth, address, full_region, new_values, region, region_of_rules};

fn hot(c: &mut Criterion) {
    let owned = region(1_000, 1);
    let mut asker = Asker::new(&owned);
    let value = address(0);
    c.bench_function("one descriptor, hot", |b| {
        b.iter(|| asker.ask(black_box(&value)));
    });
    let values = [0, 1, 2, 3].map(address);
    c.bench_function("four descriptors, hot", |b| {
        b.iter(|| asker.ask_four(black_box(&values)));
    });
    c.bench_function("no rule matches", |b| {
        b.iter(|| asker.ask_key("other", black_box(&value)));
    });
}

fn many_keys(c: &mut Criterion) {
    for keys in [100_000, 1_000_000] {
        let owned = region(keys, keys);
        let mut asker = Asker::new(&owned);
        // A stride that visits every key in an order no prefetcher guesses. Made before, so that only
        // the decision is measured and not the formatting.
        let values: Vec<String> = (0..keys)
            .map(|at| address((at * 7_919 + 13) % keys))
            .collect();
        let mut next = 0;
        c.bench_function(&format!("one descriptor, {keys} live keys"), |b| {
            b.iter(|| {
                next = if next + 1 == values.len() {
                    0
                } else {
                    next + 1
                };
                asker.ask(black_box(&values[next]))
            });
        });
    }
}

fn new_and_full(c: &mut Criterion) {
    let mut keys = 0..;
    let owned = region(20_000_000, 0);
    let mut asker = Asker::new(&owned);
    c.bench_function("a key seen for the first time (with formatting it)", |b| {
        b.iter(|| asker.ask(&address(keys.next().unwrap_or(0))));
    });
    let owned = full_region();
    let mut asker = Asker::new(&owned);
    let values = new_values();
    let mut values = values.iter().cycle();
    c.bench_function("a new key in a full table", |b| {
        b.iter(|| {
            let value = values.next().map_or("", String::as_str);
            asker.ask_key("full", black_box(value))
        });
    });
}

fn two_threads(c: &mut Criterion) {
    let owned = region(1_000, 1);
    c.bench_function("one descriptor, hot, two threads on one key", |b| {
        b.iter_custom(|rounds| {
            let barrier = Barrier::new(2);
            let times = std::thread::scope(|scope| {
                let threads = [0, 1].map(|_| {
                    scope.spawn(|| {
                        let mut asker = Asker::new(&owned);
                        let value = address(0);
                        let _ = asker.ask(&value);
                        barrier.wait();
                        let start = Instant::now();
                        for _ in 0..rounds {
                            let _ = asker.ask(black_box(&value));
                        }
                        start.elapsed()
                    })
                });
                threads.map(|thread| thread.join().unwrap_or(Duration::ZERO))
            });
            // Time of one decision as each thread sees it.
            (times[0] + times[1]) / 2
        });
    });
}

/// Every number of rules of each kind. Patterns are tried in file order, and nobody has a hundred
/// thousand of them on one level.
fn many_rules(c: &mut Criterion) {
    for (growth, numbers) in [
        (Growth::Values, &[10, 1_000, 100_000][..]),
        (Growth::Keys, &[10, 1_000, 100_000]),
        (Growth::Nested, &[10, 1_000, 100_000]),
        (Growth::Prefixes, &[10, 100, 1_000]),
        (Growth::Suffixes, &[10, 100, 1_000]),
    ] {
        for rules in numbers {
            let (owned, asked) = region_of_rules(growth, *rules);
            let entries: Vec<_> = asked
                .iter()
                .map(|(key, value)| Entry::new(key, value))
                .collect();
            let mut asker = Asker::new(&owned);
            let _ = asker.ask_entries(&entries);
            assert!(asker.found_a_limit(), "{growth:?}");
            c.bench_function(&format!("{rules} rules: {growth:?}"), |b| {
                b.iter(|| asker.ask_entries(black_box(&entries)));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = hot, many_rules, many_keys, new_and_full, two_threads
}
criterion_main!(benches);
