//! What both benchmarks measure: regions in a known state and requests on them.
#![allow(dead_code, reason = "each benchmark uses its own part")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has no result"
)]

use std::sync::Arc;

use hivemind_shared::clock::CoarseClock;
use hivemind_shared::decision::{DecideError, Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{OwnedRegion, Region, RegionOptions};
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::yaml::Source;

/// The rules every scenario is decided by: one descriptor of one entry, as most users have.
const RULES: &str = "
domain: edge
descriptors:
  - key: remote_address
    rate_limit: {unit: hour, requests_per_unit: 1000000}
  - key: full
    rate_limit: {unit: year, requests_per_unit: 1}
";

/// A region with `live` keys in it, each counted once.
pub(crate) fn region(max_keys: u32, live: u32) -> OwnedRegion {
    let options = RegionOptions {
        max_keys,
        ..RegionOptions::default()
    };
    let mut owned = Region::anonymous(&options).expect("memory for the region");
    let files = [Source::new("rules.yaml", RULES)];
    let rules = parse(&files, &Options::default())
        .expect("valid rules")
        .rules;
    owned.publish_rules(&rules).expect("room for the rules");
    let mut asker = Asker::new(&owned);
    for key in 0..live {
        // Less than one in a thousand finds no room in a region as full as it may get.
        let _ = asker.ask(&address(key));
    }
    owned
}

/// What grows in a set of rules, of which one is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Growth {
    /// Values of one key, each with a limit.
    Values,
    /// Keys of one level, each with a limit.
    Keys,
    /// Descriptors on the second of two levels, below a hundredth as many on the first.
    Nested,
    /// Patterns of one key that each begin with other letters; the last one matches.
    Prefixes,
    /// Patterns of one key that each end in other letters; the last one matches.
    Suffixes,
}

/// A region with so many rules, and the entries of a request that the last one is for.
pub(crate) fn region_of_rules(growth: Growth, rules: u32) -> (OwnedRegion, Vec<(String, String)>) {
    const LIMIT: &str = "rate_limit: {unit: hour, requests_per_unit: 1000000}";
    let mut text = "domain: edge\ndescriptors:\n".to_owned();
    let last = rules - 1;
    let pair = |key: &str, value: String| (key.to_owned(), value);
    let asked = match growth {
        Growth::Values => vec![pair("tenant", format!("tenant-{last}"))],
        Growth::Keys => vec![(format!("key-{last}"), "x".to_owned())],
        Growth::Nested => vec![
            pair("route", format!("/route/{}", last / 100)),
            pair("tenant", format!("tenant-{last}")),
        ],
        Growth::Prefixes => vec![pair("path", format!("/service-{last}/item"))],
        Growth::Suffixes => vec![pair("host", format!("www.site-{last}.example"))],
    };
    for number in 0..rules {
        let line = match growth {
            Growth::Values => format!("  - {{key: tenant, value: tenant-{number}, {LIMIT}}}\n"),
            Growth::Keys => format!("  - {{key: key-{number}, {LIMIT}}}\n"),
            Growth::Nested => {
                let outer = if number % 100 == 0 {
                    let route = number / 100;
                    format!("  - key: route\n    value: /route/{route}\n    descriptors:\n")
                } else {
                    String::new()
                };
                format!("{outer}      - {{key: tenant, value: tenant-{number}, {LIMIT}}}\n")
            }
            Growth::Prefixes => {
                format!("  - {{key: path, value: '/service-{number}/*', {LIMIT}}}\n")
            }
            Growth::Suffixes => {
                format!("  - {{key: host, value: '*.site-{number}.example', {LIMIT}}}\n")
            }
        };
        text.push_str(&line);
    }
    let options = RegionOptions {
        max_keys: 1_000,
        rules_bytes: 1 << 26,
        ..RegionOptions::default()
    };
    let mut owned = Region::anonymous(&options).expect("memory for the region");
    let files = [Source::new("rules.yaml", text)];
    let rules = parse(&files, &Options::default())
        .expect("valid rules")
        .rules;
    owned.publish_rules(&rules).expect("room for the rules");
    (owned, asked)
}

/// A region in which every slot holds a live key.
pub(crate) fn full_region() -> OwnedRegion {
    let owned = region(64, 0);
    let limiter = Limiter::new(Arc::clone(owned.region()), CoarseClock);
    let mut decision = Decision::new();
    for key in 0..10_000 {
        let value = address(key);
        let entries = [Entry::new("full", &value)];
        // Most of these evict another one; that is the point.
        let _ = limiter.decide(b"edge", &[Descriptor::new(&entries)], 1, &mut decision);
    }
    owned
}

/// Values that a full region has not seen lately: it has evicted each long before it comes again.
pub(crate) fn new_values() -> Vec<String> {
    (0..20_000).map(|key| address(1_000_000 + key)).collect()
}

/// The n-th address, written as a header would carry it.
pub(crate) fn address(key: u32) -> String {
    let [a, b, c, d] = key.to_be_bytes();
    format!("{}.{b}.{c}.{d}", a.wrapping_add(10))
}

/// One thread's limiter and memory.
pub(crate) struct Asker {
    limiter: Limiter<CoarseClock>,
    decision: Decision,
}

impl Asker {
    pub(crate) fn new(owned: &OwnedRegion) -> Self {
        Self {
            limiter: Limiter::new(Arc::clone(owned.region()), CoarseClock),
            decision: Decision::new(),
        }
    }

    /// One descriptor of one entry.
    #[inline]
    pub(crate) fn ask(&mut self, value: &str) -> Result<(), DecideError> {
        self.ask_key("remote_address", value)
    }

    /// One descriptor with this key.
    #[inline]
    pub(crate) fn ask_key(&mut self, key: &str, value: &str) -> Result<(), DecideError> {
        let entries = [Entry::new(key, value)];
        self.limiter
            .decide(b"edge", &[Descriptor::new(&entries)], 1, &mut self.decision)
    }

    /// One descriptor of these entries.
    #[inline]
    pub(crate) fn ask_entries(&mut self, entries: &[Entry<'_>]) -> Result<(), DecideError> {
        self.limiter
            .decide(b"edge", &[Descriptor::new(entries)], 1, &mut self.decision)
    }

    /// Whether the last request was held against a limit.
    pub(crate) fn found_a_limit(&self) -> bool {
        let mut statuses = self.decision.statuses.iter();
        statuses.any(|status| status.limit.is_some())
    }

    /// Four descriptors of one entry each.
    #[inline]
    pub(crate) fn ask_four(&mut self, values: &[String; 4]) -> Result<(), DecideError> {
        let entries = [0, 1, 2, 3].map(|at: usize| [Entry::new("remote_address", &values[at])]);
        let descriptors = [0, 1, 2, 3].map(|at: usize| Descriptor::new(&entries[at]));
        self.limiter
            .decide(b"edge", &descriptors, 1, &mut self.decision)
    }
}
