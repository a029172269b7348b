//! The list of counters for programs. Names stay as they are; what is not known is `null`.

use std::path::Path;

use crate::region::{Label, RegionView};
use serde::Serialize;

use super::limits::{Limit, Limits};
use super::{Listing, Row};

/// A listing as JSON, for `hivectl ls --json` and `/counters` of the daemon.
#[derive(Debug, Serialize)]
pub struct ListingJson<'a> {
    path: String,
    region_id: String,
    now_unix_s: u64,
    rules_generation: u64,
    rules_error: Option<String>,
    live_counters: usize,
    counters: Vec<CounterJson<'a>>,
}

#[derive(Debug, Serialize)]
struct CounterJson<'a> {
    domain: Option<&'a str>,
    entries: Option<Vec<EntryJson<'a>>>,
    label_truncated: bool,
    fingerprint: String,
    unit: &'static str,
    unit_multiplier: u32,
    window_start_unix_s: u64,
    local: u64,
    remote: i64,
    limit: Option<u64>,
    percent: Option<f64>,
    reset_s: u32,
    last_use_unix_s: u32,
    rule: Option<RuleJson<'a>>,
}

#[derive(Debug, Serialize)]
struct EntryJson<'a> {
    key: &'a str,
    value: &'a str,
}

/// The rule a limit comes from.
#[derive(Debug, Serialize)]
struct RuleJson<'a> {
    path: String,
    name: Option<&'a str>,
    shadow_mode: bool,
    file: &'a str,
    line: u32,
}

impl<'a> ListingJson<'a> {
    /// A listing of this region, which is at this path.
    pub fn of(listing: &'a Listing, region: &RegionView, path: &Path) -> Self {
        Self {
            path: path.to_string_lossy().into_owned(),
            region_id: format!("{:016x}", region.region_id()),
            now_unix_s: listing.now_s,
            rules_generation: listing.rules_generation,
            rules_error: listing.rules_error.as_ref().map(ToString::to_string),
            live_counters: listing.live_counters,
            counters: listing
                .rows
                .iter()
                .map(|row| CounterJson::of(row, listing))
                .collect(),
        }
    }
}

impl<'a> CounterJson<'a> {
    fn of(row: &'a Row, listing: &'a Listing) -> Self {
        let counter = &row.counter;
        let label = counter.label.as_ref();
        Self {
            domain: label.map(|label| &*label.domain),
            entries: label.map(entries),
            label_truncated: label.is_some_and(|label| label.truncated),
            fingerprint: counter.fingerprint.to_string(),
            unit: counter.period.unit().name(),
            unit_multiplier: counter.period.multiplier(),
            window_start_unix_s: counter.window.start_s(),
            local: counter.local,
            remote: counter.remote,
            limit: row.limit.map(|limit| limit.hits_per_window),
            percent: row.percent(),
            reset_s: counter.window.seconds_left(listing.now_s),
            last_use_unix_s: counter.last_use_s,
            rule: row
                .limit
                .and_then(|limit| RuleJson::of(&listing.limits, limit)),
        }
    }
}

fn entries(label: &Label) -> Vec<EntryJson<'_>> {
    label
        .entries
        .iter()
        .map(|(key, value)| EntryJson { key, value })
        .collect()
}

impl<'a> RuleJson<'a> {
    fn of(limits: &'a Limits, limit: Limit) -> Option<Self> {
        let rule = limits.rule(limit)?;
        Some(Self {
            path: limits.rules().path(limit.rule).to_string(),
            name: Some(&*rule.name).filter(|name| !name.is_empty()),
            shadow_mode: rule.shadow_mode,
            file: &rule.origin.file,
            line: rule.origin.line,
        })
    }
}
