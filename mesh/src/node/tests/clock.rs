//! Clocks that are set while counts go around.

use hivemind_shared::window::Unit;

use super::lab::{Lab, key};

const YEAR_US: u64 = 365 * 86_400 * 1_000_000;

/// Two nodes that have counted 10 and 40 hits of one key, which both know.
fn counted(unit: Unit) -> (Lab, hivemind_shared::table::Key) {
    let mut lab = Lab::joined(&[1, 2]);
    let key = key(1, unit);
    lab.hit(1, &key, 10);
    lab.hit(2, &key, 40);
    lab.run_ms(100);
    assert_eq!(lab.totals(&key), [50, 50]);
    (lab, key)
}

/// Sets the clock of the first node, and lets time pass.
fn set_ahead(lab: &mut Lab, ahead_us: u64) {
    lab.node(1).ahead_us = ahead_us;
    lab.run_ms(20);
}

#[test]
fn own_hits_are_not_forgotten_while_a_clock_is_far_ahead_and_comes_back_in_steps() {
    for unit in [Unit::Minute, Unit::Day, Unit::Year] {
        let (mut lab, key) = counted(unit);
        for years in [70, 60] {
            set_ahead(&mut lab, years * YEAR_US);
            lab.hit(1, &key, 1);
            lab.run_ms(20);
        }
        set_ahead(&mut lab, 0);
        lab.run_ms(1_000);
        assert_eq!(lab.totals(&key), [50, 50], "{unit}");
        // And it goes on from there, for everybody.
        lab.hit(1, &key, 3);
        lab.run_ms(1_000);
        assert_eq!(lab.totals(&key), [53, 53], "{unit}");
    }
}

#[test]
fn hits_that_the_slot_has_kept_are_not_counted_twice_when_the_clock_comes_back() {
    let (mut lab, key) = counted(Unit::Day);
    for _ in 0..3 {
        set_ahead(&mut lab, 70 * YEAR_US);
        set_ahead(&mut lab, 60 * YEAR_US);
        set_ahead(&mut lab, 0);
        lab.run_ms(500);
        assert_eq!(lab.totals(&key), [50, 50]);
    }
    lab.hit(1, &key, 3);
    lab.run_ms(100);
    assert_eq!(lab.totals(&key), [53, 53]);
}

#[test]
fn hits_of_every_time_a_clock_was_set_are_there_when_it_comes_back() {
    let (mut lab, key) = counted(Unit::Day);
    for round in 1..=5 {
        for years in [70, 60, 0] {
            set_ahead(&mut lab, years * YEAR_US);
            lab.hit(1, &key, 2);
            lab.run_ms(100);
        }
        let total = 50 + 2 * round;
        assert_eq!(lab.totals(&key), [total, total]);
    }
    // The others windows have theirs.
    set_ahead(&mut lab, 70 * YEAR_US);
    let window = key
        .period
        .window_at((lab.now.unix_us + 70 * YEAR_US) / 1_000_000);
    assert_eq!(lab.node(1).counters.total(&key, window.number()), 10);
}
