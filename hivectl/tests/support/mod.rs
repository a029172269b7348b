//! What the tests of hivectl share: a region to look into, and hivectl itself.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]
#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod admin;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use hivemind_shared::clock::{Clock, ManualClock};
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{OwnedRegion, RegionOptions};
use hivemind_shared::rules::assign_stats;
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;
use serde_json::Value;

/// When everything happens that has a time of its own: 2027-01-15, 08:00 UTC.
pub(crate) const NOW_S: u64 = 1_800_000_000;

/// [`NOW_S`] as an argument.
pub(crate) const AT_NOW: &str = "--at=1800000000";

/// Rules of two domains and several units.
pub(crate) const RULES: &str = "
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: day, requests_per_unit: 4, name: per_user}
  - key: user
    value: batch
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 100}
  - key: user
    value: banned
    rate_limit: {unit: day, requests_per_unit: 0}
  - key: route
    value: files/*
    share_threshold: true
    rate_limit: {unit: minute, requests_per_unit: 10}
";

/// Rules of another domain.
pub(crate) const MORE_RULES: &str = "
domain: inner
descriptors:
  - key: service
    descriptors:
      - key: peer
        rate_limit: {unit: year, requests_per_unit: 1000}
";

/// Brings rules into force, a file for each text.
pub(crate) fn publish(region: &mut OwnedRegion, files: &[&str]) {
    let sources: Vec<Source> = (0..)
        .zip(files)
        .map(|(number, text)| Source::new(format!("rules-{number}.yaml"), *text))
        .collect();
    let loaded = parse(&sources, &Options::default());
    let mut rules = loaded.expect("the test's rules are valid").rules;
    assign_stats(&mut rules, None, region.region().stats_capacity());
    region.publish_rules(&rules).expect("the test's rules fit");
}

/// A directory of the test's own.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn region(&self) -> PathBuf {
        self.path("hivemind.region")
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Makes a region with room for 1,000 keys.
    pub(crate) fn own(&self) -> OwnedRegion {
        let options = RegionOptions {
            max_keys: 1_000,
            rules_bytes: 8_192,
            ..RegionOptions::default()
        };
        let opened = OwnedRegion::open(&self.region(), &options);
        opened.expect("a region can be made").0
    }

    /// Makes a region with [`RULES`] and [`MORE_RULES`] in force.
    pub(crate) fn own_with_rules(&self) -> OwnedRegion {
        let mut region = self.own();
        publish(&mut region, &[RULES, MORE_RULES]);
        region
    }

    /// Runs hivectl on the region.
    pub(crate) fn hivectl(&self, arguments: &[&str]) -> Finished {
        Finished::of(hivectl().arg("--region").arg(self.region()).args(arguments))
    }
}

/// Counts hits at [`NOW_S`].
pub(crate) fn hit(region: &OwnedRegion, domain: &str, entries: &[(&str, &str)], hits: u32) {
    let limiter = Limiter::new(Arc::clone(region.region()), ManualClock::at(NOW_S));
    hit_by(&limiter, domain, entries, hits);
}

/// Counts hits by another clock.
pub(crate) fn hit_by(
    limiter: &Limiter<impl Clock>,
    domain: &str,
    entries: &[(&str, &str)],
    hits: u32,
) {
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| Entry::new(*key, *value))
        .collect();
    let descriptors = [Descriptor::new(&entries)];
    let decided = limiter.decide(domain.as_bytes(), &descriptors, hits, &mut Decision::new());
    decided.expect("the region has room");
}

/// hivectl, without what the environment of the tests may say.
pub(crate) fn hivectl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hivectl"));
    command.env_remove("HIVEMIND_REGION_PATH");
    command
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("hivectl can be run");
        let text = |bytes| String::from_utf8(bytes).expect("hivectl writes UTF-8");
        Self {
            status: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// What a run without complaints wrote.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.status, &*self.stderr), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// The same, as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("hivectl writes JSON")
    }
}

/// Runs `hivectl check` on these paths.
pub(crate) fn check(paths: &[impl AsRef<OsStr>]) -> Finished {
    Finished::of(hivectl().arg("check").args(paths))
}

/// Copies a region as an operator would.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a region can be copied");
}
