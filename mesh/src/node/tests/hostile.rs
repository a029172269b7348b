//! Datagrams that no member in its right mind sends, or that are from nobody.

use std::net::SocketAddr;

use hivemind_shared::table::Key;
use hivemind_shared::window::{Period, Unit};

use super::super::synchronize::{COPIES_MAX, LOOKED_THROUGH_MAX};
use super::lab::{CLUSTER, Lab, Node, Parcel, address, key, local, seal};
use crate::drops::DropCause;
use crate::membership::{Member, Membership, Output};
use crate::seal::{KeyRing, OVERHEAD_BYTES, Sealer, SenderId};
use crate::settings::Settings;
use crate::wire::counts::{Entry, Head, Pack};
use crate::wire::sections::{
    Digest, DigestGroup, Hello, MEMBERSHIP, PARTS, Summary, WANT, Want, WantGroup,
};
use crate::wire::writer::section;
use crate::wire::{HEAD_BYTES, Kind, writer};

fn ring(byte: u8) -> KeyRing {
    let (hash, seal) = ("0f".repeat(16), format!("{byte:02x}").repeat(32));
    KeyRing::parse(&format!("hash {hash}\nseal {seal}\n")).unwrap()
}

fn stranger() -> SenderId {
    SenderId {
        actor: 9,
        incarnation: 1,
        session: 1,
    }
}

fn hello(name: &str) -> Hello {
    Hello {
        wants_answer: true,
        address: address(9),
        name: name.into(),
    }
}

#[test]
fn who_is_no_member_gets_no_answer() {
    let lab = Lab::apart(&[], Settings::new(CLUSTER));
    let mut node = Node::new(local(1, 1), lab.settings.clone(), &ring(1), lab.now);
    let from = |keys: &KeyRing, cluster, sender| {
        let mut sealer = Sealer::new(keys, cluster, sender);
        seal(&mut sealer, Kind::Hello, |body| hello("").write(body))
    };
    let good = from(&ring(1), CLUSTER, stranger());
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut later = good.clone();
    later[1] += 1;
    let me = SenderId {
        actor: 1,
        ..stranger()
    };
    let cases = [
        (b"GET / HTTP/1.1".to_vec(), DropCause::Malformed),
        (later, DropCause::OtherVersion),
        (from(&ring(1), "other", stranger()), DropCause::OtherCluster),
        (from(&ring(2), CLUSTER, stranger()), DropCause::UnknownKey),
        (
            from(&KeyRing::open(CLUSTER), CLUSTER, stranger()),
            DropCause::UnknownKey,
        ),
        (damaged, DropCause::Unauthentic),
        (from(&ring(1), CLUSTER, me), DropCause::FromSelf),
    ];
    for (datagram, cause) in cases {
        let before = node.drops(cause);
        node.receive(lab.now, address(9), &datagram);
        assert!(node.out.is_empty(), "{cause:?}");
        assert_eq!(node.drops(cause), before + 1, "{cause:?}");
    }
    node.receive(lab.now, address(9), &good);
    assert!(!node.out.is_empty(), "or this test says nothing");
    node.out.clear();
    node.receive(lab.now, address(9), &good);
    assert!(node.out.is_empty());
    assert_eq!(node.drops(DropCause::Replayed), 1);
}

#[test]
fn a_hello_is_answered_with_a_hello_and_a_question_however_often_it_is_repeated_within() {
    let mut settings = Settings::new(CLUSTER);
    settings.datagram_bytes_max = 1_200;
    let lab = Lab::apart(&[], settings.clone());
    let mut local = local(1, 1);
    local.name = "n".repeat(300);
    let keys = KeyRing::open(CLUSTER);
    let mut sealer = Sealer::new(&keys, CLUSTER, stranger());
    let mut answers = Vec::new();
    for times in [1, 90] {
        let mut node = Node::new(local.clone(), settings.clone(), &keys, lab.now);
        let datagram = seal(&mut sealer, Kind::Hello, |body| {
            (0..times).for_each(|_| hello("").write(body));
        });
        node.receive(lab.now, address(9), &datagram);
        let answer: usize = node
            .out
            .datagrams()
            .map(|(bytes, to)| bytes.len() * to.len())
            .sum();
        answers.push((datagram.len(), node.out.datagrams().count(), answer));
    }
    // The longest name; an IPv4 address. So at most four times what came in, and once for each datagram.
    assert_eq!(answers, [(68, 2, 243), (68 + 89 * 12, 2, 243)]);
}

#[test]
fn counts_of_windows_that_are_not_near_are_dropped_and_counted() {
    let mut lab = Lab::joined(&[1, 2]);
    let minute = key(1, Unit::Minute);
    let window = minute.period.window_at(lab.now.unix_s()).number();
    let mut pack = Pack::new(1_000);
    for window in [0, window - 2, window - 1, window, window + 2, u32::MAX] {
        let count = 5;
        assert!(pack.push(Entry {
            key: minute,
            window,
            count
        }));
    }
    let head = Head {
        actor: None,
        copy: false,
        age_us: u64::MAX,
    };
    let mut sealer = lab.sealer(2);
    let datagram = seal(&mut sealer, Kind::Counts, |body| pack.write(body, head));
    lab.say(1, address(2), &datagram);
    let now = lab.now;
    let node = lab.node(1);
    assert_eq!(node.drops(DropCause::OutsideWindows), 4);
    assert_eq!(node.counters.remote(&minute, window), 5);
    assert_eq!(node.counters.remote(&minute, window - 1), 5);
    assert_eq!(node.counters.remote(&minute, window + 2), 0);
    // How old it says its news are harms nobody.
    let _ = node.mesh.status(now);
}

#[test]
fn nobody_knows_better_than_a_node_what_it_counted() {
    let mut lab = Lab::joined(&[1, 2]);
    let day = key(1, Unit::Day);
    lab.hit(1, &day, 1);
    lab.run_ms(10);
    let window = day.period.window_at(lab.now.unix_s()).number();
    let mut pack = Pack::new(1_000);
    let count = 50;
    assert!(pack.push(Entry {
        key: day,
        window,
        count
    }));
    let head = Head {
        actor: Some(1),
        copy: true,
        age_us: 0,
    };
    let mut sealer = lab.sealer(2);
    let datagram = seal(&mut sealer, Kind::Bulk, |body| pack.write(body, head));
    lab.say(1, address(2), &datagram);
    assert_eq!(lab.remote(1, &day), 0);
    assert_eq!(lab.nodes[&1].mesh.status(lab.now).actors, 1);
}

#[test]
fn content_without_sense_is_counted_and_what_came_before_it_is_used() {
    let mut lab = Lab::joined(&[1, 2]);
    let day = key(1, Unit::Day);
    let window = day.period.window_at(lab.now.unix_s()).number();
    let mut pack = Pack::new(1_000);
    assert!(pack.push(Entry {
        key: day,
        window,
        count: 5
    }));
    let head = Head {
        actor: None,
        copy: false,
        age_us: 0,
    };
    let mut sealer = lab.sealer(2);
    let datagram = seal(&mut sealer, Kind::Counts, |body| {
        pack.write(body, head);
        body.extend_from_slice(&[5, 1]);
    });
    lab.say(1, address(2), &datagram);
    assert_eq!(lab.node(1).drops(DropCause::BadContent), 1);
    assert_eq!(lab.remote(1, &day), 5);
}

/// A datagram with the sums of one window, again and again, and each time others.
fn sums_again_and_again(sealer: &mut Sealer, actor: u64, window: u32, first: u32) -> Vec<u8> {
    let group = |sum| DigestGroup {
        period: Unit::Day.into(),
        window,
        sums: [sum; PARTS],
    };
    let digest = Digest {
        both_ways: true,
        actor,
        groups: (first..first + 900).map(group).collect(),
    };
    seal(sealer, Kind::Sync, |body| digest.write(body))
}

#[test]
fn a_window_is_asked_for_once_whatever_is_said_about_it() {
    let mut lab = Lab::joined(&[1, 2]);
    let window = Period::from(Unit::Day).window_at(lab.now.unix_s()).number();
    let mut sealer = lab.sealer(2);
    for round in 0..300 {
        let datagram = sums_again_and_again(&mut sealer, 77, window, 1 + round * 900);
        lab.say(1, address(2), &datagram);
    }
    let link = &lab.node(1).mesh.links[0];
    assert!(link.asks.len() <= 64 && link.wants.len() <= 64 && link.acks.len() <= 512);
    let wants: Vec<_> = lab
        .tick()
        .iter()
        .filter_map(|parcel| parcel.section(WANT))
        .collect();
    assert!(!wants.is_empty());
    for want in wants {
        assert_eq!(Want::read(&want).unwrap().groups.len(), 1);
    }
}

#[test]
fn a_peer_that_acknowledges_nothing_is_not_flooded() {
    let mut lab = Lab::joined(&[1, 2]);
    (0..20_000).for_each(|number| lab.hit(1, &key(number, Unit::Day), 1));
    lab.run_ms(3_000);
    let mut sealer = lab.sealer(2);
    let group = WantGroup {
        period: Unit::Day.into(),
        window: Period::from(Unit::Day).window_at(lab.now.unix_s()).number(),
        parts: u16::MAX,
    };
    let want = Want {
        actor: 1,
        groups: vec![group],
    };
    let datagram = seal(&mut sealer, Kind::Sync, |body| want.write(body));
    lab.say(1, address(2), &datagram);
    let bulk = |lab: &mut Lab| {
        let parcels = lab.tick();
        parcels
            .iter()
            .filter(|parcel| parcel.is(Kind::Bulk))
            .count()
    };
    assert!((60..=64).contains(&bulk(&mut lab)));
    // What is lost is sent again, the less the longer nothing comes back.
    (0..400).for_each(|_| assert!(bulk(&mut lab) <= 64));
    assert!((0..20).map(|_| bulk(&mut lab)).sum::<usize>() <= 1);
}

#[test]
fn a_question_has_a_bound() {
    let group = |part| WantGroup {
        period: Unit::Day.into(),
        window: 1,
        parts: part,
    };
    let want = Want {
        actor: 1,
        groups: (0..5_000).map(group).collect(),
    };
    let mut section = Vec::new();
    want.write(&mut section);
    assert_eq!(Want::read(&section[3..]).unwrap().groups, want.groups[..64]);
}

#[test]
fn the_smallest_hello_is_as_small_as_it_looks() {
    let mut body = Vec::new();
    writer::head(&mut body, Kind::Hello);
    hello("").write(&mut body);
    assert_eq!(body.len() + OVERHEAD_BYTES, 68);
    assert_eq!(HEAD_BYTES, 2);
}

/// Counts of an actor as a datagram has them.
fn counts(sealer: &mut Sealer, actor: u64, entries: &[Entry]) -> Vec<u8> {
    let mut pack = Pack::new(8_000);
    assert!(entries.iter().all(|entry| pack.push(*entry)));
    let head = Head {
        actor: Some(actor),
        copy: true,
        age_us: 0,
    };
    seal(sealer, Kind::Bulk, |body| pack.write(body, head))
}

/// Two nodes, the first of which has counts of so many actors that are gone, in every unit.
fn with_actors_that_are_gone(actors: u64, settings: Settings) -> (Lab, Sealer) {
    let mut lab = Lab::joined_with(&[1, 2], settings);
    let mut sealer = lab.sealer(2);
    let now_s = lab.now.unix_s();
    for actor in 100..100 + actors {
        let entries: Vec<Entry> = Unit::ALL
            .into_iter()
            .flat_map(|unit| {
                let key = key(actor, unit);
                let now = key.period.window_at(now_s).number();
                [now - 1, now].map(|window| Entry {
                    key,
                    window,
                    count: 5,
                })
            })
            .collect();
        let datagram = counts(&mut sealer, actor, &entries);
        lab.say(1, address(2), &datagram);
    }
    (lab, sealer)
}

fn bytes_of(parcels: &[Parcel], kind: Kind) -> usize {
    let of_kind = parcels.iter().filter(|parcel| parcel.is(kind));
    of_kind.map(|parcel| parcel.bytes.len()).sum()
}

#[test]
fn what_a_datagram_asks_to_be_told_is_said_once_and_within_the_byte_budget() {
    let mut settings = Settings::new(CLUSTER);
    settings.send_bytes_per_s = 100_000;
    let (mut lab, mut sealer) = with_actors_that_are_gone(120, settings);
    let mut sent = Vec::new();
    for round in 0..200_u32 {
        let datagram = seal(&mut sealer, Kind::Sync, |body| {
            for first in (0..120).step_by(4) {
                let actors = (first..first + 4).map(|it| (100 + it, 1 + round)).collect();
                Summary { actors }.write(body);
            }
        });
        assert_eq!(datagram.len(), 1_586);
        lab.say(1, address(2), &datagram);
        // Nothing is said at once.
        let at_once = lab.node(1).take_out();
        assert_eq!(at_once.len(), 0);
        sent.extend(
            lab.tick()
                .into_iter()
                .filter(|parcel| parcel.from == address(1)),
        );
    }
    // What comes in for copies within that second, and what there was: a quarter of the whole. News of which
    // there are none leave the rest to them.
    let sync = bytes_of(&sent, Kind::Sync);
    assert!((20_000..=120_000).contains(&sync), "{sync}");
}

#[test]
fn every_section_counts_once_in_a_datagram() {
    let (mut lab, mut sealer) = with_actors_that_are_gone(50, Settings::new(CLUSTER));
    let window = Period::from(Unit::Day).window_at(lab.now.unix_s()).number();
    let datagram = seal(&mut sealer, Kind::Sync, |body| {
        for actor in 100..150 {
            let group = WantGroup {
                period: Unit::Day.into(),
                window,
                parts: u16::MAX,
            };
            let groups = vec![group];
            Want { actor, groups }.write(body);
            let group = DigestGroup {
                period: Unit::Day.into(),
                window,
                sums: [7; PARTS],
            };
            let digest = Digest {
                both_ways: true,
                actor,
                groups: vec![group],
            };
            digest.write(body);
            Summary {
                actors: vec![(actor, 1)],
            }
            .write(body);
        }
    });
    lab.say(1, address(2), &datagram);
    let link = &lab.node(1).mesh.links[0];
    // The want, and what the digest lacks.
    assert_eq!((link.wants.len(), link.asks.len()), (2, 1));
    assert_eq!(
        link.summary.as_ref().map(|summary| summary.actors.len()),
        Some(1)
    );
}

/// Tells a node a thousand times within a second that somebody is reached elsewhere; what goes there, and where
/// the datagrams came from.
fn sent_elsewhere(mut datagram: impl FnMut(SocketAddr) -> Vec<u8>) -> (usize, usize) {
    let mut lab = Lab::joined(&[1, 2]);
    let (elsewhere, attacker) = (([192, 0, 2, 1], 53).into(), address(66));
    let mut parcels = Vec::new();
    for _ in 0..100 {
        for _ in 0..10 {
            let datagram = datagram(elsewhere);
            lab.say(1, attacker, &datagram);
            parcels.extend(lab.node(1).take_out());
        }
        lab.now.monotonic_us += 10_000;
        lab.now.unix_us += 10_000;
    }
    let to = |address: SocketAddr| parcels.iter().filter(|parcel| parcel.to == address).count();
    (to(elsewhere), to(attacker))
}

#[test]
fn answers_go_to_addresses_of_members_and_elsewhere_only_now_and_then() {
    let keys = KeyRing::open(CLUSTER);
    let mut sealer = Sealer::new(&keys, CLUSTER, stranger());
    // 512, and 128 more in that second.
    let bound = 512 + 128;
    let (there, back) = sent_elsewhere(|elsewhere| {
        let hello = Hello {
            address: elsewhere,
            ..hello("")
        };
        seal(&mut sealer, Kind::Hello, |body| hello.write(body))
    });
    assert!((100..=2 * bound).contains(&there), "{there}");
    assert_eq!(back, 0);

    let mut sealer = Sealer::new(&keys, CLUSTER, stranger());
    let (there, back) = sent_elsewhere(|elsewhere| {
        let me = Member {
            actor: 9,
            incarnation: 1,
            address: elsewhere,
        };
        let to = Member {
            actor: 1,
            incarnation: 1,
            address: address(1),
        };
        let mut said = Output::new();
        Membership::new(me, Settings::new(CLUSTER).preset, 7).announce(0, to, &mut said);
        let (_, payload) = said.messages().next().unwrap();
        seal(&mut sealer, Kind::Membership, |body| {
            section(body, MEMBERSHIP, |body| body.extend_from_slice(payload));
        })
    });
    assert!((100..=bound).contains(&there), "{there}");
    // A greeting, every half a second.
    assert!(back <= 3, "{back}");
}

#[test]
fn nobody_speaks_for_another_member() {
    let mut lab = Lab::joined(&[1, 2]);
    let mut said = Output::new();
    let third = Member {
        actor: 3,
        incarnation: 1_000,
        address: address(3),
    };
    let to = Member {
        actor: 1,
        incarnation: 1,
        address: address(1),
    };
    Membership::new(third, lab.settings.preset, 7).announce(0, to, &mut said);
    let (_, payload) = said.messages().next().unwrap();
    let payload = payload.to_vec();
    for (actor, expected) in [(2, 1), (3, 0)] {
        let mut sealer = lab.sealer(actor);
        let datagram = seal(&mut sealer, Kind::Membership, |body| {
            section(body, MEMBERSHIP, |body| body.extend_from_slice(&payload));
        });
        lab.say(1, address(3), &datagram);
        assert_eq!(lab.node(1).drops(DropCause::BadContent), 1);
        assert_eq!(lab.node(1).mesh.up.len(), 2 - expected);
    }
}

/// An entry of a period, in its window of now.
fn entry_of(period: Period, now_s: u64) -> Entry {
    let window = period.window_at(now_s).number();
    let Key { fingerprint, .. } = key(u64::from(period.code()), Unit::Day);
    Entry {
        key: Key {
            fingerprint,
            period,
        },
        window,
        count: 5,
    }
}

#[test]
fn periods_that_no_rule_has_are_not_kept() {
    let mut lab = Lab::joined(&[1, 2]);
    let five_minutes = Period::new(Unit::Minute, 5).unwrap();
    lab.node(1).counters.periods = vec![five_minutes];
    lab.run_ms(10);
    let now_s = lab.now.unix_s();
    let mut sealer = lab.sealer(2);
    let mut periods: Vec<Period> = Unit::ALL
        .into_iter()
        .flat_map(|unit| {
            let most = Period::multiplier_max(unit).min(3_000);
            (1..=most).map(move |multiplier| Period::new(unit, multiplier).unwrap())
        })
        .collect();
    periods.sort_unstable();
    for periods in periods.chunks(100) {
        let entries: Vec<Entry> = periods
            .iter()
            .map(|&period| entry_of(period, now_s))
            .collect();
        let datagram = counts(&mut sealer, 2, &entries);
        lab.say(1, address(2), &datagram);
    }
    // One of each unit, and the one of a rule.
    let kept = Unit::ALL.len() + 1;
    let dropped = (periods.len() - kept) as u64;
    let node = lab.node(1);
    assert_eq!(node.drops(DropCause::UnknownPeriod), dropped);
    let actor = node.mesh.book.actor(2).unwrap();
    assert_eq!(node.mesh.book.digest(actor, now_s).len(), kept);
    assert_eq!(node.mesh.book.key_count(), kept);
    // Nor are they asked for.
    let groups = |period: Period| DigestGroup {
        period,
        window: period.window_at(now_s).number(),
        sums: [9; PARTS],
    };
    let digest = Digest {
        both_ways: false,
        actor: 2,
        groups: periods[..64].iter().copied().map(groups).collect(),
    };
    let datagram = seal(&mut sealer, Kind::Sync, |body| digest.write(body));
    lab.say(1, address(2), &datagram);
    let asks = &lab.node(1).mesh.links[0].asks;
    assert!(
        asks.iter()
            .flat_map(|ask| &ask.groups)
            .all(|group| { group.period.multiplier() == 1 || group.period == five_minutes })
    );
}

#[test]
fn a_rule_that_comes_later_brings_the_counts_by_its_period() {
    let mut lab = Lab::joined(&[1, 2]);
    let five_minutes = Period::new(Unit::Minute, 5).unwrap();
    let entry = entry_of(five_minutes, lab.now.unix_s());
    lab.node(2).counters.periods = vec![five_minutes];
    lab.hit(2, &entry.key, 4);
    lab.run_ms(5_000);
    assert_eq!(lab.remote(1, &entry.key), 0);
    assert!(lab.node(1).drops(DropCause::UnknownPeriod) > 0);
    lab.node(1).counters.periods = vec![five_minutes];
    lab.run_ms(500);
    assert_eq!(lab.remote(1, &entry.key), 4);
    assert!(lab.node(1).mesh.is_joined());
}

#[test]
fn a_run_that_begins_more_than_a_day_after_now_silences_nobody() {
    let mut lab = Lab::joined(&[1, 2]);
    let day = key(1, Unit::Day);
    let keys = KeyRing::open(CLUSTER);
    let latest = lab.now.unix_us / 1_000 + 86_400_000;
    for incarnation in [latest + 1, (1 << 48) - 1] {
        let sender = SenderId {
            actor: 2,
            incarnation,
            session: 77,
        };
        let mut sealer = Sealer::new(&keys, CLUSTER, sender);
        let datagram = seal(&mut sealer, Kind::Hello, |body| hello("").write(body));
        lab.say(1, address(2), &datagram);
    }
    assert_eq!(lab.node(1).drops(DropCause::IncarnationAhead), 2);
    lab.hit(2, &day, 3);
    lab.run_ms(50);
    assert_eq!(lab.remote(1, &day), 3);
}

#[test]
fn what_a_peer_wants_is_looked_up_a_part_at_a_time_and_waits_in_a_bounded_queue() {
    let mut settings = Settings::new(CLUSTER);
    settings.keys_max = 200_000;
    // So that next to nothing of it is sent.
    settings.send_bytes_per_s = 10_000;
    let mut lab = Lab::joined_with(&[1, 2], settings);
    let mut sealer = lab.sealer(2);
    let window = Period::from(Unit::Day).window_at(lab.now.unix_s()).number();
    let numbers: Vec<u64> = (0..100_000).collect();
    for numbers in numbers.chunks(250) {
        let entries: Vec<Entry> = numbers
            .iter()
            .map(|&number| Entry {
                key: key(number, Unit::Day),
                window,
                count: 5,
            })
            .collect();
        let datagram = counts(&mut sealer, 2, &entries);
        lab.say(1, address(2), &datagram);
        let copied = counts(&mut sealer, 3, &entries);
        lab.say(1, address(2), &copied);
    }
    let want = |actor| Want {
        actor,
        groups: vec![WantGroup {
            period: Unit::Day.into(),
            window,
            parts: u16::MAX,
        }],
    };
    for actor in [2, 3].into_iter().cycle().take(60) {
        let datagram = seal(&mut sealer, Kind::Sync, |body| want(actor).write(body));
        lab.say(1, address(2), &datagram);
    }
    let mut before = 0;
    for _ in 0..200 {
        lab.tick();
        let link = &lab.node(1).mesh.links[0];
        let waiting = link.backlog.copies();
        assert!(waiting <= 2 * COPIES_MAX, "{waiting}");
        assert!(waiting.saturating_sub(before) <= LOOKED_THROUGH_MAX);
        before = waiting;
    }
    assert!(before >= COPIES_MAX / 2, "or this test says nothing");
}
