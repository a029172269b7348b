//! The book against what a naive map would know.

use std::collections::BTreeMap;

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::FORGIVEN_ID;
use hivemind_shared::table::Beside;
use hivemind_shared::table::words::Control;
use hivemind_shared::window::Unit;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::sections::PARTS;

const ME: u64 = 100;

/// A time in the middle of all windows but seconds, and its second.
const NOW_S: u64 = 1_700_000_030;
const SECOND: u32 = 1_700_000_030;

/// A key; those of different numbers are in different sixteenths, as far as there are that many.
fn key(number: u64, unit: Unit) -> Key {
    let fingerprint = Fingerprint {
        high: number << 60,
        low: number,
    };
    Key {
        fingerprint,
        period: unit.into(),
    }
}

fn at(unix_s: u64) -> Now {
    Now {
        monotonic_us: 1_000_000 * (unix_s - 1_600_000_000),
        unix_us: 1_000_000 * unix_s,
    }
}

fn reading(key: Key, local: (u32, u32), previous: (u32, u32)) -> SlotReading {
    let hits = |(window, count)| Count::Hits { window, count };
    SlotReading {
        key,
        place: Place {
            index: 0,
            life: Control::from_word(0).life(),
        },
        local: hits(local),
        previous: hits(previous),
        remote: [Remote::Hits { window: 0, hits: 0 }; 2],
        rule: 0,
        is_of_peers: false,
        last_use_s: 0,
    }
}

/// Key, window and actor.
type Counted = (u64, u32, u32, u64);

/// Every count of a window that matters.
fn content(book: &Book, now_s: u64) -> BTreeMap<Counted, u32> {
    let mut content = BTreeMap::new();
    for (_, entry) in book.iter() {
        for half in entry
            .halves
            .iter()
            .filter(|half| half.is_near(&entry.key, now_s))
        {
            let mut others = 0_u32;
            for (actor, count) in half.counts() {
                let (low, unit) = (entry.key.fingerprint.low, entry.key.period.code());
                let id = book.actor_id(actor).unwrap();
                let place = (low, unit, half.window.unwrap(), id);
                assert_eq!(content.insert(place, count), None);
                let is_other = actor != OWN && actor != FORGIVEN;
                others = others.saturating_add(if is_other { count } else { 0 });
            }
            assert_eq!(half.others(), others);
            let counted = u64::from(half.own) + u64::from(others);
            let forgiven = u64::from(half.of_actor(FORGIVEN));
            assert_eq!(half.total(), counted.saturating_sub(forgiven));
        }
    }
    content
}

/// The sums of every actor, but for those that say that there is nothing.
fn sums(book: &Book, now_s: u64) -> BTreeMap<(u64, u32, u32), [u32; PARTS]> {
    let groups = book.actors().flat_map(|(actor, id)| {
        let groups = book.digest(actor, now_s).into_iter();
        groups.map(move |group| ((id, group.period.code(), group.window), group.sums))
    });
    groups.filter(|(_, sums)| *sums != [0; PARTS]).collect()
}

fn expire_all(book: &mut Book, now_s: u64) {
    book.expire_groups(at(now_s), |_| false);
    // Each call takes a step of the way.
    for _ in 0..=book.entries.len() / EXPIRE_STEP {
        book.expire(now_s);
    }
}

/// What an actor is said to have counted. The first actor is none: what it counted was forgiven.
#[derive(Clone, Debug)]
struct Report {
    actor: u64,
    key: Key,
    /// From the present one.
    window: i32,
    count: u32,
}

impl Report {
    fn any() -> impl Strategy<Value = Self> {
        let unit = prop::sample::select(vec![Unit::Second, Unit::Minute]);
        (
            FORGIVEN_ID..FORGIVEN_ID + 4,
            0..3_u64,
            unit,
            -3..=3_i32,
            0..5_u32,
        )
            .prop_map(|(actor, number, unit, window, count)| Self {
                actor,
                key: key(number, unit),
                window,
                count,
            })
    }

    fn window(&self, now_s: u64) -> u32 {
        let now = self.key.period.window_at(now_s).number();
        now.saturating_add_signed(self.window)
    }

    fn merge(&self, book: &mut Book, now_s: u64) -> Merged {
        let actor = book.actor_or_new(self.actor, true).unwrap();
        book.merge(now_s, actor, &self.key, self.window(now_s), self.count)
    }
}

/// What a book should know: a map, and of windows that share a place the later one.
#[derive(Default)]
struct Naive(BTreeMap<Counted, u32>);

impl Naive {
    fn note(&mut self, now_s: u64, actor: u64, key: &Key, window: u32, count: u32) {
        self.forget(now_s);
        let (low, unit) = (key.fingerprint.low, key.period.code());
        let shares = |place: &Counted| (place.0, place.1, place.2 % 2) == (low, unit, window % 2);
        let mut sharing = self.0.keys().filter(|place| shares(place));
        let is_late = sharing.any(|place| place.2 > window);
        if count == 0 || is_late || !is_near(key.period, window, now_s) {
            return;
        }
        self.0
            .retain(|place, _| !shares(place) || place.2 == window);
        let there = self.0.entry((low, unit, window, actor)).or_default();
        *there = count.max(*there);
    }

    fn forget(&mut self, now_s: u64) {
        let is_near =
            |place: &Counted| is_near(Period::from_code(place.1).unwrap(), place.2, now_s);
        self.0.retain(|place, _| is_near(place));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Report(Report),
    Hit { number: u64, addend: u32 },
    Forgive { number: u64 },
    Pass { seconds: u64 },
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Report::any().prop_map(Step::Report),
        3 => (0..3_u64, 1..4_u32).prop_map(|(number, addend)| Step::Hit { number, addend }),
        1 => (0..3_u64).prop_map(|number| Step::Forgive { number }),
        2 => (1..4_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Pass { seconds: 61 }),
        1 => Just(Step::Expire),
    ];
    vec(step, 0..80)
}

proptest! {
    #[test]
    fn reports_come_to_the_same_in_any_order_and_number(
        reports in vec(Report::any(), 0..40),
        repeated in vec(any::<prop::sample::Index>(), 0..20),
        seed: u64,
    ) {
        let mut naive = Naive::default();
        let [mut straight, mut mixed] = [Book::new(ME, 100, [1, 2]), Book::new(ME, 100, [1, 2])];
        for report in &reports {
            let Report { actor, key, count, .. } = report;
            report.merge(&mut straight, NOW_S);
            naive.note(NOW_S, *actor, key, report.window(NOW_S), *count);
        }
        let again = repeated.iter().filter(|_| !reports.is_empty()).map(|index| index.get(&reports));
        let mut others: Vec<&Report> = reports.iter().chain(again).collect();
        let mut random = seed;
        others.sort_by_cached_key(|_| {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            random >> 32
        });
        for report in others {
            let before = content(&mixed, NOW_S);
            let merged = report.merge(&mut mixed, NOW_S);
            let after = content(&mixed, NOW_S);
            prop_assert_eq!(before == after, !matches!(merged, Merged::News { .. }));
            let is_lower = |(place, count): (&Counted, &u32)| after.get(place).is_some_and(|now| now < count);
            prop_assert!(!before.iter().any(is_lower));
        }
        prop_assert_eq!(content(&mixed, NOW_S), content(&straight, NOW_S));
        prop_assert_eq!(content(&straight, NOW_S), naive.0);
        prop_assert_eq!(sums(&mixed, NOW_S), sums(&straight, NOW_S));
    }

    #[test]
    fn as_time_goes_by_a_book_knows_what_a_naive_map_knows(steps in steps()) {
        let (mut book, mut naive, mut now_s) = (Book::new(ME, 100, [1, 2]), Naive::default(), NOW_S);
        let mut slots: BTreeMap<u64, [(u32, u32); 2]> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Report(report) => {
                    let Report { actor, key, count, .. } = &report;
                    report.merge(&mut book, now_s);
                    naive.note(now_s, *actor, key, report.window(now_s), *count);
                }
                Step::Hit { number, addend } => {
                    let second = u32::try_from(now_s).unwrap();
                    let [local, previous] = slots.entry(number).or_default();
                    if local.0 != second {
                        *previous = *local;
                        *local = (second, 0);
                    }
                    local.1 += addend;
                    let key = key(number, Unit::Second);
                    book.note_slot(now_s, &reading(key, *local, *previous));
                    for (window, count) in [*previous, *local] {
                        naive.note(now_s, ME, &key, window, count);
                    }
                }
                Step::Forgive { number } => {
                    let second = u32::try_from(now_s).unwrap();
                    let key = key(number, Unit::Second);
                    let all = |actors: fn(u64) -> bool| {
                        let place = |place: &Counted| {
                            let unit = key.period.code();
                            (place.0, place.1, place.2) == (number, unit, second) && actors(place.3)
                        };
                        let counts = naive.0.iter().filter(|(at, _)| place(at));
                        counts.map(|(_, count)| count).sum::<u32>()
                    };
                    let (all, forgiven) = (all(|id| id != FORGIVEN_ID), all(|id| id == FORGIVEN_ID));
                    let [local, previous] = slots.get(&number).copied().unwrap_or_default();
                    let others = i64::from(all.max(forgiven)) - i64::from(forgiven);
                    let reading = SlotReading {
                        remote: [Remote::Hits {
                            window: second,
                            hits: others - i64::from(if local.0 == second { local.1 } else { 0 }),
                        }; 2],
                        ..reading(key, local, previous)
                    };
                    book.forgive(now_s, &reading, second);
                    naive.note(now_s, FORGIVEN_ID, &key, second, all.max(forgiven));
                }
                Step::Pass { seconds } => now_s += seconds,
                Step::Expire => expire_all(&mut book, now_s),
            }
            naive.forget(now_s);
            prop_assert_eq!(&content(&book, now_s), &naive.0);
        }
        let as_they_grew = sums(&book, now_s);
        book.sum_up(now_s);
        prop_assert_eq!(as_they_grew, sums(&book, now_s));
        expire_all(&mut book, now_s + 10_000);
        prop_assert_eq!((book.key_count(), book.actors().count()), (0, 1));
    }

    #[test]
    fn sums_differ_in_the_sixteenths_where_counts_differ(
        common in prop::collection::btree_map(0..64_u64, 1..1_000_u32, 0..40),
        changed in prop::collection::btree_map(0..64_u64, 1_000..2_000_u32, 0..6),
    ) {
        let unit = Unit::Hour;
        let window = Period::from(unit).window_at(NOW_S).number();
        let [mut one, mut other] = [Book::new(ME, 100, [1, 2]), Book::new(ME, 100, [1, 2])];
        for book in [&mut one, &mut other] {
            let actor = book.actor_or_new(7, true).unwrap();
            for (&number, &count) in &common {
                book.merge(NOW_S, actor, &key(number, unit), window, count);
            }
        }
        let mut parts = [false; PARTS];
        for (&number, &count) in &changed {
            let actor = other.actor(7).unwrap();
            other.merge(NOW_S, actor, &key(number, unit), window, count);
            parts[part_of(key(number, unit).fingerprint)] = true;
        }
        let place = (7, u32::from(unit.code()), window);
        let of = |book: &Book| sums(book, NOW_S).get(&place).copied().unwrap_or_default();
        let (one, other) = (of(&one), of(&other));
        let differ: [bool; PARTS] = std::array::from_fn(|part| one[part] != other[part]);
        prop_assert_eq!(differ, parts);
    }
}

/// Own counts of a key in a window.
fn own(book: &Book, key: &Key, window: u32) -> Option<u32> {
    let entry = book.iter().find(|(_, entry)| entry.key == *key)?.1;
    Some(entry.half(window)?.own)
}

#[test]
fn own_counts_add_up_when_a_clock_that_was_set_back_makes_the_slot_start_over() {
    let mut book = Book::new(ME, 100, [1, 2]);
    let key = key(1, Unit::Second);
    let next = SECOND + 1;
    book.note_slot(NOW_S, &reading(key, (SECOND, 10), (0, 0)));
    book.note_slot(NOW_S + 1, &reading(key, (next, 4), (SECOND, 10)));
    // The slot forgets both and counts anew; what it kept of the second is no news.
    for (local, expected) in [(1, 11), (3, 13)] {
        book.note_slot(NOW_S, &reading(key, (SECOND, local), (SECOND, 10)));
        assert_eq!(own(&book, &key, SECOND), Some(expected));
    }
    // A second time, and forward again.
    book.note_slot(NOW_S, &reading(key, (SECOND, 2), (SECOND, 10)));
    assert_eq!(own(&book, &key, SECOND), Some(15));
    book.note_slot(NOW_S + 1, &reading(key, (next, 1), (SECOND, 10)));
    assert_eq!(own(&book, &key, SECOND), Some(15));
    assert_eq!(own(&book, &key, next), Some(5));
    // What the slot does not know any more has to come from beside it.
    let (_, entry) = book.iter().next().unwrap();
    assert_eq!(
        entry.half(next).unwrap().beside_local(),
        Beside::of_peers(4)
    );

    let as_they_grew = sums(&book, NOW_S + 1);
    book.sum_up(NOW_S + 1);
    assert_eq!(as_they_grew, sums(&book, NOW_S + 1));
}

#[test]
fn the_last_hits_of_a_window_that_has_passed_count_for_that_window() {
    let mut book = Book::new(ME, 100, [1, 2]);
    let key = key(1, Unit::Second);
    book.note_slot(NOW_S, &reading(key, (SECOND, 10), (0, 0)));
    let news = book.note_slot(NOW_S + 1, &reading(key, (SECOND + 1, 1), (SECOND, 12)));
    assert!(news.is_some());
    assert_eq!(own(&book, &key, SECOND), Some(12));
    assert_eq!(own(&book, &key, SECOND + 1), Some(1));
    // The window after next has the same place as the first.
    book.note_slot(NOW_S + 2, &reading(key, (SECOND + 2, 3), (SECOND + 1, 1)));
    assert_eq!(own(&book, &key, SECOND), None);
    assert_eq!(own(&book, &key, SECOND + 2), Some(3));
}

fn in_slot(index: usize, key: Key, local: (u32, u32), previous: (u32, u32)) -> SlotReading {
    let reading = reading(key, local, previous);
    SlotReading {
        place: Place {
            index,
            ..reading.place
        },
        ..reading
    }
}

#[test]
fn what_was_counted_of_an_evicted_key_comes_back_with_it() {
    let now_s = NOW_S;
    let mut book = Book::new(1, 100, [1, 2]);
    let key = key(3, Unit::Hour);
    let window = key.period.window_at(now_s).number();
    let count = |book: &mut Book, slot, hits| {
        let before = (window - 1, 0);
        book.note_slot(now_s, &in_slot(slot, key, (window, hits), before))
    };
    let known = |book: &Book| {
        let (_, entry) = book.iter().next().unwrap();
        let half = entry.half(window).unwrap();
        (half.own, half.beside_local().counted)
    };
    count(&mut book, 0, 3).unwrap();
    assert_eq!(known(&book), (3, 0));
    // It was evicted, came back in another slot, and has as many hits there as it had.
    count(&mut book, 7, 3).unwrap();
    assert_eq!(known(&book), (6, 3));
    count(&mut book, 7, 4).unwrap();
    assert_eq!(known(&book), (7, 3));
    // Nothing is added when a slot is read again, and nothing is lost when the key is evicted again.
    assert_eq!(count(&mut book, 7, 4), None);
    count(&mut book, 0, 1).unwrap();
    assert_eq!(known(&book), (8, 7));
}

#[test]
fn the_last_hits_of_a_window_count_for_a_key_that_was_evicted_in_it() {
    let mut book = Book::new(1, 100, [1, 2]);
    let key = key(3, Unit::Hour);
    let window = key.period.window_at(NOW_S).number();
    book.note_slot(NOW_S, &in_slot(0, key, (window, 3), (window - 1, 0)));
    book.note_slot(NOW_S, &in_slot(7, key, (window, 1), (window - 1, 0)));
    let next_s = NOW_S + 3_600;
    book.note_slot(next_s, &in_slot(7, key, (window + 1, 1), (window, 2)));
    assert_eq!(own(&book, &key, window), Some(5));
    assert_eq!(own(&book, &key, window + 1), Some(1));
}

#[test]
fn keys_that_were_evicted_are_bounded_and_those_with_the_fewest_hits_give_way() {
    let mut book = Book::new(1, 100, [1, 2]);
    let window = key(0, Unit::Day).period.window_at(NOW_S).number();
    for number in 0..1_000 {
        let key = key(number, Unit::Day);
        let hits = if number < 20 { 50 } else { 1 };
        let slot = usize::try_from(number).unwrap();
        let noted = book.note_slot(NOW_S, &in_slot(slot, key, (window, hits), (window - 1, 0)));
        assert!(noted.is_some(), "key {number}");
    }
    assert_eq!(book.key_count(), 200);
    for number in 0..20 {
        assert_eq!(own(&book, &key(number, Unit::Day), window), Some(50));
    }
    assert!(book.take_crowded());
    // The sums are those of what is left.
    let mut left = Book::new(1, 1_000, [1, 2]);
    let kept: Vec<_> = book.iter().map(|(_, entry)| entry.key).collect();
    for key in kept {
        let hits = own(&book, &key, window).unwrap();
        left.note_slot(NOW_S, &reading(key, (window, hits), (window - 1, 0)));
    }
    assert_eq!(sums(&book, NOW_S), sums(&left, NOW_S));
}

#[test]
fn keys_of_others_are_bounded_and_own_ones_are_not_turned_away() {
    let mut book = Book::new(ME, 2, [1, 2]);
    let actor = book.actor_or_new(7, true).unwrap();
    let merge = |book: &mut Book, number, now_s| {
        let second = Period::from(Unit::Second).window_at(now_s).number();
        book.merge(now_s, actor, &key(number, Unit::Second), second, 1)
    };
    let is_news = |merged| matches!(merged, Merged::News { .. });
    assert!(is_news(merge(&mut book, 1, NOW_S)));
    assert!(is_news(merge(&mut book, 2, NOW_S)));
    assert_eq!(merge(&mut book, 3, NOW_S), Merged::NoRoom);
    assert_eq!(merge(&mut book, 2, NOW_S), Merged::Known);
    let own = reading(key(4, Unit::Second), (SECOND, 1), (0, 0));
    assert!(book.note_slot(NOW_S, &own).is_some());
    assert_eq!(book.key_count(), 3);
    // Once their windows are over there is room again.
    book.expire(NOW_S + 5);
    assert_eq!(book.key_count(), 0);
    assert!(is_news(merge(&mut book, 3, NOW_S + 5)));
}

#[test]
fn an_actor_with_the_number_of_a_forgotten_one_has_nothing_of_it() {
    let mut book = Book::new(ME, 100, [1, 2]);
    let [hit, kept] = [key(1, Unit::Second), key(2, Unit::Hour)];
    let hour = Period::from(Unit::Hour).window_at(NOW_S).number();
    let [first, stays] = [7, 8].map(|id| book.actor_or_new(id, true).unwrap());
    book.merge(NOW_S, first, &hit, SECOND, 5);
    book.merge(NOW_S, stays, &kept, hour, 6);
    book.expire_groups(at(NOW_S + 10), |_| false);
    assert_eq!((book.actor(7), book.actor_id(first)), (None, None));
    assert_eq!(book.actor(8), Some(stays));

    let second = book.actor_or_new(9, true).unwrap();
    assert_eq!(second, first, "or this test says nothing");
    // As the clock is set back, the counts of the forgotten one would matter again.
    book.sum_up(NOW_S);
    assert_eq!(
        sums(&book, NOW_S)
            .keys()
            .map(|place| place.0)
            .collect::<Vec<_>>(),
        [8]
    );
    // It reports them once more, and they are not counted twice.
    let again = book.actor_or_new(7, true).unwrap();
    book.merge(NOW_S, again, &hit, SECOND, 5);
    let (_, entry) = book.iter().find(|(_, entry)| entry.key == hit).unwrap();
    let half = entry.half(SECOND).unwrap();
    assert_eq!(
        (half.others(), half.of_actor(second), half.of_actor(again)),
        (5, 0, 5)
    );
}

#[test]
fn a_member_without_counts_keeps_its_number() {
    let mut book = Book::new(ME, 100, [1, 2]);
    let actor = book.actor_or_new(7, true);
    book.expire_groups(at(NOW_S), |id| id == 7);
    assert_eq!(book.actor(7), actor);
    book.expire_groups(at(NOW_S), |_| false);
    assert_eq!(book.actor(7), None);
}

#[test]
fn actors_are_bounded() {
    let mut book = Book::new(ME, 100, [1, 2]);
    let fits = (1_000..)
        .take_while(|&id| book.actor_or_new(id, true).is_some())
        .count();
    // This node, and what was forgiven.
    assert_eq!(fits + 2, ACTORS_MAX);
    assert_eq!(book.actor_or_new(ME, true), Some(OWN));
}

#[test]
fn a_key_of_which_nothing_was_heard_for_long_gives_way_to_a_new_one() {
    let mut book = Book::new(ME, 100, [1, 2]);
    let actor = book.actor_or_new(7, true).unwrap();
    let year = Period::from(Unit::Year).window_at(NOW_S).number();
    let report = |book: &mut Book, now_s, number| {
        let key = key(number, Unit::Year);
        book.merge(now_s, actor, &key, year, 5)
    };
    let own = key(0, Unit::Year);
    book.note_slot(NOW_S, &reading(own, (year, 3), (0, 0)));
    let fits = (1..1_000)
        .filter(|&number| matches!(report(&mut book, NOW_S, number), Merged::News { .. }))
        .count();
    assert_eq!((fits, book.key_count()), (99, 100));
    assert!(book.take_crowded() && !book.take_crowded());
    // What is fresh stays.
    assert_eq!(report(&mut book, NOW_S + 59, 1_000), Merged::NoRoom);
    // One that goes on is heard of again and again.
    for growth in 1..=120_u32 {
        let news = book.merge(
            NOW_S + u64::from(growth),
            actor,
            &key(1, Unit::Year),
            year,
            5 + growth,
        );
        assert!(matches!(news, Merged::News { growth: 1, .. }), "{news:?}");
    }
    for number in 2_000..2_098 {
        // Only a few are looked at each time.
        let found = (0..3).any(|_| {
            let news = report(&mut book, NOW_S + 120, number);
            matches!(news, Merged::News { .. })
        });
        assert!(found, "{number}");
    }
    assert_eq!(book.key_count(), 100);
    assert!(book.ids.contains_key(&key(1, Unit::Year)) && book.ids.contains_key(&own));
    assert_eq!(report(&mut book, NOW_S + 120, 3_000), Merged::NoRoom);
    // Sums say what there is.
    let as_they_grew = sums(&book, NOW_S + 120);
    book.sum_up(NOW_S + 120);
    assert_eq!(as_they_grew, sums(&book, NOW_S + 120));
}

#[test]
fn actors_that_somebody_has_invented_keep_no_member_out_and_no_other_one_for_long() {
    let mut book = Book::new(ME, 10_000, [1, 2]);
    let year = Period::from(Unit::Year).window_at(NOW_S).number();
    let report = |book: &mut Book, now_s, id, is_member| {
        let actor = book.actor_or_new(id, is_member)?;
        let merged = book.merge(now_s, actor, &key(id, Unit::Year), year, 1);
        assert!(matches!(merged, Merged::News { .. }), "{merged:?}");
        Some(actor)
    };
    let invented = (10_000..20_000)
        .filter(|&id| report(&mut book, NOW_S, id, false).is_some())
        .count();
    assert!((3_000..3_072).contains(&invented), "{invented}");
    let members = (1_000..2_000).filter(|&id| report(&mut book, NOW_S + 1, id, true).is_some());
    assert_eq!(members.count(), 1_000);
    assert_eq!(report(&mut book, NOW_S + 2, 30_000, false), None);
    book.expire_groups(at(NOW_S + 3), |id| (1_000..2_000).contains(&id));
    assert!(report(&mut book, NOW_S + 3, 30_000, false).is_some());
    assert!((1_000..2_000).all(|id| book.actor(id).is_some()));
    assert!(book.actor(30_000).is_some());
    // Of those that are gone nothing is left.
    let left = content(&book, NOW_S + 3);
    assert_eq!(
        left.len(),
        book.actors().filter(|&(_, id)| id != ME).count()
    );
}

/// A key that this node counted, for tests of others.
pub(crate) fn some_key(book: &mut Book) -> KeyId {
    let reading = reading(key(1, Unit::Second), (SECOND, 1), (0, 0));
    book.note_slot(NOW_S, &reading).unwrap()
}

#[test]
fn what_was_set_aside_is_forgotten_when_no_clock_makes_it_matter() {
    let mut book = Book::new(ME, 100, [1, 2]);
    for number in 0..50 {
        let hits = reading(key(number, Unit::Second), (SECOND, 5), (0, 0));
        book.note_slot(NOW_S, &hits);
    }
    let ahead = |by_s: u64| Now {
        unix_us: 1_000_000 * (NOW_S + by_s),
        ..at(NOW_S)
    };
    assert_eq!(book.set_clock(at(NOW_S), ahead(1_000), |_| None), []);
    assert_eq!(book.set_aside.len(), 50);
    // The clock is set now and then, and nothing of it adds up.
    for step in 1..20 {
        book.set_clock(ahead(1_000 * step), ahead(1_000 * (step + 1)), |_| None);
        assert_eq!(book.set_aside.len(), 50);
    }
    let later = |unix_s: u64| Now {
        unix_us: 1_000_000 * unix_s,
        ..at(NOW_S + 100)
    };
    book.expire_groups(later(NOW_S / 64 * 64 + 64_000), |_| false);
    assert_eq!(book.set_aside.len(), 0);
}
