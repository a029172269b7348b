//! The counter table against an obvious model: one map, one thread, no concurrency.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::cell::RefCell;
use std::collections::HashMap;

use hivemind_shared::clock::{Clock, ManualClock};
use hivemind_shared::fingerprint::{Fingerprint, KeyHasher};
use hivemind_shared::table::words::{self, Count, Life, Remote};
use hivemind_shared::table::{
    Beside, Claimant, CountError, Key, Put, Share, Slot, Source, Table, Usage,
};
use hivemind_shared::window::Unit;
use proptest::prelude::*;

const UNITS: [Unit; 3] = [Unit::Second, Unit::Minute, Unit::Hour];

fn key(name: u64) -> Key {
    // Spread like a hash, so that keys meet in buckets.
    let high = name.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let low = high.rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let period = UNITS[usize::try_from(name % 3).unwrap()].into();
    Key {
        fingerprint: Fingerprint { high, low },
        period,
    }
}

/// What a table should hold: the newest window of each key and the one before.
#[derive(Default)]
struct Model {
    keys: HashMap<u64, Windows>,
}

#[derive(Clone, Copy)]
struct Windows {
    current: (u32, u64),
    previous: Option<(u32, u64)>,
}

impl Model {
    fn count(&mut self, name: u64, addend: u64, now_s: u64) -> (u64, u64) {
        let window = key(name).period.window_at(now_s).number();
        let entry = self.keys.entry(name).or_insert(Windows {
            current: (window, 0),
            previous: None,
        });
        if entry.current.0 != window && addend > 0 {
            if entry.current.0 + 1 == window {
                entry.previous = Some(entry.current);
            }
            entry.current = (window, 0);
        }
        let before = if entry.current.0 == window {
            entry.current.1
        } else {
            0
        };
        if addend > 0 {
            entry.current.1 = (before + addend).min(u64::from(u32::MAX));
        }
        (before, before + addend)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Count { name: u64, addend: u64 },
    Advance { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let count = (
        0_u64..40,
        prop_oneof![4 => Just(1_u64), 1 => 0_u64..10, 1 => 0_u64..1 << 33],
    )
        .prop_map(|(name, addend)| Step::Count { name, addend });
    let advance = prop_oneof![4 => 0_u64..3, 1 => 50_u64..5_000]
        .prop_map(|seconds| Step::Advance { seconds });
    prop::collection::vec(prop_oneof![5 => count, 1 => advance], 0..300)
}

proptest! {
    #[test]
    fn a_table_counts_like_a_map_of_windows(steps in steps()) {
        let slots = empty_slots(256);
        let table: Table<'_> = Table::new(&slots).unwrap();
        let clock = ManualClock::at(1_800_000_000);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Advance { seconds } => clock.advance_s(seconds),
                Step::Count { name, addend } => {
                    let now_s = clock.now_s();
                    let counted = table.count(&key(name), addend, now_s, &clock, |_, _| {}).unwrap();
                    let expected = model.count(name, addend, now_s);
                    prop_assert_eq!((counted.before, counted.after), expected);
                    prop_assert_eq!(counted.window, key(name).period.window_at(now_s));
                }
            }
        }
        // What is live in the end is what the model says, the previous windows included.
        for (name, windows) in &model.keys {
            let period = key(*name).period;
            if windows.current.0 != period.window_at(clock.now_s()).number() || windows.current.1 == 0 {
                continue;
            }
            let readings: Vec<_> =
                (0..256).filter_map(|slot| table.read(slot)).filter(|r| r.key == key(*name)).collect();
            prop_assert_eq!(readings.len(), 1);
            let current = u64::from(readings[0].local.within(windows.current.0));
            prop_assert_eq!(current, windows.current.1);
            if let Some((window, count)) = windows.previous && window + 1 == windows.current.0 {
                prop_assert_eq!(u64::from(readings[0].previous.within(window)), count);
            }
        }
    }
}

fn empty_slots(count: u64) -> Vec<Slot> {
    (0..count).map(|_| Slot::default()).collect()
}

fn full_table() -> (Vec<Slot>, ManualClock) {
    let slots = empty_slots(32);
    let clock = ManualClock::at(1_800_000_000);
    let table: Table<'_> = Table::new(&slots).unwrap();
    for name in 0..32 {
        let hour = Key {
            period: Unit::Hour.into(),
            ..key(name)
        };
        table
            .count(&hour, 1, clock.now_s(), &clock, |_, _| {})
            .unwrap();
    }
    (slots, clock)
}

/// Asks for slots on behalf of a source, and notes what was evicted for it.
struct Asks {
    source: Source,
    evicted: RefCell<Vec<Usage>>,
}

impl Asks {
    fn for_source(source: Source) -> Self {
        Self {
            source,
            evicted: RefCell::default(),
        }
    }

    fn evictions(&self) -> usize {
        self.evicted.borrow().len()
    }
}

impl Claimant for &Asks {
    fn source(&self) -> Source {
        self.source
    }

    fn claimed(&self, _: usize, _: Life) {}

    fn evicted(&self, usage: Usage) {
        self.evicted.borrow_mut().push(usage);
    }
}

fn hour(name: u64) -> Key {
    Key {
        period: Unit::Hour.into(),
        ..key(name)
    }
}

#[test]
fn a_full_table_evicts_for_a_new_key_and_goes_on_counting_the_others() {
    let (slots, clock) = full_table();
    let table: Table<'_> = Table::new(&slots).unwrap();
    let now_s = clock.now_s();
    let asks = Asks::for_source(Source::of_hits(0));
    let counted = table.count(&hour(99), 1, now_s, &clock, &asks).unwrap();
    assert_eq!((counted.after, asks.evictions()), (1, 1));
    let lost = (0..32).filter(|name| table.read_key(&hour(*name)).is_none());
    assert_eq!(lost.count(), 1);
    let kept: Vec<_> = (0..32)
        .filter(|name| table.read_key(&hour(*name)).is_some())
        .collect();
    for name in kept {
        let counted = table.count(&hour(name), 1, now_s, &clock, &asks).unwrap();
        assert_eq!(counted.after, 2);
    }
    assert_eq!(asks.evictions(), 1);
}

#[test]
fn what_peers_counted_evicts_no_key_that_was_asked_for_here() {
    let (slots, clock) = full_table();
    let table: Table<'_> = Table::new(&slots).unwrap();
    let peers = Asks::for_source(Source::PEERS);
    let window = hour(99).period.window_at(clock.now_s());
    let put = |name| table.put_remote(&hour(name), window, 5, Put::Raise, &clock, &peers);
    assert_eq!(put(99), Err(CountError::Full));
    // A per-request override gives way to it, and it to another one.
    let request = Asks::for_source(Source::REQUEST);
    table
        .count(&hour(97), 1, clock.now_s(), &clock, &request)
        .unwrap();
    put(99).unwrap();
    put(98).unwrap();
    let evicted: Vec<_> = peers
        .evicted
        .borrow()
        .iter()
        .map(|usage| usage.source)
        .collect();
    assert_eq!(evicted, [Source::REQUEST, Source::PEERS]);
}

#[test]
fn an_evicted_key_that_comes_back_starts_from_nothing() {
    let (slots, clock) = full_table();
    let table: Table<'_> = Table::new(&slots).unwrap();
    let now_s = clock.now_s();
    let asks = Asks::for_source(Source::of_hits(0));
    table.count(&hour(99), 1, now_s, &clock, &asks).unwrap();
    let lost = (0..32)
        .find(|name| table.read_key(&hour(*name)).is_none())
        .unwrap();
    let counted = table.count(&hour(lost), 1, now_s, &clock, &asks).unwrap();
    assert_eq!((counted.before, counted.remote), (0, 0));
}

proptest! {
    /// Every key in a table of two buckets competes with every other one.
    #[test]
    fn a_full_table_evicts_the_key_that_is_lost_with_the_least_harm(
        steps in prop::collection::vec((0_u64..48, 0_u64..12, 0_u64..3, 0_u64..4), 1..200),
    ) {
        const ALLOWED: u32 = 8;
        let slots = empty_slots(32);
        let table: Table<'_> = Table::new(&slots).unwrap();
        let clock = ManualClock::at(1_800_000_000);
        let mut model: HashMap<u64, (u64, Usage)> = HashMap::new();
        for (name, addend, by, seconds) in steps {
            clock.advance_s(seconds / 3);
            let now_s = clock.now_s();
            let source = if by == 0 { Source::REQUEST } else { Source::of_hits(words::low_half(by)) };
            let asks = Asks::for_source(source);
            let counted = table.count(&hour(name), addend + 1, now_s, &clock, &asks).unwrap();
            let known = model.get(&name).copied();
            prop_assert_eq!(counted.before, known.map_or(0, |(count, _)| count));
            let usage = Usage { share: Share::of(counted.after, ALLOWED), ..Usage::begin(source, now_s * 1_000) };
            table.note_usage(counted.slot.unwrap().index, usage);
            let usage = match known {
                // A request does not make a rule's key its own.
                Some((_, known)) if source == Source::REQUEST && known.source != source => {
                    Usage { last_use_s: usage.last_use_s, ..known }
                }
                _ => usage,
            };
            let gone: Vec<u64> = model
                .keys()
                .copied()
                .filter(|name| table.read_key(&hour(*name)).is_none())
                .collect();
            prop_assert_eq!(gone.len(), asks.evictions());
            prop_assert_eq!(gone.len(), usize::from(known.is_none() && model.len() == 32));
            for gone in gone {
                let (_, lost) = model.remove(&gone).unwrap();
                let least = model.values().map(|(_, kept)| kept.worth(now_s, true)).min().unwrap();
                prop_assert!(lost.worth(now_s, true) <= least);
            }
            model.insert(name, (counted.after, usage));
        }
        for (name, (count, _)) in model {
            let reading = table.read_key(&hour(name)).unwrap();
            prop_assert_eq!(u64::from(reading.local_in(hour(name).period.window_at(clock.now_s()).number())), count);
        }
    }
}

#[test]
fn expired_keys_make_room_without_an_eviction_only_after_the_window_behind_theirs() {
    let (slots, clock) = full_table();
    let table: Table<'_> = Table::new(&slots).unwrap();
    let asks = Asks::for_source(Source::of_hits(0));
    // In the next window their counts are still the previous window of a sliding limit.
    clock.advance_s(3_600);
    table
        .count(&hour(99), 1, clock.now_s(), &clock, &asks)
        .unwrap();
    assert_eq!(asks.evictions(), 1);
    clock.advance_s(3_600);
    for name in 100..131 {
        let counted = table.count(&key(name), 1, clock.now_s(), &clock, &asks);
        assert_eq!(counted.unwrap().after, 1);
    }
    assert_eq!(asks.evictions(), 1);
}

#[test]
fn a_key_that_takes_an_expired_slot_sees_nothing_of_the_old_one() {
    let (slots, clock) = full_table();
    let table: Table<'_> = Table::new(&slots).unwrap();
    for slot in 0..32 {
        let old = table.read(slot).unwrap().key;
        let window = old.period.window_at(clock.now_s());
        table
            .put_remote(&old, window, 1_000, Put::Raise, &clock, |_, _| {})
            .unwrap();
    }
    clock.advance_s(7_200);
    for name in 100..132 {
        table
            .count(&key(name), 1, clock.now_s(), &clock, |_, _| {})
            .unwrap();
    }
    for slot in 0..32 {
        let reading = table.read(slot).unwrap();
        assert_eq!(
            reading
                .local
                .within(reading.key.period.window_at(clock.now_s()).number()),
            1
        );
        assert_eq!(reading.previous, Count::Ended);
        assert_eq!(reading.remote, [Remote::Ended; 2]);
    }
}

#[test]
fn what_peers_counted_is_added_in_its_own_window_only() {
    let slots = empty_slots(32);
    let table: Table<'_> = Table::new(&slots).unwrap();
    let clock = ManualClock::at(1_800_000_000);
    let second = Key {
        period: Unit::Second.into(),
        ..key(1)
    };
    let window = second.period.window_at(clock.now_s());
    let put = |remote| table.put_remote(&second, window, remote, Put::Raise, &clock, |_, _| {});
    // A key that nobody here has seen gets a slot, and its first hit meets what peers counted.
    put(5).unwrap();
    let first = table
        .count(&second, 1, clock.now_s(), &clock, |_, _| {})
        .unwrap();
    assert_eq!((first.before, first.remote), (0, 5));
    put(3).unwrap();
    assert_eq!(
        table
            .count(&second, 0, clock.now_s(), &clock, |_, _| {})
            .unwrap()
            .remote,
        5
    );
    clock.advance_s(1);
    assert_eq!(
        table
            .count(&second, 1, clock.now_s(), &clock, |_, _| {})
            .unwrap()
            .remote,
        0
    );
    clock.advance_s(1);
    assert_eq!(
        table
            .count(&second, 1, clock.now_s(), &clock, |_, _| {})
            .unwrap()
            .remote,
        0
    );
}

#[test]
fn an_old_report_of_peers_leaves_their_count_of_the_next_window_alone() {
    let slots = empty_slots(32);
    let table: Table<'_> = Table::new(&slots).unwrap();
    let clock = ManualClock::at(1_800_000_000);
    let current = hour(1).period.window_at(clock.now_s()).number();
    let put = |window: u32, hits| {
        let window = hour(1).period.window(window);
        table
            .put_remote(&hour(1), window, hits, Put::Raise, &clock, |_, _| {})
            .unwrap();
    };
    let reading = || table.read_key(&hour(1)).unwrap();
    // A peer whose clock is ahead; both windows have the same word.
    put(current + 1, 5);
    put(current - 1, 9);
    assert_eq!(reading().remote_in(current + 1), 5);
    assert_eq!(reading().known_remote_in(current - 1), None);
    // What was written for windows farther ahead was written before the clock was set back.
    put(current + 3, 7);
    put(current + 1, 5);
    assert_eq!(reading().remote_in(current + 1), 5);
}

/// What happens to one key that counts in seconds.
#[derive(Clone, Debug)]
enum ResetStep {
    Hit {
        hits: u32,
    },
    PeersHit {
        hits: u32,
    },
    /// As many hits are forgiven as count now.
    Reset,
    /// A peer forgave hits that were not heard of yet.
    HearOfReset {
        hits: u32,
    },
    NextWindow,
}

fn reset_steps() -> impl Strategy<Value = Vec<ResetStep>> {
    let some = || prop_oneof![4 => 1..20_u32, 1 => u32::MAX - 20..=u32::MAX];
    let step = prop_oneof![
        4 => some().prop_map(|hits| ResetStep::Hit { hits }),
        3 => some().prop_map(|hits| ResetStep::PeersHit { hits }),
        2 => Just(ResetStep::Reset),
        1 => some().prop_map(|hits| ResetStep::HearOfReset { hits }),
        1 => Just(ResetStep::NextWindow),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn forgiven_hits_count_no_longer_and_all_others_do(steps in reset_steps()) {
        let slots = empty_slots(32);
        let table: Table<'_> = Table::new(&slots).unwrap();
        let clock = ManualClock::at(1_800_000_000);
        let second = Key { period: Unit::Second.into(), ..key(1) };
        // What is counted here, by peers, and forgiven, in the present window and the one before.
        let mut windows = [(0_u32, Beside::default()); 2];
        // A key without a slot hears of no reset, and of it when it has one: the daemon sees to that.
        let mut has_slot = false;
        for step in steps {
            let (local, beside) = &mut windows[0];
            let mut put = Put::Raise;
            match step {
                ResetStep::Hit { hits } => {
                    table.count(&second, hits.into(), clock.now_s(), &clock, |_, _| {}).unwrap();
                    *local = local.saturating_add(hits);
                    has_slot = true;
                }
                ResetStep::PeersHit { hits } => beside.counted = beside.counted.saturating_add(hits),
                ResetStep::Reset => {
                    put = Put::Set;
                    let all = local.saturating_add(beside.counted);
                    beside.forgiven = beside.forgiven.max(all);
                }
                ResetStep::HearOfReset { hits } => {
                    put = Put::Set;
                    beside.forgiven = beside.forgiven.max(hits);
                }
                ResetStep::NextWindow => {
                    clock.advance_s(1);
                    windows = [(0, Beside::default()), windows[0]];
                }
            }
            let (local, beside) = windows[0];
            let now = second.period.window_at(clock.now_s());
            table.put_remote(&second, now, beside.hits(), put, &clock, |_, _| {}).unwrap();
            has_slot |= beside.hits() > 0;
            let total = |local: u32, beside: Beside| {
                u64::from(local).saturating_add_signed(beside.hits())
            };
            let counted = table.count(&second, 0, clock.now_s(), &clock, |_, _| {}).unwrap();
            prop_assert_eq!(counted.total_after(), total(local, beside));
            let reading = (0..32).find_map(|slot| table.read(slot));
            prop_assert_eq!(reading.is_some(), has_slot);
            if let Some(reading) = reading {
                prop_assert_eq!(reading.total_in(now.number()), total(local, beside));
                let (local, beside) = windows[1];
                // Of the window before the slot knows only if it was there.
                let before = reading.total_in(now.number() - 1);
                prop_assert!(before == total(local, beside) || local == 0 && before == 0);
            }
        }
    }
}

#[test]
fn a_reset_of_a_key_that_nobody_here_has_seen_takes_no_slot() {
    let slots = empty_slots(32);
    let table: Table<'_> = Table::new(&slots).unwrap();
    let clock = ManualClock::at(1_800_000_000);
    let window = key(1).period.window_at(clock.now_s());
    for put in [Put::Set, Put::Raise] {
        table
            .put_remote(&key(1), window, -2, put, &clock, |_, _| {})
            .unwrap();
    }
    assert!((0..32).all(|slot| table.read(slot).is_none()));
}

#[test]
fn a_clock_set_back_starts_the_count_over_and_leaves_no_key_stuck() {
    let slots = empty_slots(32);
    let table: Table<'_> = Table::new(&slots).unwrap();
    let clock = ManualClock::at(1_800_000_000);
    let hour = Key {
        period: Unit::Hour.into(),
        ..key(1)
    };
    for _ in 0..5 {
        table
            .count(&hour, 1, clock.now_s(), &clock, |_, _| {})
            .unwrap();
    }
    clock.set(1_800_000_000 - 86_400);
    let counted = table
        .count(&hour, 1, clock.now_s(), &clock, |_, _| {})
        .unwrap();
    assert_eq!((counted.before, counted.after), (0, 1));
    assert_eq!(
        table
            .count(&hour, 1, clock.now_s(), &clock, |_, _| {})
            .unwrap()
            .after,
        2
    );
}

#[test]
fn a_thread_that_slept_counts_in_the_window_it_wakes_up_in() {
    let slots = empty_slots(32);
    let table: Table<'_> = Table::new(&slots).unwrap();
    let clock = ManualClock::at(1_800_000_000);
    let second = Key {
        period: Unit::Second.into(),
        ..key(1)
    };
    let read_before_sleeping = clock.now_s();
    clock.advance_s(10);
    table
        .count(&second, 1, clock.now_s(), &clock, |_, _| {})
        .unwrap();
    let counted = table
        .count(&second, 1, read_before_sleeping, &clock, |_, _| {})
        .unwrap();
    assert_eq!(counted.window, second.period.window_at(clock.now_s()));
    assert_eq!(counted.after, 2);
}

#[test]
fn counts_beyond_32_bits_saturate_and_stay_over_any_limit() {
    let slots = empty_slots(32);
    let table: Table<'_> = Table::new(&slots).unwrap();
    let clock = ManualClock::at(1_800_000_000);
    let hour = Key {
        period: Unit::Hour.into(),
        ..key(1)
    };
    let first = table
        .count(&hour, u64::MAX, clock.now_s(), &clock, |_, _| {})
        .unwrap();
    assert_eq!(first.after, u64::MAX);
    let next = table
        .count(&hour, 1, clock.now_s(), &clock, |_, _| {})
        .unwrap();
    assert!(next.after > u64::from(u32::MAX));
}

#[test]
fn as_many_keys_as_a_table_is_made_for_fit_without_an_eviction() {
    for keys in [100_u64, 1_000, 16_384, 262_144] {
        // As a region is laid out: half as many slots again as keys.
        let slots = empty_slots((keys * 3).div_ceil(2).next_multiple_of(16));
        let table: Table<'_> = Table::new(&slots).unwrap();
        let clock = ManualClock::at(1_800_000_000);
        let asks = Asks::for_source(Source::of_hits(0));
        let hasher = KeyHasher::new(b"sixteen bytes: 1");
        for name in 0..keys {
            let key = Key {
                fingerprint: hasher.fingerprint(&name.to_le_bytes()),
                period: Unit::Hour.into(),
            };
            let counted = table.count(&key, 1, clock.now_s(), &clock, &asks);
            assert_eq!(counted.map(|counted| counted.after), Ok(1));
        }
        assert_eq!(asks.evictions(), 0, "of {keys} keys");
        let live = (0..slots.len()).filter(|slot| table.read(*slot).is_some());
        assert_eq!(live.count() as u64, keys);
    }
}

#[test]
fn any_words_in_the_slots_end_in_a_count_or_an_error() {
    // What a hostile or damaged region may hold: a seeded stream of words, and words with few bits.
    let clock = ManualClock::at(1_800_000_000);
    let mut state = 1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200_u64 {
        let slots: Vec<Slot> = (0..32)
            .map(|_| {
                Slot::of_words(std::array::from_fn(|_| {
                    if round % 2 == 0 {
                        random()
                    } else {
                        random() & random() & random()
                    }
                }))
            })
            .collect();
        let table: Table<'_> = Table::new(&slots).unwrap();
        for name in 0..40 {
            let _ = table.count(&key(name), 1, clock.now_s(), &clock, |_, _| {});
        }
        // However the words were, what reads as live afterwards has a key of its own.
        let readings = (0..32).filter_map(|slot| table.read(slot));
        assert!(
            readings
                .map(|reading| reading.key.period.seconds())
                .all(|seconds| seconds > 0)
        );
    }
}

#[test]
fn slots_counted_in_before_the_clock_was_set_back_are_free_again() {
    let (slots, clock) = full_table();
    let table: Table<'_> = Table::new(&slots).unwrap();
    // Every slot holds an hour that the clock, set right, reaches in ten years.
    clock.set(1_800_000_000 - 315_360_000);
    for name in 100..132 {
        let counted = table.count(&key(name), 1, clock.now_s(), &clock, |_, _| {});
        assert_eq!(counted.map(|counted| counted.after), Ok(1));
    }
}
