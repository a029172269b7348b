//! Resets of counters, which all nodes have to agree about.

use hivemind_shared::region::FORGIVEN_ID;
use hivemind_shared::window::Unit;

use super::lab::{CLUSTER, Lab, address, key, seal};
use crate::wire::Kind;
use crate::wire::counts::{Entry, Head, Pack};

/// Three nodes that have counted 3, 4 and 5 hits of a day, and know of each other's.
fn counted() -> (Lab, hivemind_shared::table::Key) {
    let mut lab = Lab::joined(&[1, 2, 3]);
    let day = key(1, Unit::Day);
    for (actor, hits) in [(1, 3), (2, 4), (3, 5)] {
        lab.hit(actor, &day, hits);
    }
    lab.run_ms(10);
    assert_eq!(lab.totals(&day), [12; 3]);
    (lab, day)
}

#[test]
fn a_reset_at_one_node_is_one_at_all_and_what_comes_after_it_counts_at_all() {
    let (mut lab, day) = counted();
    let forgiven = lab.forgive(2, &day);
    let counts: Vec<_> = forgiven.iter().map(|it| (it.before, it.after)).collect();
    assert_eq!(counts, [(12, 0)]);
    assert_eq!(lab.totals(&day), [12, 0, 12], "at once where it was made");
    lab.run_ms(10);
    assert_eq!(lab.totals(&day), [0; 3]);
    for (actor, hits) in [(1, 1), (2, 2), (3, 4)] {
        lab.hit(actor, &day, hits);
    }
    lab.run_ms(10);
    assert_eq!(lab.totals(&day), [7; 3]);
    // And once more, by another one.
    lab.forgive(3, &day);
    lab.hit(1, &day, 1);
    lab.run_ms(10);
    assert_eq!(lab.totals(&day), [1; 3]);
}

#[test]
fn a_reset_that_is_lost_on_the_way_is_told_again() {
    let (mut lab, day) = counted();
    lab.forgive(1, &day);
    let mut lost = 0;
    lab.run_lossy_ms(5, &mut |parcel| {
        lost += u32::from(parcel.is(Kind::Repeat));
        parcel.is(Kind::Repeat)
    });
    assert_eq!((lost, lab.totals(&day)), (2, vec![0, 12, 12]));
    lab.run_ms(200);
    assert_eq!(lab.totals(&day), [0; 3]);
}

#[test]
fn a_reset_just_before_a_node_rests_or_leaves_reaches_all() {
    for leaves in [false, true] {
        let (mut lab, day) = counted();
        lab.forgive(1, &day);
        let now = lab.now;
        let node = lab.node(1);
        if leaves {
            node.mesh.leave(now, &mut node.counters, &mut node.out);
        } else {
            node.mesh.send_all(now, &mut node.counters, &mut node.out);
        }
        let last = node.take_out();
        lab.nodes.remove(&1);
        lab.deliver(last, &mut |_| false);
        assert_eq!(lab.totals(&day), [0; 2], "leaves: {leaves}");
    }
}

#[test]
fn of_two_resets_at_once_the_larger_has_its_say() {
    let (mut lab, day) = counted();
    // Each has hits that the other has not heard of.
    lab.hit(1, &day, 10);
    lab.hit(2, &day, 20);
    lab.forgive(1, &day);
    lab.forgive(2, &day);
    lab.run_ms(50);
    // 12 and 20 are forgiven of 42.
    assert_eq!(lab.totals(&day), [10; 3]);
}

#[test]
fn whoever_hears_of_a_reset_before_the_counts_has_nothing_counted() {
    let (mut lab, day) = counted();
    let hits = |parcel: &super::Parcel| parcel.is(Kind::Counts) && parcel.to == address(3);
    lab.hit(1, &day, 100);
    lab.run_lossy_ms(10, &mut |parcel| hits(parcel) || parcel.is(Kind::Repeat));
    lab.forgive(1, &day);
    // The reset arrives, and what was lost before it does not yet.
    let counts = |parcel: &super::Parcel| {
        parcel.entries().iter().any(|entry| entry.count == 103) && parcel.to == address(3)
    };
    lab.run_lossy_ms(50, &mut |parcel| counts(parcel));
    let remote = lab.remote(3, &day);
    assert!(remote < -5, "{remote}");
    assert_eq!(lab.totals(&day), [0; 3]);
    lab.hit(3, &day, 1);
    lab.run_ms(1_000);
    assert_eq!(lab.totals(&day), [1; 3]);
}

#[test]
fn a_node_that_starts_again_and_one_that_is_new_know_of_the_reset() {
    let (mut lab, day) = counted();
    lab.forgive(1, &day);
    lab.run_ms(10);
    lab.hit(2, &day, 2);
    lab.run_ms(10);
    lab.restart(1, 2);
    assert_eq!(lab.totals(&day), [2; 3], "it is in the region");
    lab.join(1, 2);
    lab.run_ms(3_000);
    assert_eq!(lab.totals(&day), [2; 3]);
    lab.start(4, 1);
    lab.join(4, 1);
    lab.run_until("it has everything", |lab| {
        lab.totals(&day).len() == 4 && lab.totals(&day) == [2; 4]
    });
    lab.run_ms(3_000);
    assert_eq!(lab.totals(&day), [2; 4]);
}

#[test]
fn a_reset_outlives_a_restart_of_the_only_one_that_knows_of_it() {
    let mut lab = Lab::apart(&[1], crate::settings::Settings::new(CLUSTER));
    let day = key(1, Unit::Day);
    lab.node(1).mesh.join_nobody();
    lab.hit(1, &day, 7);
    lab.run_ms(10);
    lab.forgive(1, &day);
    lab.restart(1, 2);
    lab.node(1).mesh.join_nobody();
    lab.hit(1, &day, 2);
    lab.run_ms(10);
    assert_eq!(lab.totals(&day), [2]);
    lab.start(2, 1);
    lab.join(2, 1);
    lab.run_until("a newcomer agrees", |lab| lab.totals(&day) == [2, 2]);
    lab.run_ms(3_000);
    assert_eq!(lab.totals(&day), [2, 2]);
}

#[test]
fn a_reset_outlives_a_restart_of_all_at_once() {
    let (mut lab, day) = counted();
    lab.forgive(2, &day);
    lab.run_ms(10);
    lab.hit(3, &day, 2);
    lab.run_ms(10);
    for actor in [1, 2, 3] {
        lab.restart(actor, 2);
    }
    assert_eq!(lab.totals(&day), [2; 3]);
    lab.join(2, 1);
    lab.join(3, 1);
    lab.run_ms(5_000);
    assert_eq!(lab.totals(&day), [2; 3]);
}

#[test]
fn a_reset_reaches_who_was_away_once_a_partition_has_healed() {
    let (mut lab, day) = counted();
    let is_cut = |parcel: &super::Parcel| parcel.to == address(3) || parcel.from == address(3);
    lab.run_lossy_ms(100, &mut |parcel| is_cut(parcel));
    lab.forgive(1, &day);
    lab.run_lossy_ms(15_000, &mut |parcel| is_cut(parcel));
    assert_eq!(lab.totals(&day), [0, 0, 12]);
    lab.run_until("all agree", |lab| lab.totals(&day) == [0; 3]);
}

#[test]
fn a_hostile_reset_makes_a_count_nothing_and_no_more() {
    let (mut lab, day) = counted();
    let window = day.period.window_at(lab.now.unix_s()).number();
    let mut sealer = lab.sealer(2);
    let mut pack = Pack::new(1_000);
    pack.push(Entry {
        key: day,
        window,
        count: u32::MAX,
    });
    let head = Head {
        actor: Some(FORGIVEN_ID),
        copy: false,
        age_us: 0,
    };
    let datagram = seal(&mut sealer, Kind::Repeat, |buffer| pack.write(buffer, head));
    lab.say(1, address(2), &datagram);
    assert_eq!(lab.totals(&day)[0], 0);
    lab.hit(1, &day, 10);
    lab.run_ms(10);
    assert_eq!(lab.totals(&day)[0], 0, "for the rest of the window");
}
