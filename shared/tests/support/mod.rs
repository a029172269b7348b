//! What the tests of this crate share.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]
#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod asker;

use std::path::PathBuf;

use hivemind_shared::clock::Clock;
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::RegionOptions;
use hivemind_shared::rules::RuleSet;
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;

/// Compiles rules written as YAML.
pub(crate) fn rules(yaml: &str) -> RuleSet {
    let files = [Source::new("rules.yaml", yaml)];
    parse(&files, &Options::default())
        .expect("the test's rules are valid")
        .rules
}

/// A small region: 100 keys, 4 KiB of rules.
pub(crate) fn small() -> RegionOptions {
    RegionOptions {
        max_keys: 100,
        rules_bytes: 4_096,
        ..RegionOptions::default()
    }
}

/// A path in a directory of the test's own.
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
        self.path("region")
    }
}

/// Asks about one descriptor of one entry and returns the decision.
pub(crate) fn ask(limiter: &Limiter<impl Clock>, domain: &str, key: &str, value: &str) -> Decision {
    let mut decision = Decision::new();
    let entries = [Entry::new(key, value)];
    limiter
        .decide(
            domain.as_bytes(),
            &[Descriptor::new(&entries)],
            1,
            &mut decision,
        )
        .expect("the region has room");
    decision
}
