//! Datagrams that no member in its right mind sends, or that are from nobody.

use hivemind_shared::window::{Period, Unit};

use super::lab::{CLUSTER, Lab, Node, address, key, local, seal};
use crate::drops::DropCause;
use crate::seal::{KeyRing, OVERHEAD_BYTES, Sealer, SenderId};
use crate::settings::Settings;
use crate::wire::counts::{Entry, Head, Pack};
use crate::wire::sections::{Digest, DigestGroup, Hello, PARTS, WANT, Want, WantGroup};
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
    later[1] = 2;
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
