//! Regions as files: created, resumed, replaced, attached to, and everything that can be wrong with
//! them. A module or tool that opens one treats it as hostile.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Code, DecideError, Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{
    AttachError, LoadRulesError, Opened, OwnError, OwnedRegion, Region, RegionLock, RegionOptions,
    RegionView,
};
use support::{Place, ask, rules, small};

const RULES: &str = "
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 3}
";

fn own(place: &Place) -> OwnedRegion {
    let (mut owned, _) = OwnedRegion::open(&place.region(), &small()).unwrap();
    owned.publish_rules(&rules(RULES)).unwrap();
    owned
}

fn limiter(place: &Place) -> Limiter<ManualClock> {
    let region = Region::attach(&place.region()).unwrap();
    Limiter::new(region.into(), ManualClock::at(1_800_000_000))
}

#[test]
fn a_created_region_is_attached_to_and_counted_in_by_everybody() {
    let place = Place::new();
    let _owned = own(&place);
    let (one, two) = (limiter(&place), limiter(&place));
    for expected in [
        (2, Code::Ok),
        (1, Code::Ok),
        (0, Code::Ok),
        (0, Code::OverLimit),
    ] {
        let limiter = if expected.0 % 2 == 0 { &one } else { &two };
        let decision = ask(limiter, "edge", "user", "ann");
        assert_eq!((decision.statuses[0].remaining, decision.overall), expected);
    }
    let view = RegionView::open(&place.region()).unwrap();
    let counters: Vec<_> = view.counters(1_800_000_000).collect();
    assert_eq!(counters.len(), 1);
    assert_eq!(counters[0].local, 4);
    let label = counters[0].label.as_ref().unwrap();
    assert_eq!(label.domain, "edge");
    assert_eq!(label.entries, [("user".to_owned(), "ann".to_owned())]);
    assert_eq!(
        view.rule_stats(counters[0].rule_stats_index.unwrap())
            .total_hits,
        4
    );
}

#[test]
fn the_file_has_the_configured_mode_whatever_the_umask() {
    let place = Place::new();
    let options = RegionOptions {
        mode: 0o666,
        ..small()
    };
    let (_owned, opened) = OwnedRegion::open(&place.region(), &options).unwrap();
    assert_eq!(opened, Opened::Created);
    let mode = fs::metadata(place.region()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
}

#[test]
fn a_second_owner_is_told_who_the_first_one_is() {
    let place = Place::new();
    let _owned = own(&place);
    let error = OwnedRegion::open(&place.region(), &small()).unwrap_err();
    assert!(
        matches!(error, OwnError::Owned { pid: Some(pid), .. } if pid == u64::from(std::process::id())),
        "{error}"
    );
}

#[test]
fn a_restarted_owner_goes_on_with_the_counters_and_the_actor_id() {
    let place = Place::new();
    let owned = own(&place);
    let id = owned.region().region_id();
    let attached = limiter(&place);
    ask(&attached, "edge", "user", "ann");
    drop(owned);
    // Limiting goes on while nobody owns the region.
    ask(&attached, "edge", "user", "ann");
    let (owned, opened) = OwnedRegion::open(&place.region(), &small()).unwrap();
    assert_eq!(opened, Opened::Resumed);
    assert_eq!(owned.region().region_id(), id);
    assert_eq!(
        ask(&attached, "edge", "user", "ann").statuses[0].remaining,
        0
    );
    assert!(attached.region().is_current(&place.region()));
}

#[test]
fn a_right_that_is_shared_is_never_free_while_it_changes_hands() {
    let place = Place::new();
    let mut first = own(&place);
    let id = first.region().region_id();
    let admin = Some(([127, 0, 0, 1], 9000).into());
    first.set_admin_address(admin);
    let shared = first.share_lock().unwrap().unwrap();
    first.let_go();
    assert!(
        first.share_lock().unwrap().is_none(),
        "left is left for good"
    );
    let taken = RegionLock::take(&place.region(), 0o600);
    assert!(matches!(taken, Err(OwnError::Owned { .. })), "{taken:?}");

    let lock = RegionLock::of_shared(shared, &place.region())
        .unwrap()
        .unwrap();
    let (second, opened) = OwnedRegion::open_locked(lock, &small()).unwrap();
    assert_eq!(opened, Opened::Resumed);
    assert_eq!(second.region().region_id(), id);
    let found = || RegionView::open(&place.region()).unwrap().admin_address();
    assert_eq!(found(), admin, "it answers until it has handed over");
    drop(second);
    let lock = RegionLock::take(&place.region(), 0o600).unwrap();
    let there = first.region().load_rules().unwrap().1;
    assert_eq!(lock.rules().unwrap().rules().len(), there.rules().len());
    let _ = OwnedRegion::open_locked(lock, &small()).unwrap();
    assert_eq!(found(), None, "by now nobody does");
    // The one that has left counts on all the same.
    assert!(first.region().is_current(&place.region()));
}

#[test]
fn a_handle_without_the_right_or_of_another_file_is_none() {
    let place = Place::new();
    let owned = own(&place);
    let plain = fs::File::open(place.region()).unwrap();
    let refused = RegionLock::of_shared(plain.into(), &place.region());
    assert!(
        matches!(refused, Err(OwnError::Owned { .. })),
        "{refused:?}"
    );

    let shared = owned.share_lock().unwrap().unwrap();
    fs::remove_file(place.region()).unwrap();
    let other = RegionLock::of_shared(shared, &place.region()).unwrap();
    assert!(other.is_none(), "{other:?}");
}

#[test]
fn other_sizes_make_a_new_region_and_tell_those_on_the_old_one() {
    let place = Place::new();
    let owned = own(&place);
    let attached = limiter(&place);
    drop(owned);
    let options = RegionOptions {
        max_keys: 200,
        ..small()
    };
    let (owned, opened) = OwnedRegion::open(&place.region(), &options).unwrap();
    assert!(matches!(opened, Opened::Replaced { .. }), "{opened:?}");
    assert_ne!(owned.region().region_id(), attached.region().region_id());
    assert!(!attached.region().is_current(&place.region()));
    assert!(owned.region().is_current(&place.region()));
}

#[test]
fn a_removed_file_is_noticed_and_counting_in_it_goes_on_harmlessly() {
    let place = Place::new();
    let _owned = own(&place);
    let attached = limiter(&place);
    fs::remove_file(place.region()).unwrap();
    assert!(!attached.region().is_current(&place.region()));
    ask(&attached, "edge", "user", "ann");
    assert!(matches!(
        Region::attach(&place.region()),
        Err(AttachError::Missing { .. })
    ));
}

#[test]
fn an_unfinished_region_is_named_and_its_owner_finishes_it() {
    for bytes in [Vec::new(), vec![0; 10_000]] {
        let place = Place::new();
        fs::write(place.region(), &bytes).unwrap();
        assert_eq!(
            Region::attach(&place.region()).unwrap_err().cause(),
            "region_not_ready"
        );
        let _owned = own(&place);
        assert!(Region::attach(&place.region()).is_ok());
    }
}

#[test]
fn a_file_that_is_no_region_is_named_and_left_alone() {
    let cases: [(&str, Vec<u8>); 3] = [
        ("region_foreign", vec![0xA5; 10_000]),
        ("region_truncated", vec![0xA5; 100]),
        ("region_foreign", b"domain: edge\n".repeat(1_000)),
    ];
    for (cause, bytes) in cases {
        let place = Place::new();
        fs::write(place.region(), &bytes).unwrap();
        assert_eq!(Region::attach(&place.region()).unwrap_err().cause(), cause);
        assert_eq!(
            RegionView::open(&place.region()).unwrap_err().cause(),
            cause
        );
        let refused = OwnedRegion::open(&place.region(), &small()).unwrap_err();
        assert!(matches!(refused, OwnError::Foreign { .. }), "{refused}");
        assert_eq!(
            fs::read(place.region()).unwrap(),
            bytes,
            "the file was touched"
        );
    }
}

#[test]
fn what_is_not_even_a_file_is_refused_at_once() {
    let place = Place::new();
    fs::create_dir(place.region()).unwrap();
    assert_eq!(
        RegionView::open(&place.region()).unwrap_err().cause(),
        "region_not_a_file"
    );
    let fifo = place.path("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(
        RegionView::open(&fifo).unwrap_err().cause(),
        "region_not_a_file"
    );
    assert_eq!(
        Region::attach(&fifo).unwrap_err().cause(),
        "region_not_a_file"
    );
}

#[test]
fn statistics_follow_their_rules_over_a_change_and_new_rules_begin_at_zero() {
    let place = Place::new();
    let mut owned = own(&place);
    ask(&limiter(&place), "edge", "user", "ann");
    let with_another = format!(
        "domain: edge
descriptors:
  - key: other
    rate_limit: {{unit: hour, requests_per_unit: 9}}
{}",
        RULES.split_once("descriptors:\n").unwrap().1
    );
    owned.publish_rules(&rules(&with_another)).unwrap();
    let total_of = |owned: &OwnedRegion, path: &str| {
        let (_, rules) = owned.region().load_rules().unwrap();
        let (_, rule) = rules
            .rules()
            .find(|(id, _)| rules.path(*id).to_string() == path)
            .unwrap();
        owned.region().rule_stats(rule.stats_index).total_hits
    };
    assert_eq!(total_of(&owned, "edge.user"), 1);
    assert_eq!(total_of(&owned, "edge.other"), 0);
    // A rule that takes the place of one that is gone does not inherit its counts.
    owned
        .publish_rules(&rules(&RULES.replace("user", "third")))
        .unwrap();
    assert_eq!(total_of(&owned, "edge.third"), 0);
}

/// Overwrites a word of the file.
fn poke(place: &Place, offset: u64, value: u64) {
    let file = OpenOptions::new().write(true).open(place.region()).unwrap();
    file.write_all_at(&value.to_le_bytes(), offset).unwrap();
}

#[test]
fn every_run_has_a_larger_number_than_the_one_before_also_when_the_clock_was_set_back() {
    let place = Place::new();
    assert_eq!(own(&place).next_incarnation(1_000), 1_000);
    assert_eq!(own(&place).next_incarnation(5), 1_001);
    let owned = own(&place);
    assert_eq!(owned.next_incarnation(3_000), 3_000);
    assert_eq!(owned.region().incarnation(), 3_000);
    drop(owned);
    // But for one that a wrong clock has left behind.
    assert_eq!(own(&place).next_incarnation(3_000 + 86_400_000), 86_403_000);
    assert_eq!(own(&place).next_incarnation(3_000), 3_000);
    for left_behind in [86_403_001, u64::MAX] {
        poke(&place, 280, left_behind);
        assert_eq!(own(&place).next_incarnation(3_000), 3_000);
    }
}

#[test]
fn the_admin_port_is_found_through_the_region_until_it_closes() {
    let place = Place::new();
    let owned = own(&place);
    let view = RegionView::open(&place.region()).unwrap();
    assert_eq!(view.admin_address(), None);
    for address in [
        "192.0.2.7:6070",
        "[2001:db8::7]:1",
        "[::ffff:192.0.2.7]:65535",
    ] {
        let address = address.parse().unwrap();
        owned.set_admin_address(Some(address));
        assert_eq!(view.admin_address(), Some(address));
    }
    drop(owned);
    own(&place);
    assert_eq!(
        view.admin_address(),
        None,
        "the next run has not bound one yet"
    );
    for hostile in [u64::MAX, 7 << 16 | 80, 80, 4 << 16 | 80] {
        poke(&place, 288, hostile);
        poke(&place, 296, u64::MAX);
        assert_eq!(view.admin_address(), None, "{hostile:x}");
    }
}

#[test]
fn a_region_of_another_version_says_both_versions() {
    let place = Place::new();
    drop(own(&place));
    poke(&place, 8, 77);
    let error = Region::attach(&place.region()).unwrap_err();
    assert!(matches!(
        error,
        AttachError::OtherVersion {
            found: 77,
            expected: 3
        }
    ));
    assert!(error.to_string().contains("77") && error.to_string().contains('3'));
    // Its owner makes a new one.
    let (_owned, opened) = OwnedRegion::open(&place.region(), &small()).unwrap();
    assert!(matches!(opened, Opened::Replaced { .. }), "{opened:?}");
    assert!(Region::attach(&place.region()).is_ok());
}

#[test]
fn a_region_cut_short_says_so() {
    let place = Place::new();
    drop(own(&place));
    let file = OpenOptions::new().write(true).open(place.region()).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4_096)
        .unwrap();
    assert_eq!(
        Region::attach(&place.region()).unwrap_err().cause(),
        "region_truncated"
    );
}

#[test]
fn every_damaged_header_word_is_noticed() {
    // The words that say where things are; the rest of the header is numbers for people, the hash
    // key, and the generation, which the rules' own check sums guard.
    let place = Place::new();
    drop(own(&place));
    let original = fs::read(place.region()).unwrap();
    for offset in [
        0, 8, 16, 24, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152, 160,
    ] {
        for value in [5, 4_097, u64::MAX] {
            fs::write(place.region(), &original).unwrap();
            poke(&place, offset, value);
            assert!(
                Region::attach(&place.region()).is_err(),
                "word at {offset} set to {value}"
            );
        }
    }
}

#[test]
fn random_damage_anywhere_ends_in_an_error_or_in_wrong_counts_but_never_worse() {
    let place = Place::new();
    let owned = own(&place);
    ask(&limiter(&place), "edge", "user", "ann");
    drop(owned);
    let original = fs::read(place.region()).unwrap();
    let mut state = 0x5EED_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..300 {
        let mut bytes = original.clone();
        for _ in 0..=random(20) {
            let at = if random(2) == 0 {
                random(4_096)
            } else {
                random(bytes.len())
            };
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        if random(4) == 0 {
            bytes.truncate(random(bytes.len()));
        }
        fs::write(place.region(), &bytes).unwrap();
        if let Ok(view) = RegionView::open(&place.region()) {
            let _ = view.load_rules();
            let _ = view.counters(1_800_000_000).count();
            let _ = view.fill(1_800_000_000);
        }
        if let Ok(region) = Region::attach(&place.region()) {
            let limiter = Limiter::new(region.into(), ManualClock::at(1_800_000_000));
            let entries = [Entry::new("user", "ann")];
            let mut decision = Decision::new();
            for _ in 0..3 {
                let _ = limiter.decide(b"edge", &[Descriptor::new(&entries)], 1, &mut decision);
            }
        }
    }
}

#[test]
fn a_copied_region_reads_like_the_live_one() {
    let place = Place::new();
    let _owned = own(&place);
    ask(&limiter(&place), "edge", "user", "ann");
    fs::copy(place.region(), place.path("copy")).unwrap();
    let live: Vec<_> = RegionView::open(&place.region())
        .unwrap()
        .counters(1_800_000_000)
        .collect();
    let copy: Vec<_> = RegionView::open(&place.path("copy"))
        .unwrap()
        .counters(1_800_000_000)
        .collect();
    assert_eq!(live, copy);
}

#[test]
fn new_rules_are_in_force_on_the_next_request_and_keep_the_count() {
    let place = Place::new();
    let mut owned = own(&place);
    let limiter = limiter(&place);
    let mut decision = Decision::new();
    let entries = [Entry::new("user", "ann")];
    let descriptors = [Descriptor::new(&entries)];
    limiter
        .decide(b"edge", &descriptors, 1, &mut decision)
        .unwrap();
    assert_eq!(decision.statuses[0].remaining, 2);
    owned
        .publish_rules(&rules(&RULES.replace("3}", "10}")))
        .unwrap();
    limiter
        .decide(b"edge", &descriptors, 1, &mut decision)
        .unwrap();
    assert_eq!(decision.statuses[0].remaining, 8);
    assert_eq!(decision.rules_generation(), Some(2));
}

#[test]
fn without_published_rules_there_is_no_decision() {
    let place = Place::new();
    let (_owned, _) = OwnedRegion::open(&place.region(), &small()).unwrap();
    let mut decision = Decision::new();
    let error = limiter(&place)
        .decide(b"edge", &[], 1, &mut decision)
        .unwrap_err();
    assert_eq!(error, DecideError::NoRules(LoadRulesError::NonePublished));
}

#[test]
fn rules_that_became_unreadable_leave_the_ones_at_hand_in_force() {
    let place = Place::new();
    let owned = own(&place);
    let limiter = limiter(&place);
    let mut decision = Decision::new();
    let entries = [Entry::new("user", "ann")];
    let descriptors = [Descriptor::new(&entries)];
    limiter
        .decide(b"edge", &descriptors, 1, &mut decision)
        .unwrap();
    // A generation whose buffer was never written.
    poke(&place, 320, 2);
    limiter
        .decide(b"edge", &descriptors, 1, &mut decision)
        .unwrap();
    assert_eq!(decision.statuses[0].remaining, 1);
    assert_eq!(decision.rules_generation(), Some(1));
    drop(owned);
}

#[test]
fn impossible_sizes_and_missing_room_are_explained() {
    let place = Place::new();
    let options = RegionOptions {
        max_keys: 0,
        ..small()
    };
    assert!(matches!(
        OwnedRegion::open(&place.region(), &options),
        Err(OwnError::Shape { .. })
    ));
    assert!(
        !place.region().exists(),
        "nothing is created for an impossible size"
    );
    let missing = place.path("no/such/folder");
    assert!(matches!(
        OwnedRegion::open(&missing, &small()),
        Err(OwnError::Io { .. })
    ));
}
