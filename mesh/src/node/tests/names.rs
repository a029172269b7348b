//! What keys read as: asked for once, told once, and never taken unasked.

use hivemind_shared::region::Name;
use hivemind_shared::table::Key;
use hivemind_shared::window::Unit;

use super::lab::{Lab, Parcel, TICK_US, address, key, name, seal};
use crate::budget::Budget;
use crate::drops::DropCause;
use crate::names::KEYS_MAX;
use crate::node::names::{LOOKED_UP_MAX, WANTED_NAMES_MAX};
use crate::settings::Settings;
use crate::wire::names::{
    NAMES, NamePack, WANTED, WANTED_MAX, read_names, read_wanted, write_wanted,
};
use crate::wire::{Kind, writer};

/// Keys that are asked for, and names that are told, each with its sender.
fn spoken(parcels: &[Parcel]) -> (Vec<Key>, Vec<Key>) {
    let (mut wanted, mut told) = (Vec::new(), Vec::new());
    for parcel in parcels {
        if let Some(content) = parcel.section(WANTED) {
            wanted.extend(read_wanted(&content).unwrap());
        }
        if let Some(content) = parcel.section(NAMES) {
            let note = |key, _: crate::wire::names::RawName<'_>| {
                told.push(key);
                Ok(())
            };
            read_names(&content, note).unwrap();
        }
    }
    (wanted, told)
}

/// Runs for some time; what was asked for and told in it.
fn run_ms(lab: &mut Lab, ms: u64) -> (Vec<Key>, Vec<Key>) {
    let mut all = Vec::new();
    lab.run_lossy_ms(ms, &mut |parcel| {
        all.push(parcel.clone());
        false
    });
    spoken(&all)
}

fn shown<'l>(lab: &'l Lab, actor: u64, key: &Key) -> Option<&'l Name> {
    lab.nodes[&actor].counters.label(key)
}

#[test]
fn each_peer_hears_each_name_once() {
    let mut lab = Lab::joined(&[1, 2, 3]);
    let keys: Vec<Key> = (0..40).map(|number| key(number, Unit::Year)).collect();
    for (number, key) in keys.iter().enumerate() {
        lab.hit(1 + u64::from(number % 4 == 0), key, 5);
    }
    let (mut wanted, mut told) = run_ms(&mut lab, 3_000);
    for node in lab.nodes.values() {
        for key in &keys {
            assert_eq!(node.counters.label(key), Some(&name(key)));
        }
    }
    for spoken in [&mut wanted, &mut told] {
        spoken.sort_unstable_by_key(|key| key.fingerprint);
        let twice: Vec<Key> = keys.iter().flat_map(|key| [*key; 2]).collect();
        let mut twice = twice;
        twice.sort_unstable_by_key(|key| key.fingerprint);
        assert_eq!(*spoken, twice, "once for each of the two that lack it");
    }
    // Hits that come later bring no further question, and neither does silence.
    for key in &keys {
        lab.hit(1, key, 5);
    }
    assert_eq!(run_ms(&mut lab, 30_000), (vec![], vec![]));
}

#[test]
fn what_is_lost_is_asked_for_again_and_of_whoever_may_know() {
    let mut lab = Lab::joined(&[1, 2, 3]);
    let year = key(1, Unit::Year);
    lab.hit(1, &year, 5);
    let mut lost = 0;
    lab.run_lossy_ms(5_000, &mut |parcel| {
        let is_lost = parcel.section(NAMES).is_some() && lost < 2;
        lost += u32::from(is_lost);
        is_lost
    });
    assert_eq!(lost, 2, "or this test says nothing");
    lab.run_until("the name is everywhere", |lab| {
        [2, 3]
            .iter()
            .all(|&actor| shown(lab, actor, &year).is_some())
    });
    // The slot was given up and came back, on one host, when the one that had counted is gone.
    lab.nodes.remove(&1);
    lab.node(2).counters.names.clear();
    lab.run_until("the name is back", |lab| shown(lab, 2, &year).is_some());
    // And one that comes now hears it as well.
    lab.start(4, 1);
    lab.join(4, 3);
    lab.run_until("the newcomer has it", |lab| shown(lab, 4, &year).is_some());
}

#[test]
fn a_restart_asks_only_for_what_is_missing() {
    let mut lab = Lab::joined(&[1, 2]);
    let year = key(1, Unit::Year);
    lab.hit(1, &year, 5);
    lab.run_until("it is there", |lab| shown(lab, 2, &year).is_some());
    lab.restart(2, 2);
    lab.join(2, 1);
    assert_eq!(run_ms(&mut lab, 8_000), (vec![], vec![]));
    lab.start(2, 3);
    lab.join(2, 1);
    assert_eq!(run_ms(&mut lab, 8_000), (vec![year], vec![year]));
    assert_eq!(shown(&lab, 2, &year), Some(&name(&year)));
}

#[test]
fn a_name_that_nobody_knows_is_asked_for_ever_less_often() {
    let mut lab = Lab::joined(&[1, 2]);
    let year = key(1, Unit::Year);
    lab.hit(1, &year, 5);
    lab.node(1).counters.names.clear();
    let (wanted, told) = run_ms(&mut lab, 60_000);
    assert!((2..=6).contains(&wanted.len()), "{wanted:?}");
    assert!(told.is_empty());
    let (later, _) = run_ms(&mut lab, 300_000);
    assert!(later.len() <= 4, "{later:?}");
}

#[test]
fn the_hottest_are_asked_for_in_a_bounded_number() {
    let mut settings = Settings::new("test");
    settings.datagram_bytes_max = 512;
    let mut lab = Lab::joined_with(&[1, 2], settings);
    let count = KEYS_MAX as u64 + 500;
    let hit_each = |lab: &mut Lab, from: u64, hits: u32| {
        for number in from..from + count {
            lab.hit(1, &key(number, Unit::Year), hits);
        }
    };
    // As many hits for each: those that came first keep their place.
    hit_each(&mut lab, 0, 1);
    let (mut wanted, told) = run_ms(&mut lab, 30_000);
    wanted.sort_unstable_by_key(|key| key.fingerprint);
    wanted.dedup();
    assert_eq!((wanted.len(), told.len()), (KEYS_MAX, KEYS_MAX));
    assert_eq!(run_ms(&mut lab, 60_000), (vec![], vec![]));

    // So many at once, and so many a second; the hottest first.
    hit_each(&mut lab, count, 2);
    assert_eq!(run_ms(&mut lab, 3_000).0.len(), KEYS_MAX);
    hit_each(&mut lab, 2 * count, 3);
    let (wanted, _) = run_ms(&mut lab, 5_000);
    assert!((1..=8 * 32).contains(&wanted.len()), "{}", wanted.len());
    let is_hot = |key: &Key| key.fingerprint.low >= 2 * count;
    assert!(wanted.iter().all(is_hot));
}

#[test]
fn what_was_not_asked_for_is_not_taken_in_and_a_wrong_name_neither() {
    let mut lab = Lab::joined(&[1, 2, 3]);
    let (year, own) = (key(1, Unit::Year), key(2, Unit::Year));
    lab.hit(1, &year, 5);
    lab.hit(2, &own, 5);
    // Node 2 hears nothing from node 1 but counts.
    let mut silent = |parcel: &Parcel| parcel.section(NAMES).is_some();
    lab.run_lossy_ms(50, &mut silent);
    let mut sealer = lab.sealer(3);
    let mut say = |lab: &mut Lab, key: &Key, name: Name| {
        let datagram = seal(&mut sealer, Kind::Sync, |body| {
            let mut pack = NamePack::new(1_000);
            assert!(pack.push(*key, name));
            pack.write(body);
        });
        lab.say(2, address(3), &datagram);
    };
    let long = "x".repeat(300);
    let lie = |key: &Key| {
        let lie = hivemind_shared::descriptor::Entry::new("key", &long);
        Name::of(&key.fingerprint.to_bytes(), &[lie])
    };
    // Nobody has asked, not even for the truth.
    say(&mut lab, &year, name(&year));
    say(&mut lab, &year, lie(&year));
    say(&mut lab, &own, lie(&own));
    assert_eq!(shown(&lab, 2, &year), None);
    assert_eq!(shown(&lab, 2, &own), Some(&name(&own)));
    // It asks node 1, and node 3 answers.
    let mut asked = 0;
    lab.run_lossy_ms(1_500, &mut |parcel| {
        asked += u32::from(parcel.section(WANTED).is_some() && parcel.to == address(1));
        silent(parcel)
    });
    assert!(asked > 0, "or this test says nothing");
    say(&mut lab, &year, lie(&year));
    assert_eq!(shown(&lab, 2, &year), None);
    assert_eq!(lab.node(2).drops(DropCause::BadContent), 0);
}

#[test]
fn one_answer_is_taken_for_each_question_and_a_lie_does_not_keep_the_name_out() {
    let mut lab = Lab::joined(&[1, 2]);
    let year = key(1, Unit::Year);
    lab.hit(1, &year, 5);
    lab.run_lossy_ms(2_000, &mut |parcel| parcel.section(NAMES).is_some());
    // What node 1 says is under the control of the test now: it was asked.
    let mut sealer = lab.sealer(1);
    let mut say = |lab: &mut Lab, said: &[u8]| {
        let datagram = seal(&mut sealer, Kind::Sync, |body| {
            writer::section(body, NAMES, |body| {
                writer::varint(body, u64::from(year.period.code()));
                body.extend_from_slice(&year.fingerprint.high.to_le_bytes());
                body.extend_from_slice(&year.fingerprint.low.to_le_bytes());
                body.extend_from_slice(&[0, u8::try_from(said.len()).unwrap()]);
                body.extend_from_slice(said);
            });
        });
        lab.say(2, address(1), &datagram);
    };
    say(&mut lab, b"\x04edge\x03key\x03lie");
    assert_eq!(shown(&lab, 2, &year), None);
    say(&mut lab, name(&year).text());
    assert_eq!(shown(&lab, 2, &year), None, "one answer for each question");
    lab.restart(1, 2_000);
    lab.join(1, 2);
    lab.run_until("it is asked for again", |lab| {
        shown(lab, 2, &year).is_some()
    });
    assert_eq!(shown(&lab, 2, &year), Some(&name(&year)));
}

#[test]
fn a_member_that_wants_all_names_all_the_time_makes_little_work() {
    let mut lab = Lab::joined(&[1, 2]);
    let year = key(1, Unit::Year);
    lab.hit(1, &year, 5);
    lab.run_ms(2_000);
    let mut sealer = lab.sealer(2);
    let keys = [year; WANTED_MAX];
    for _ in 0..WANTED_NAMES_MAX / WANTED_MAX * 4 {
        let datagram = seal(&mut sealer, Kind::Sync, |body| write_wanted(body, &keys));
        lab.say(1, address(2), &datagram);
    }
    const { assert!(WANTED_NAMES_MAX <= LOOKED_UP_MAX) };
    assert_eq!(
        lab.nodes[&1].mesh.links[0].wanted_names.len(),
        WANTED_NAMES_MAX
    );
    let mut told = 0;
    for _ in 0..2_000_000 / TICK_US {
        let parcels = lab.tick();
        let names = parcels.iter().filter(|it| it.section(NAMES).is_some());
        assert!(names.count() <= 1, "one datagram for a peer and tick");
        told += spoken(&parcels).1.len();
    }
    assert_eq!(told, WANTED_NAMES_MAX);
}

#[test]
fn names_are_told_out_of_the_budget_and_not_beyond_it() {
    let mut lab = Lab::joined(&[1, 2]);
    for number in 0..500 {
        lab.hit(1, &key(number, Unit::Year), 5);
    }
    let names = std::mem::take(&mut lab.node(1).counters.names);
    lab.run_ms(100);
    lab.node(1).counters.names = names;
    let now_us = lab.now.monotonic_us;
    lab.node(1).mesh.budget = Budget::new(5_000, now_us);
    let mut told = 0;
    while lab.node(2).counters.names.len() < 500 {
        let mut bytes = 0;
        lab.run_lossy_ms(1_000, &mut |parcel| {
            if parcel.section(NAMES).is_some() {
                bytes += parcel.bytes.len();
            }
            false
        });
        // What comes in in a second, the buckets, and the last datagram.
        assert!(bytes <= 5_000 + 500 + 1_200, "{bytes}");
        told += bytes;
        assert!(lab.now.monotonic_us < now_us + 120_000_000, "{told}");
    }
    assert!(told > 20_000, "or this test says nothing: {told}");
}

#[test]
fn who_comes_is_asked_for_what_nobody_knew_before() {
    let mut lab = Lab::joined(&[1, 2]);
    let year = key(1, Unit::Year);
    lab.hit(1, &year, 5);
    lab.node(1).counters.names.clear();
    // By now it would be long until the next question.
    lab.run_ms(100_000);
    assert_eq!(shown(&lab, 2, &year), None);
    lab.start(3, 1);
    lab.hit(3, &year, 1);
    lab.join(3, 1);
    lab.run_ms(8_000);
    assert_eq!(shown(&lab, 2, &year), Some(&name(&year)));
}
