//! Meshes of two or three nodes, in hand-moved time.

mod changes;
mod clock;
mod forgive;
mod hostile;
mod lab;
mod names;

use hivemind_shared::window::Unit;
use lab::{CLUSTER, Lab, Parcel, address, key};

use crate::link::Snapshot;
use crate::settings::Settings;
use crate::status::PeerState;
use crate::wire::Kind;
use crate::wire::sections::{DIGEST, Heartbeat, SNAPSHOT_END, SNAPSHOT_REQUEST, SnapshotEnd};

#[test]
fn two_nodes_find_each_other_and_tell_what_they_count() {
    let mut lab = Lab::joined(&[1, 2]);
    let day = key(1, Unit::Day);
    lab.hit(1, &day, 3);
    lab.hit(2, &day, 4);
    lab.run_ms(10);
    assert_eq!((lab.remote(1, &day), lab.remote(2, &day)), (4, 3));
    lab.hit(1, &day, 1);
    lab.run_ms(10);
    assert_eq!(lab.remote(2, &day), 4);

    lab.run_ms(1_000);
    let status = lab.nodes[&1].mesh.status(lab.now);
    assert!(status.joined && status.drops.is_empty());
    assert_eq!((status.keys, status.actors), (1, 2));
    let peer = &status.peers[0];
    assert_eq!(
        (peer.name.as_str(), peer.state),
        ("node 2", PeerState::Alive)
    );
    assert!(peer.in_sync && peer.loss == 0.0 && peer.skew_ms == Some(0));
    assert!(status.probe.p99_us.is_some());
}

#[test]
fn a_count_that_was_lost_is_repeated_as_it_is_by_then() {
    let mut lab = Lab::joined(&[1, 2]);
    // Far from its limit, so that growth may wait.
    lab.node(1).counters.limits = vec![1_000_000];
    let day = key(1, Unit::Day);
    lab.hit(1, &day, 3);
    let mut lost = 0;
    lab.run_lossy_ms(5, &mut |parcel| {
        lost += u32::from(parcel.is(Kind::Counts));
        parcel.is(Kind::Counts)
    });
    assert_eq!((lost, lab.remote(2, &day)), (1, 0));
    lab.hit(1, &day, 2);
    let mut repeated = Vec::new();
    lab.run_lossy_ms(50, &mut |parcel| {
        assert!(!parcel.is(Kind::Counts), "the growth waits");
        if parcel.is(Kind::Repeat) {
            repeated.extend(parcel.entries());
        }
        false
    });
    let counts: Vec<u32> = repeated.iter().map(|entry| entry.count).collect();
    assert_eq!((counts, lab.remote(2, &day)), (vec![5], 5));
}

#[test]
fn duplicates_and_reordering_change_nothing() {
    let mut lab = Lab::joined(&[1, 2]);
    let keys: Vec<_> = (0..200).map(|number| key(number, Unit::Day)).collect();
    let mut held: Vec<Parcel> = Vec::new();
    for round in 1..=20 {
        for (number, key) in keys.iter().enumerate() {
            if number % round == 0 {
                lab.hit(1, key, 1);
            }
        }
        held.extend(lab.tick());
        if round % 4 == 0 {
            held.reverse();
            let twice = held.iter().chain(&held).cloned().collect();
            held.clear();
            lab.deliver(twice, &mut |_| false);
        }
    }
    lab.run_ms(100);
    for (number, key) in keys.iter().enumerate() {
        let rounds = (1..=20).filter(|round| number % round == 0).count();
        assert_eq!(usize::try_from(lab.remote(2, key)), Ok(rounds));
    }
}

#[test]
fn a_peer_that_lost_everything_gets_everything_again() {
    let mut lab = Lab::joined(&[1, 2]);
    let keys: Vec<_> = (0..500).map(|number| key(number, Unit::Day)).collect();
    keys.iter().for_each(|key| lab.hit(1, key, 2));
    lab.run_ms(100);
    lab.start(2, 2);
    assert_eq!(lab.remote(2, &keys[0]), 0);
    lab.join(2, 1);
    lab.run_until("all counts are back", |lab| {
        keys.iter().all(|key| lab.remote(2, key) == 2)
    });
    lab.run_ms(50);
    assert!(lab.nodes[&2].mesh.is_joined());
    assert_eq!(lab.nodes[&1].mesh.status(lab.now).peers.len(), 1);
}

#[test]
fn a_restarted_node_goes_on_with_the_counts_of_its_region() {
    let mut lab = Lab::joined(&[1, 2]);
    let day = key(1, Unit::Day);
    lab.hit(1, &day, 3);
    lab.hit(2, &day, 4);
    lab.run_ms(100);
    // A hit that nobody was told of.
    lab.hit(2, &day, 1);
    lab.run_lossy_ms(5, &mut |_| true);
    lab.restart(2, 2);
    lab.join(2, 1);
    lab.run_until("it is told", |lab| lab.remote(1, &day) == 5);
    lab.hit(2, &day, 1);
    lab.run_ms(1_000);
    assert_eq!((lab.remote(1, &day), lab.remote(2, &day)), (6, 3));
}

#[test]
fn another_run_of_a_peer_is_told_at_its_first_word_what_was_counted_here() {
    let mut lab = Lab::joined(&[1, 2]);
    lab.hit(1, &key(1, Unit::Day), 1);
    lab.run_ms(1_000);
    let mut sealer = lab.sealer(2);
    let heartbeat = Heartbeat {
        probe: 1,
        name: "again".into(),
    };
    let sums = |lab: &mut Lab| {
        let parcels = lab.tick();
        let to_it = |parcel: &&Parcel| parcel.to == address(2);
        parcels
            .iter()
            .filter(to_it)
            .find_map(|parcel| parcel.section(DIGEST))
    };
    assert_eq!(sums(&mut lab), None);
    let datagram = lab::seal(&mut sealer, Kind::Heartbeat, |body| heartbeat.write(body));
    lab.say(1, address(2), &datagram);
    assert!(sums(&mut lab).is_some());
}

#[test]
fn what_a_node_counted_comes_back_from_its_peers_when_it_lost_its_region_and_starts_anew() {
    let mut lab = Lab::joined(&[1, 2]);
    let day = key(1, Unit::Day);
    lab.hit(2, &day, 7);
    lab.run_ms(10);
    // Another actor now, at an address of its own.
    lab.nodes.remove(&2);
    lab.start(3, 1);
    lab.join(3, 1);
    lab.run_until("the counts of the gone actor arrive", |lab| {
        lab.remote(3, &day) == 7
    });
    assert_eq!(lab.remote(1, &day), 7);
}

#[test]
fn a_joining_node_is_ready_once_it_has_all_that_is_known_of_others_too() {
    let mut lab = Lab::joined(&[1, 2]);
    let keys: Vec<_> = (0..300).map(|number| key(number, Unit::Day)).collect();
    keys.iter().for_each(|key| lab.hit(2, key, 2));
    lab.run_ms(100);
    lab.nodes.remove(&2);
    lab.start(3, 1);
    lab.join(3, 1);
    let is_joined = |lab: &Lab| lab.nodes[&3].mesh.is_joined();
    assert!(!is_joined(&lab));
    lab.run_until("the new node is ready", is_joined);
    assert!(keys.iter().all(|key| lab.remote(3, key) == 2));
}

#[test]
fn a_joining_node_is_not_ready_while_a_part_of_the_snapshot_is_lost_on_the_way() {
    let mut lab = Lab::joined(&[1, 2]);
    let keys: Vec<_> = (0..300).map(|number| key(number, Unit::Day)).collect();
    keys.iter().for_each(|key| lab.hit(1, key, 2));
    keys.iter().for_each(|key| lab.hit(2, key, 3));
    lab.run_ms(100);
    lab.start(3, 1);
    lab.join(3, 1);
    let mut bulk = 0;
    while !lab.nodes[&3].mesh.is_joined() {
        lab.run_lossy_ms(5, &mut |parcel| {
            bulk += u32::from(parcel.is(Kind::Bulk));
            parcel.is(Kind::Bulk) && bulk % 3 == 0
        });
    }
    assert!(bulk > 3);
    let known = keys.iter().filter(|key| lab.remote(3, key) == 5).count();
    assert_eq!(known, keys.len());
}

#[test]
fn the_end_of_a_snapshot_that_was_lost_does_not_take_the_place_of_the_next_ones() {
    let mut lab = Lab::apart(&[1, 2], Settings::new(CLUSTER));
    lab.join(2, 1);
    let mut ends = Vec::new();
    lab.run_lossy_ms(40, &mut |parcel| {
        let end = parcel
            .section(SNAPSHOT_END)
            .filter(|_| parcel.to == address(2));
        ends.extend(end.map(|content| SnapshotEnd::read(&content).unwrap().number));
        parcel.section(SNAPSHOT_END).is_some()
    });
    assert!(
        ends.len() > 1 && ends.iter().all(|&end| end == 1),
        "{ends:?}"
    );
    // It has asked again meanwhile.
    let next = Snapshot {
        number: 2,
        next: None,
    };
    lab.node(1).mesh.links[0].snapshot = Some(next);
    for _ in 0..8 {
        let parcels = lab.tick();
        lab.node(1).mesh.links[0].snapshot.get_or_insert(next);
        let ends: Vec<_> = parcels
            .iter()
            .filter(|parcel| parcel.to == address(2))
            .filter_map(|parcel| parcel.section(SNAPSHOT_END))
            .collect();
        assert!(!ends.is_empty());
        let numbers = ends
            .iter()
            .map(|end| SnapshotEnd::read(end).unwrap().number);
        assert!(numbers.eq(ends.iter().map(|_| 2)), "{ends:?}");
    }
}

/// The counts of node 3, which is gone, reach node 2 by way of node 1.
fn gossip_heals(mut lab: Lab, units: &[Unit]) {
    // Something that both have, so that both have sums to compare.
    for &unit in units {
        lab.hit(3, &key(2, unit), 1);
    }
    lab.run_ms(20);
    for &unit in units {
        lab.hit(3, &key(1, unit), 5);
    }
    lab.run_lossy_ms(20, &mut |parcel| {
        parcel.from == address(3) && parcel.to == address(2)
    });
    lab.nodes.remove(&3);
    let long = units.iter().filter(|unit| unit.seconds() > 60);
    let keys: Vec<_> = long.map(|&unit| key(1, unit)).collect();
    assert!(
        keys.iter()
            .all(|key| (lab.remote(1, key), lab.remote(2, key)) == (5, 0))
    );
    lab.run_until("the third node has them", |lab| {
        keys.iter().all(|key| lab.remote(2, key) == 5)
    });
}

#[test]
fn what_one_peer_alone_heard_of_a_silent_node_is_gossiped() {
    gossip_heals(Lab::joined(&[1, 2, 3]), &[Unit::Hour]);
}

#[test]
fn more_sums_of_a_silent_node_than_fit_in_a_datagram_are_gossiped_too() {
    let mut settings = Settings::new(CLUSTER);
    settings.datagram_bytes_max = 512;
    let mut lab = Lab::joined_with(&[1, 2, 3], settings);
    // Six fit, and there are two of minutes.
    lab.hit(3, &key(2, Unit::Minute), 1);
    lab.run_ms(60_000);
    gossip_heals(lab, &Unit::ALL);
}

#[test]
fn no_more_than_allowed_is_sent_and_the_most_urgent_first() {
    let mut settings = Settings::new(CLUSTER);
    settings.send_bytes_per_s = 100_000;
    settings.epsilon = 0.0;
    let mut lab = Lab::joined_with(&[1, 2], settings);
    lab.node(1).counters.limits = vec![u32::MAX];
    // Each growth is sent at once, and the larger is the more urgent.
    let keys: Vec<_> = (0..20_000).map(|number| key(number, Unit::Day)).collect();
    for (hits, key) in (1..).zip(&keys) {
        lab.hit(1, key, hits);
    }
    let mut counts = Vec::new();
    let mut bytes = 0;
    lab.run_lossy_ms(1_000, &mut |parcel| {
        if parcel.from == address(1) {
            bytes += parcel.bytes.len();
            counts.push(
                parcel
                    .entries()
                    .iter()
                    .map(|entry| entry.count)
                    .collect::<Vec<_>>(),
            );
        }
        false
    });
    // What comes in in a second, the buckets, and the last datagram of each purpose.
    assert!(bytes <= 100_000 + 10_000 + 2 * 1_200, "{bytes}");
    assert!(bytes >= 95_000, "{bytes}");
    counts.retain(|counts| !counts.is_empty());
    let falls = |pair: &[Vec<u32>]| pair[0].iter().min() > pair[1].iter().max();
    assert!(counts.windows(2).all(falls));
    assert_eq!(counts[0].iter().max(), Some(&20_000));
    // The rest is not forgotten.
    lab.run_ms(5_000);
    assert!(
        (1..)
            .zip(&keys)
            .all(|(hits, key)| lab.remote(2, key) == hits)
    );
}

#[test]
fn a_leaving_node_tells_its_last_counts_first() {
    let mut lab = Lab::joined(&[1, 2]);
    lab.node(1).counters.limits = vec![1_000_000];
    let day = key(1, Unit::Day);
    lab.hit(1, &day, 1);
    lab.run_ms(10);
    lab.hit(1, &day, 1);
    lab.run_ms(10);
    assert_eq!(lab.remote(2, &day), 1, "the growth waits");
    lab.hit(1, &day, 1);
    let now = lab.now;
    let node = lab.node(1);
    node.mesh.leave(now, &mut node.counters, &mut node.out);
    let mut gone = lab.nodes.remove(&1).unwrap();
    let parcels = gone.out.datagrams().map(|(bytes, to)| Parcel {
        from: address(1),
        to: to[0],
        bytes: bytes.to_vec(),
    });
    lab.deliver(parcels.collect(), &mut |_| false);
    gone.out.clear();
    assert_eq!(lab.remote(2, &day), 3);
    lab.run_ms(1_000);
    let status = lab.nodes[&2].mesh.status(lab.now);
    assert_eq!(status.peers[0].state, PeerState::Down);
}

#[test]
fn a_clock_that_was_set_leads_to_a_new_snapshot() {
    let mut lab = Lab::joined(&[1, 2]);
    // A window that is far away for node 2.
    lab.node(2).ahead_us = 7_200_000_000;
    lab.run_ms(100);
    let hour = key(1, Unit::Hour);
    lab.hit(1, &hour, 5);
    lab.run_ms(100);
    assert_eq!(lab.remote(2, &hour), 0);
    let mut requests = 0;
    lab.node(2).ahead_us = 0;
    lab.run_lossy_ms(100, &mut |parcel| {
        requests += u32::from(parcel.section(SNAPSHOT_REQUEST).is_some());
        false
    });
    assert_eq!((requests, lab.remote(2, &hour)), (1, 5));
    // A clock that runs a little fast is not set.
    for _ in 0..10 {
        lab.node(2).ahead_us += 100_000;
        lab.run_lossy_ms(5, &mut |parcel| {
            assert_eq!(parcel.section(SNAPSHOT_REQUEST), None);
            false
        });
    }
}

#[test]
fn a_restarted_node_that_was_told_nobody_is_found_by_those_who_knew_it() {
    let mut lab = Lab::joined(&[1, 2]);
    lab.start(1, 2);
    lab.run_ms(1_500);
    assert!(lab.nodes[&1].mesh.is_joined());
    assert_eq!(lab.nodes[&1].mesh.up.len(), 1);
}
