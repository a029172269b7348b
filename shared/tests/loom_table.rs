//! Models of the counter table under every interleaving and every reordering the memory model allows,
//! explored by loom. The algorithms are the ones that run on the region; only the words are loom's.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "support/loom.rs"]
mod support;

use std::cell::Cell;
use std::collections::HashMap;

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::sync::{Ordering, Word};
use hivemind_shared::table::dirty::Dirty;
use hivemind_shared::table::words::{Count, Life};
use hivemind_shared::table::{
    Claimant, CountError, Key, Put, Slot, SlotReading, Source, Table, Usage,
};
use hivemind_shared::window::{Period, Unit};
use loom::sync::Arc;
use loom::thread;
use support::{Fixed, ModelWord, model};

/// What the daemon does when it hears from peers, in the window of second 200.
fn put(slots: &[Slot<ModelWord>], key: &Key, remote: i64) -> Result<(), CountError> {
    put_as(slots, key, remote, Put::Raise)
}

/// What it does when hits are forgiven.
fn forgive(slots: &[Slot<ModelWord>], key: &Key, hits: u32) -> Result<(), CountError> {
    put_as(slots, key, -i64::from(hits), Put::Set)
}

fn put_as(slots: &[Slot<ModelWord>], key: &Key, hits: i64, put: Put) -> Result<(), CountError> {
    table(slots).put_remote(
        key,
        Period::from(Unit::Second).window_at(200),
        hits,
        put,
        &Fixed(200),
        Peers,
    )
}

/// Asks for slots on behalf of what peers counted.
struct Peers;

impl Claimant for Peers {
    fn source(&self) -> Source {
        Source::PEERS
    }

    fn claimed(&self, _: usize, _: Life) {}

    fn evicted(&self, _: Usage) {}
}

/// Two buckets of one slot: the smallest table in which a key has a choice.
type Slots = Arc<Vec<Slot<ModelWord>>>;

fn slots(count: usize) -> Slots {
    Arc::new((0..count).map(|_| Slot::default()).collect())
}

fn table(slots: &[Slot<ModelWord>]) -> Table<'_, ModelWord, 1> {
    Table::new(slots).expect("two buckets or more")
}

/// A key whose search begins at slot `first` of two.
fn key(name: u64, first: u64) -> Key {
    // The low half of each word chooses the bucket; the high half of the first is part of the tag.
    let bucket = |which: u64| if which == 0 { 0 } else { 0xFFFF_FFFF };
    Key {
        fingerprint: Fingerprint {
            high: (name << 32) | bucket(first),
            low: (name << 32) | bucket(1 - first),
        },
        period: Unit::Second.into(),
    }
}

fn add(slots: &[Slot<ModelWord>], key: &Key, now_s: u64) -> Result<(u32, u64), CountError> {
    table(slots)
        .count(key, 1, now_s, &Fixed(now_s), |_, _| {})
        .map(|counted| (counted.window.number(), counted.after))
}

/// How many keys were evicted for those of a thread.
#[derive(Default)]
struct Evictions(Cell<usize>);

impl Claimant for &Evictions {
    fn source(&self) -> Source {
        Source::of_hits(0)
    }

    fn claimed(&self, _: usize, _: Life) {}

    fn evicted(&self, _: Usage) {
        self.0.set(self.0.get() + 1);
    }
}

/// The live slots by key. Panics when a key has two: that is invariant I2.
fn live(slots: &[Slot<ModelWord>]) -> HashMap<Fingerprint, SlotReading> {
    let table = table(slots);
    let mut found = HashMap::new();
    for reading in (0..slots.len()).filter_map(|index| table.read(index)) {
        let twin = found.insert(reading.key.fingerprint, reading);
        assert!(
            twin.is_none(),
            "two live slots for one key: {twin:?} and {reading:?}"
        );
    }
    found
}

#[test]
fn two_threads_that_bring_the_same_new_key_share_one_slot() {
    model(2, || {
        let slots = slots(2);
        let a = key(7, 0);
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || add(&slots, &a, 100).unwrap().1)
        };
        let mine = add(&slots, &a, 100).unwrap().1;
        let theirs = other.join().unwrap();
        // Each hit got its own number: none was lost, none was counted twice.
        assert_eq!(mine + theirs, 3);
        assert_eq!(
            live(&slots)[&a.fingerprint].local,
            Count::Hits {
                window: 100,
                count: 2
            }
        );
    });
}

#[test]
fn threads_that_see_different_vacancies_still_make_one_slot() {
    // Slot 0 holds a key that one thread takes for expired and the other, whose clock it reads a second
    // earlier, does not: they claim different slots for the same key.
    model(2, || {
        let slots = slots(2);
        let old = key(9, 0);
        add(&slots, &old, 100).unwrap();
        let a = key(7, 0);
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || add(&slots, &a, 102).unwrap())
        };
        let mine = add(&slots, &a, 101).unwrap();
        let theirs = other.join().unwrap();
        let reading = live(&slots)[&a.fingerprint];
        match (mine, theirs) {
            // Both landed in the later window.
            ((102, one), (102, two)) => {
                assert_eq!(one + two, 3);
                assert_eq!(
                    reading.local,
                    Count::Hits {
                        window: 102,
                        count: 2
                    }
                );
            }
            // One each, in either order; a thread that reads an older clock sets the count back as if
            // the clock had stepped, so which window the slot ends in depends on who came last.
            ((101, 1), (102, 1)) => {
                assert!(matches!(reading.local, Count::Hits { count: 1, .. }));
            }
            outcome => panic!("impossible outcome {outcome:?}"),
        }
    });
}

#[test]
fn a_key_that_comes_back_while_its_slot_is_taken_over_loses_no_hit() {
    model(2, || {
        let slots = slots(2);
        let old = key(9, 0);
        let new = key(7, 0);
        add(&slots, &old, 100).unwrap();
        // Fill the other slot, so that the new key must take the old one's.
        add(&slots, &key(8, 1), 200).unwrap();
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || add(&slots, &new, 200))
        };
        let mine = add(&slots, &old, 200).unwrap();
        let theirs = other.join().unwrap().unwrap();
        // There is room for one of the two beside the third key: whoever came last evicted another one.
        let live = live(&slots);
        assert_eq!(live.len(), 2);
        for (key, outcome) in [(old, mine), (new, theirs)] {
            assert_eq!(outcome, (200, 1));
            if let Some(reading) = live.get(&key.fingerprint) {
                let one = Count::Hits {
                    window: 200,
                    count: 1,
                };
                assert_eq!(reading.local, one);
            }
        }
    });
}

#[test]
fn a_thread_that_slept_over_an_eviction_adds_nothing_to_the_next_key() {
    model(1, || {
        let slots = slots(2);
        // Both slots are taken, by keys that count in this very window. Among equals the first one is evicted.
        let (old, new) = (key(9, 0), key(7, 0));
        add(&slots, &old, 200).unwrap();
        add(&slots, &key(8, 1), 200).unwrap();
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || add(&slots, &old, 200).unwrap())
        };
        // The next key has the same count in the same window as the one that the other thread may have seen.
        let mine = add(&slots, &new, 200).unwrap();
        let theirs = other.join().unwrap();
        assert_eq!(mine, (200, 1));
        // Before the eviction, or in another slot after it.
        assert!([(200, 2), (200, 1)].contains(&theirs), "{theirs:?}");
        let live = live(&slots);
        let count = |key: &Key| Some(live.get(&key.fingerprint)?.local.within(200));
        assert!(count(&new).is_none_or(|count| count == 1));
        assert!(count(&old).is_none_or(|count| u64::from(count) == theirs.1));
    });
}

#[test]
fn what_peers_counted_for_an_evicted_key_is_never_added_to_its_successor() {
    model(1, || {
        let slots = slots(2);
        let (old, new) = (key(9, 0), key(7, 0));
        add(&slots, &old, 200).unwrap();
        add(&slots, &key(8, 1), 200).unwrap();
        let daemon = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || put(&slots, &old, 500))
        };
        add(&slots, &new, 200).unwrap();
        // There is no room for it once its slot has gone to the new key.
        let put = daemon.join().unwrap();
        assert!([Ok(()), Err(CountError::Full)].contains(&put), "{put:?}");
        let counted = table(&slots).count(&new, 0, 200, &Fixed(200), |_, _| {});
        assert_eq!(counted.unwrap().total_after(), 1);
    });
}

#[test]
fn two_new_keys_that_evict_at_once_each_get_a_slot() {
    model(1, || {
        let slots = slots(2);
        add(&slots, &key(9, 0), 200).unwrap();
        add(&slots, &key(8, 1), 200).unwrap();
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || add(&slots, &key(6, 0), 200).unwrap())
        };
        let mine = add(&slots, &key(7, 0), 200).unwrap();
        assert_eq!((mine, other.join().unwrap()), ((200, 1), (200, 1)));
        assert_eq!(live(&slots).len(), 2);
    });
}

#[test]
fn hits_across_a_window_change_are_each_counted_in_one_window() {
    model(2, || {
        let slots = slots(2);
        let a = key(7, 0);
        add(&slots, &a, 100).unwrap();
        let other = {
            let slots = Arc::clone(&slots);
            // This thread read the clock before the window changed; when asked again it shows the
            // new window.
            thread::spawn(move || {
                table(&slots)
                    .count(&a, 1, 100, &Fixed(101), |_, _| {})
                    .unwrap()
                    .window
                    .number()
            })
        };
        let mine = add(&slots, &a, 101).unwrap().0;
        let theirs = other.join().unwrap();
        assert_eq!(mine, 101);
        let reading = live(&slots)[&a.fingerprint];
        let (before, after) = if theirs == 100 { (2, 1) } else { (1, 2) };
        assert_eq!(
            reading.previous,
            Count::Hits {
                window: 100,
                count: before
            }
        );
        assert_eq!(
            reading.local,
            Count::Hits {
                window: 101,
                count: after
            }
        );
    });
}

#[test]
fn two_threads_that_both_change_the_window_keep_the_final_count() {
    model(2, || {
        let slots = slots(2);
        let a = key(7, 0);
        add(&slots, &a, 100).unwrap();
        add(&slots, &a, 100).unwrap();
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || add(&slots, &a, 101).unwrap().1)
        };
        let mine = add(&slots, &a, 101).unwrap().1;
        assert_eq!(mine + other.join().unwrap(), 3);
        let reading = live(&slots)[&a.fingerprint];
        assert_eq!(
            reading.previous,
            Count::Hits {
                window: 100,
                count: 2
            }
        );
        assert_eq!(
            reading.local,
            Count::Hits {
                window: 101,
                count: 2
            }
        );
    });
}

#[test]
fn a_claim_left_by_a_killed_process_is_completed_or_taken() {
    model(2, || {
        let slots = slots(2);
        let a = key(7, 0);
        // A process claims a slot and dies before it makes it live: unwinding out of the claim stands
        // for the kill, since nothing in it cleans up.
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = table(&slots).count(&a, 1, 100, &Fixed(100), |_, _| panic!("killed"));
        }));
        assert!(killed.is_err());
        assert!(live(&slots).is_empty());
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || add(&slots, &key(8, 0), 100).unwrap().1)
        };
        assert_eq!(add(&slots, &a, 100).unwrap(), (100, 1));
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(live(&slots).len(), 2);
    });
}

#[test]
fn a_mark_is_never_lost_between_writer_and_sweeper() {
    model(2, || {
        let words: Arc<Vec<ModelWord>> = Arc::new((0..3).map(|_| ModelWord::default()).collect());
        // words[0] is the count, words[1] the bit, words[2] the summary.
        let writer = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                let dirty = Dirty::new(&words[1..2], &words[2..3]).unwrap();
                for count in 1..=2 {
                    words[0].store(count, Ordering::SeqCst);
                    dirty.mark(0);
                }
            })
        };
        let dirty = Dirty::new(&words[1..2], &words[2..3]).unwrap();
        let mut seen = 0;
        dirty.sweep(|_| seen = words[0].load(Ordering::SeqCst));
        writer.join().unwrap();
        // Whatever the first sweep missed, the next one finds.
        dirty.sweep(|_| seen = words[0].load(Ordering::SeqCst));
        assert_eq!(seen, 2);
    });
}

#[test]
fn what_peers_counted_for_an_expired_key_is_never_added_to_its_successor() {
    model(1, || {
        let slots = slots(2);
        let (old, new) = (key(9, 0), key(7, 0));
        add(&slots, &old, 100).unwrap();
        // Fill the other slot, so that the new key must take the old one's.
        add(&slots, &key(8, 1), 200).unwrap();
        let daemon = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || put(&slots, &old, 500))
        };
        let mine = table(&slots).count(&new, 1, 200, &Fixed(200), |_, _| {});
        let _ = daemon.join().unwrap();
        // The daemon may have been first, and the old key lives on by what it stored.
        if let Ok(counted) = mine {
            assert_eq!(counted.remote, 0);
            let again = table(&slots)
                .count(&new, 1, 200, &Fixed(200), |_, _| {})
                .unwrap();
            assert_eq!(again.remote, 0, "the peers' count of another key");
        }
    });
}

#[test]
fn what_peers_counted_is_not_lost_when_its_slot_looked_expired_a_moment_before() {
    model(1, || {
        let slots = slots(2);
        let (old, new) = (key(9, 0), key(7, 0));
        add(&slots, &old, 100).unwrap();
        add(&slots, &key(8, 1), 200).unwrap();
        let daemon = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || put(&slots, &old, 500))
        };
        // Wants the slot of the old key, the only one that is expired.
        let evictions = Evictions::default();
        let _ = table(&slots).count(&new, 1, 200, &Fixed(200), &evictions);
        if daemon.join().unwrap().is_ok() && evictions.0.get() == 0 {
            let counted = table(&slots)
                .count(&old, 0, 200, &Fixed(200), |_, _| {})
                .unwrap();
            assert_eq!(counted.remote, 500, "said to be stored, and is not there");
        }
    });
}

#[test]
fn a_first_hit_and_the_first_news_from_peers_share_one_slot() {
    model(2, || {
        let slots = slots(2);
        let new = key(9, 0);
        let daemon = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || put(&slots, &new, 500))
        };
        add(&slots, &new, 200).unwrap();
        daemon.join().unwrap().unwrap();
        let counted = table(&slots)
            .count(&new, 0, 200, &Fixed(200), |_, _| {})
            .unwrap();
        assert_eq!((counted.before, counted.remote), (1, 500));
    });
}

#[test]
fn a_hit_beside_a_reset_is_forgiven_with_the_others_or_counts() {
    model(2, || {
        let slots = slots(2);
        let a = key(7, 0);
        for _ in 0..3 {
            add(&slots, &a, 200).unwrap();
        }
        let other = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || {
                let counted = table(&slots).count(&a, 1, 200, &Fixed(200), |_, _| {});
                counted.unwrap().total_after()
            })
        };
        let local = live(&slots)[&a.fingerprint].local_in(200);
        forgive(&slots, &a, local).unwrap();
        // Before the reset or after it, and after it with what was not forgiven.
        let theirs = other.join().unwrap();
        assert!([0, 1, 4].contains(&theirs), "{theirs}");
        let left = u64::from(4 - local);
        assert_eq!(live(&slots)[&a.fingerprint].total_in(200), left);
        let next = table(&slots).count(&a, 1, 200, &Fixed(200), |_, _| {});
        assert_eq!(next.unwrap().total_after(), left + 1);
    });
}

#[test]
fn what_is_forgiven_of_an_expired_key_is_never_taken_from_its_successor() {
    model(1, || {
        let slots = slots(2);
        let (old, new) = (key(9, 0), key(7, 0));
        add(&slots, &old, 100).unwrap();
        add(&slots, &key(8, 1), 200).unwrap();
        let daemon = {
            let slots = Arc::clone(&slots);
            thread::spawn(move || forgive(&slots, &old, 500))
        };
        let mine = table(&slots).count(&new, 3, 200, &Fixed(200), |_, _| {});
        let _ = daemon.join().unwrap();
        if mine.is_ok() {
            let again = table(&slots).count(&new, 0, 200, &Fixed(200), |_, _| {});
            assert_eq!(again.unwrap().total_after(), 3);
        }
    });
}
