//! Attaching to, reading and counting in a file of any bytes.
//!
//! The first byte of the input chooses: raw bytes as the whole file, or patches of a valid region,
//! eight bytes each (offset in words, value), which get past the header.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{OwnedRegion, Region, RegionOptions, RegionView};
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;
use libfuzzer_sys::fuzz_target;

const NOW_S: u64 = 1_800_000_000;

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let options = RegionOptions { max_keys: 30, rules_bytes: 4_096, ..RegionOptions::default() };
    let (mut owned, _) = OwnedRegion::open(&path, &options).unwrap();
    let rules = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: hour, requests_per_unit: 3}}]";
    let rules = parse(&[Source::new("rules", rules)], &Options::default()).unwrap().rules;
    owned.publish_rules(&rules).unwrap();
    let region = owned.region().clone();
    ask(&Limiter::new(region, ManualClock::at(NOW_S)));
    fs::read(&path).unwrap()
});

fn ask(limiter: &Limiter<ManualClock>) {
    let mut decision = Decision::new();
    for value in ["a", "b", "a"] {
        let entries = [Entry::new("k", value)];
        let _ = limiter.decide(b"d", &[Descriptor::new(&entries)], 1, &mut decision);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    let bytes = if mode % 2 == 0 {
        rest.to_vec()
    } else {
        let mut bytes = VALID.clone();
        for patch in rest.chunks_exact(12) {
            let word = u32::from_le_bytes(patch[..4].try_into().unwrap()) as usize;
            let at = word % (bytes.len() / 8) * 8;
            bytes[at..at + 8].copy_from_slice(&patch[4..]);
        }
        bytes
    };
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    fs::write(file.path(), bytes).unwrap();
    if let Ok(view) = RegionView::open(file.path()) {
        let _ = view.load_rules();
        let _ = view.counters(NOW_S).count();
        let _ = view.fill(NOW_S);
    }
    if let Ok(region) = Region::attach(file.path()) {
        ask(&Limiter::new(region.into(), ManualClock::at(NOW_S)));
    }
});
