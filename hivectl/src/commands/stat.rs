//! `hivectl stat`: what a region is, whether it is looked after, and how full it is.

use std::io::Write;
use std::path::Path;

use hivemind_shared::listing::percent;
use hivemind_shared::region::{Evictions, Fill, LoadRulesError, RegionView};
use hivemind_shared::rules::RuleSet;
use hivemind_shared::yaml::printable;
use serde::Serialize;

use crate::failure::Failure;
use crate::moment::MomentOption;
use crate::output::{JsonOption, write_json};
use crate::owner::{Owner, Presence};
use crate::region::RegionPlace;
use crate::table::{Align, Table};
use crate::text;

/// Age of a heartbeat, which comes every second, from which on it is called stale.
const STALE_AFTER_MS: u64 = 5_000;

/// Rules whose evicted keys the table names; JSON has all of them.
const EVICTED_RULES_SHOWN: usize = 5;

/// Show what a region is, whether its meshd is alive, and how full it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    output: JsonOption,
    #[command(flatten)]
    at: MomentOption,
}

pub(crate) fn run(
    options: &Options,
    place: &RegionPlace,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let region = place.open()?;
    let facts = Facts::of(&region, options.at.moment.unix_ms(&region));
    if options.output.json {
        write_json(out, &facts.to_json(place.path()))
    } else {
        Ok(facts.to_table(place.path()).write(out)?)
    }
}

/// What there is to say about a region.
struct Facts {
    now_unix_ms: u64,
    region_id: u64,
    layout_version: u64,
    size_bytes: u64,
    created_unix_ms: u64,
    owner: Owner,
    /// 0: there was none yet.
    heartbeat_unix_ms: u64,
    fill: Fill,
    max_keys: u32,
    keys_claimed: u64,
    evictions: Evictions,
    table_full: u64,
    contended: u64,
    rules_generation: u64,
    rules: Result<RulesFacts, LoadRulesError>,
}

/// What there is to say about the published rules.
struct RulesFacts {
    rules: usize,
    domains: usize,
    evicted: Vec<Evicted>,
}

/// Keys of a rule that were evicted.
#[derive(Clone, Serialize)]
struct Evicted {
    rule: String,
    keys: u64,
}

/// The rules whose keys were evicted, those with the most first.
fn evicted_by_rule(region: &RegionView, rules: &RuleSet) -> Vec<Evicted> {
    let shared = region.stats_capacity().saturating_sub(1);
    let mut evicted: Vec<Evicted> = rules
        .rules()
        .map(|(id, rule)| Evicted {
            rule: if rule.stats_index == shared {
                "(others)".to_owned()
            } else {
                rules.path(id).to_string()
            },
            keys: region.rule_stats(rule.stats_index).evicted_keys,
        })
        .filter(|evicted| evicted.keys > 0)
        .collect();
    evicted.sort_by(|a, b| b.keys.cmp(&a.keys).then_with(|| a.rule.cmp(&b.rule)));
    // Rules of one path share their sums.
    evicted.dedup_by(|a, b| a.rule == b.rule);
    evicted
}

impl Facts {
    fn of(region: &RegionView, now_unix_ms: u64) -> Self {
        let mut rules_generation = region.rules_generation();
        let rules = region.load_rules().map(|(generation, rules)| {
            // The generation of these rules, if they changed just now.
            rules_generation = generation;
            RulesFacts {
                rules: rules.rules().len(),
                domains: rules.domains().len(),
                evicted: evicted_by_rule(region, &rules),
            }
        });
        Self {
            now_unix_ms,
            region_id: region.region_id(),
            layout_version: region.layout_version(),
            size_bytes: region.size_bytes(),
            created_unix_ms: region.created_unix_ms(),
            owner: Owner::look_for(region.owner_pid()),
            heartbeat_unix_ms: region.heartbeat_unix_ms(),
            fill: region.fill(now_unix_ms / 1_000),
            max_keys: region.max_keys(),
            keys_claimed: region.keys_claimed(),
            evictions: region.evictions(),
            table_full: region.table_full(),
            contended: region.contended(),
            rules_generation,
            rules,
        }
    }

    /// How long ago the last heartbeat was; `None` when there was none yet.
    fn heartbeat_age_ms(&self) -> Option<u64> {
        (self.heartbeat_unix_ms > 0)
            .then(|| self.now_unix_ms.saturating_sub(self.heartbeat_unix_ms))
    }

    fn is_heartbeat_stale(&self) -> bool {
        self.heartbeat_age_ms()
            .is_none_or(|age_ms| age_ms > STALE_AFTER_MS)
    }

    fn fill_percent(&self) -> Option<f64> {
        percent(self.fill.live, self.max_keys.into())
    }

    fn to_table(&self, path: &Path) -> Table<2> {
        let mut table = Table::without_titles([Align::Left, Align::Left]);
        let mut row = |name: &str, value: String| table.push([name.to_owned(), value]);
        row("region", path.display().to_string());
        row("region id", format!("{:016x}", self.region_id));
        row("layout version", self.layout_version.to_string());
        row("size", self.size_text());
        row("created", self.created_text());
        row("owner", self.owner_text());
        row("heartbeat", self.heartbeat_text());
        row("live keys", self.live_keys_text());
        row("expired keys", self.fill.expired.to_string());
        row("slots", self.fill.slots.to_string());
        row("keys claimed", self.keys_claimed.to_string());
        row("evicted keys", self.evictions.total().to_string());
        for evicted in self.evicted().iter().take(EVICTED_RULES_SHOWN) {
            row(
                "",
                format!("{} of {}", evicted.keys, printable(&evicted.rule)),
            );
        }
        for (keys, of) in [
            (self.evictions.of_requests, "limits of requests"),
            (self.evictions.of_peers, "peers"),
        ] {
            if keys > 0 {
                row("", format!("{keys} of {of}"));
            }
        }
        row("table full", self.table_full.to_string());
        row("contended", self.contended.to_string());
        row("rules generation", self.rules_generation.to_string());
        match &self.rules {
            Ok(facts) => {
                row("rules", facts.rules.to_string());
                row("domains", facts.domains.to_string());
            }
            Err(error) => row("rules", error.to_string()),
        }
        table
    }

    fn evicted(&self) -> &[Evicted] {
        self.rules.as_ref().map_or(&[], |facts| &facts.evicted)
    }

    fn size_text(&self) -> String {
        format!(
            "{} bytes ({})",
            self.size_bytes,
            text::bytes(self.size_bytes)
        )
    }

    fn created_text(&self) -> String {
        let age_ms = self.now_unix_ms.saturating_sub(self.created_unix_ms);
        let created = text::utc(self.created_unix_ms / 1_000);
        format!("{created} ({} ago)", text::duration(age_ms))
    }

    fn live_keys_text(&self) -> String {
        let percent = self.fill_percent().unwrap_or_default();
        format!("{} ({percent:.1} % of {})", self.fill.live, self.max_keys)
    }

    fn owner_text(&self) -> String {
        let pid = self.owner.pid;
        match &self.owner.presence {
            _ if pid == 0 => "none yet".to_owned(),
            Presence::Running(Some(name)) => {
                format!("process {pid} ({}), running", printable(name))
            }
            Presence::Running(None) => format!("process {pid}, running"),
            Presence::NotFound if self.is_heartbeat_stale() => {
                format!("process {pid}, not running")
            }
            Presence::NotFound => {
                format!(
                    "process {pid}, not found from here (just stopped, or in another container)"
                )
            }
            Presence::Unknown => format!("process {pid}"),
        }
    }

    fn heartbeat_text(&self) -> String {
        let Some(age_ms) = self.heartbeat_age_ms() else {
            return "stale (never): no meshd has served this region yet".to_owned();
        };
        let age = text::duration(age_ms);
        if self.is_heartbeat_stale() {
            format!("stale ({age} ago): meshd is stopped or hangs, or this is a copy")
        } else {
            format!("{age} ago")
        }
    }

    fn to_json<'a>(&'a self, path: &'a Path) -> Json<'a> {
        let owner_name = match &self.owner.presence {
            Presence::Running(name) => name.as_deref(),
            Presence::NotFound | Presence::Unknown => None,
        };
        Json {
            path: path.to_string_lossy().into_owned(),
            now_unix_ms: self.now_unix_ms,
            region_id: format!("{:016x}", self.region_id),
            layout_version: self.layout_version,
            size_bytes: self.size_bytes,
            created_unix_ms: self.created_unix_ms,
            owner_pid: (self.owner.pid > 0).then_some(self.owner.pid),
            owner_presence: self.owner.presence.word(),
            owner_name,
            heartbeat_unix_ms: (self.heartbeat_unix_ms > 0).then_some(self.heartbeat_unix_ms),
            heartbeat_age_ms: self.heartbeat_age_ms(),
            heartbeat_stale: self.is_heartbeat_stale(),
            live_keys: self.fill.live,
            expired_keys: self.fill.expired,
            max_keys: self.max_keys,
            slots: self.fill.slots,
            fill_percent: self.fill_percent(),
            keys_claimed: self.keys_claimed,
            evicted_keys: self.evictions.total(),
            evicted_keys_by_rule: self.evicted().to_vec(),
            evicted_keys_of_request_limits: self.evictions.of_requests,
            evicted_keys_of_peers: self.evictions.of_peers,
            table_full: self.table_full,
            contended: self.contended,
            rules_generation: self.rules_generation,
            rules: self.rules.as_ref().ok().map(|facts| facts.rules),
            domains: self.rules.as_ref().ok().map(|facts| facts.domains),
            rules_error: self.rules.as_ref().err().map(ToString::to_string),
        }
    }
}

/// The same for programs. Names stay as they are; what is not known is `null`.
#[derive(Serialize)]
struct Json<'a> {
    path: String,
    now_unix_ms: u64,
    region_id: String,
    layout_version: u64,
    size_bytes: u64,
    created_unix_ms: u64,
    owner_pid: Option<u64>,
    owner_presence: &'static str,
    owner_name: Option<&'a str>,
    heartbeat_unix_ms: Option<u64>,
    heartbeat_age_ms: Option<u64>,
    heartbeat_stale: bool,
    live_keys: u64,
    expired_keys: u64,
    max_keys: u32,
    slots: u64,
    fill_percent: Option<f64>,
    keys_claimed: u64,
    evicted_keys: u64,
    evicted_keys_by_rule: Vec<Evicted>,
    evicted_keys_of_request_limits: u64,
    evicted_keys_of_peers: u64,
    table_full: u64,
    contended: u64,
    rules_generation: u64,
    rules: Option<usize>,
    domains: Option<usize>,
    rules_error: Option<String>,
}
