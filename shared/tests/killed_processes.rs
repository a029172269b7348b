//! Several processes count in one region and are killed with SIGKILL at random moments, again and
//! again. Afterwards every count is right up to the one hit each killed process had in flight, no key
//! has two slots, and the region goes on working.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hivemind_shared::clock::{Clock, CoarseClock};
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry, LimitOverride};
use hivemind_shared::region::{OwnedRegion, Region, RegionOptions};
use hivemind_shared::window::Unit;
use support::{Place, rules};

const ROUNDS: usize = 60;
const WORKERS: usize = 4;
/// Keys counted in windows of a year: their counts must add up in the end.
const KEPT_KEYS: u64 = 6;
const REGION_VARIABLE: &str = "HIVEMIND_TEST_WORKER_REGION";
const JOURNAL_VARIABLE: &str = "HIVEMIND_TEST_WORKER_JOURNAL";

/// What is over its limit is kept longest.
const RULES: &str = "
domain: edge
descriptors:
  - key: kept
    rate_limit: {unit: year, requests_per_unit: 1}
";

/// The body of a worker process; run by the test below, and nothing on its own.
#[test]
#[ignore = "the body of a process that the other test starts and kills"]
fn worker_process() {
    let path = PathBuf::from(std::env::var_os(REGION_VARIABLE).expect("started by the other test"));
    let journal = std::env::var_os(JOURNAL_VARIABLE).expect("started by the other test");
    let limiter = Limiter::new(Region::attach(&path).unwrap().into(), CoarseClock);
    let mut journal = OpenOptions::new()
        .append(true)
        .create(true)
        .open(journal)
        .unwrap();
    let mut decision = Decision::new();
    let mut state = u64::from(std::process::id()) | 1;
    // Bounded, should nobody kill it.
    for _ in 0..50_000_000_u64 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Passing keys live for a second; there are more of them than slots, so that slots are taken
        // over from expired keys, and keys are evicted, all the time.
        let passing = state % 400;
        let limit = LimitOverride {
            requests_per_unit: u32::MAX,
            period: Unit::Second.into(),
        };
        count(&limiter, &mut decision, "passing", passing, Some(limit));
        let kept = (state >> 20) % KEPT_KEYS;
        if count(&limiter, &mut decision, "kept", kept, None) {
            // What is in the journal was counted; what was counted is in the journal but for the hit
            // that the kill came right after.
            journal.write_all(&[u8::try_from(kept).unwrap()]).unwrap();
        }
    }
}

fn count(
    limiter: &Limiter<CoarseClock>,
    decision: &mut Decision,
    key: &str,
    value: u64,
    limit: Option<LimitOverride>,
) -> bool {
    let value = value.to_string();
    let entries = [Entry::new(key, &value)];
    let descriptor = Descriptor {
        limit,
        ..Descriptor::new(&entries)
    };
    limiter.decide(b"edge", &[descriptor], 1, decision).is_ok()
}

fn start_worker(region: &Path, journal: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker_process", "--ignored", "--nocapture"])
        .env(REGION_VARIABLE, region)
        .env(JOURNAL_VARIABLE, journal)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until a worker has counted something since it was started.
fn wait_until_counting(journal: &Path, before: u64) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while fs::metadata(journal).map_or(0, |metadata| metadata.len()) <= before {
        assert!(
            std::time::Instant::now() < deadline,
            "a worker did not begin to count"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn processes_killed_at_any_moment_leave_right_counts_and_a_working_region() {
    let place = Place::new();
    let options = RegionOptions {
        max_keys: 200,
        rules_bytes: 4_096,
        ..RegionOptions::default()
    };
    let (mut owned, _) = OwnedRegion::open(&place.region(), &options).unwrap();
    owned.publish_rules(&rules(RULES)).unwrap();
    let journals: Vec<PathBuf> = (0..WORKERS)
        .map(|worker| place.path(&format!("journal-{worker}")))
        .collect();
    let mut state = 0xC0FF_EE00_u64;
    let mut kills = 0_u64;
    for _ in 0..ROUNDS {
        let mut workers: Vec<(Child, u64)> = journals
            .iter()
            .map(|journal| {
                let before = fs::metadata(journal).map_or(0, |metadata| metadata.len());
                (start_worker(&place.region(), journal), before)
            })
            .collect();
        for ((_, before), journal) in workers.iter().zip(&journals) {
            wait_until_counting(journal, *before);
        }
        for (worker, _) in &mut workers {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // A random moment, not a wait for anything.
            std::thread::sleep(Duration::from_micros((state >> 33) % 4_000));
            worker.kill().unwrap();
            let status = worker.wait().unwrap();
            assert!(
                status.code().is_none(),
                "a worker ended by itself: {status}"
            );
            kills += 1;
        }
    }
    verify_counts(&owned, &journals, kills);
    verify_structure(&owned);
    verify_still_works(&owned);
}

fn verify_counts(owned: &OwnedRegion, journals: &[PathBuf], kills: u64) {
    let mut reported: HashMap<String, u64> = HashMap::new();
    for journal in journals {
        for key in fs::read(journal).unwrap() {
            *reported.entry(key.to_string()).or_default() += 1;
        }
    }
    let mut in_flight = 0;
    let mut found = 0;
    for counter in owned.region().counters(CoarseClock.now_s()) {
        let Some(label) = counter
            .label
            .filter(|_| counter.period == Unit::Year.into())
        else {
            continue;
        };
        let reported = reported[&label.entries[0].1];
        assert!(
            counter.local >= reported,
            "{} of {reported} hits are left",
            counter.local
        );
        in_flight += counter.local - reported;
        found += 1;
    }
    assert_eq!(
        found, KEPT_KEYS,
        "every kept key has its slot and its label"
    );
    assert!(
        in_flight <= kills,
        "{in_flight} hits too many after {kills} kills"
    );
}

fn verify_structure(owned: &OwnedRegion) {
    let mut keys = HashSet::new();
    for counter in owned.region().counters(CoarseClock.now_s()) {
        assert!(
            keys.insert((counter.fingerprint, counter.period)),
            "two slots for {}",
            counter.fingerprint
        );
    }
}

/// Nothing leaked: once everything passing has expired, as many keys find room as in a new region.
fn verify_still_works(owned: &OwnedRegion) {
    let clock = hivemind_shared::clock::ManualClock::at(CoarseClock.now_s() + 10);
    let limiter = Limiter::new(owned.region().clone(), clock.clone());
    let mut decision = Decision::new();
    for value in 0..100_u64 {
        let value = value.to_string();
        let entries = [Entry::new("afterwards", &value)];
        let limit = Some(LimitOverride {
            requests_per_unit: 10,
            period: Unit::Minute.into(),
        });
        let descriptor = Descriptor {
            limit,
            ..Descriptor::new(&entries)
        };
        limiter
            .decide(b"edge", &[descriptor], 1, &mut decision)
            .unwrap();
        assert_eq!(decision.statuses[0].remaining, 9);
    }
}
