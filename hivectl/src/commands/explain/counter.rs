//! The counter a request is held against.

use hivemind_shared::decision::key;
use hivemind_shared::descriptor::Entry;
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::RegionView;
use hivemind_shared::rules::{RuleId, RuleLimit, RuleSet};
use hivemind_shared::table::Key;
use hivemind_shared::window::Period;

/// A region that is looked into.
pub(super) struct Live<'r> {
    pub(super) region: &'r RegionView,
    pub(super) now_ms: u64,
}

/// What identifies a counter, and what it says.
#[derive(Debug)]
pub(super) struct CounterState {
    /// Key and value of each entry, and whether the value is a pattern that stands for the request's.
    pub(super) entries: Vec<(String, String, bool)>,
    pub(super) period: Period,
    /// Hits that the limit allows: of a token bucket, its size.
    pub(super) limit: u32,
    /// In a region.
    pub(super) live: Option<LiveState>,
}

/// What a counter in a region says.
#[derive(Debug)]
pub(super) struct LiveState {
    pub(super) fingerprint: Fingerprint,
    pub(super) window_start_s: u64,
    pub(super) local: u64,
    pub(super) remote: i64,
    pub(super) reset_s: u32,
    /// Tokens that its bucket lacks, where it has one.
    pub(super) tokens_missing: Option<u64>,
}

impl CounterState {
    /// The counter of a rule; `None` when the rule has none.
    pub(super) fn of(
        rules: &RuleSet,
        rule: RuleId,
        domain: &str,
        entries: &[Entry<'_>],
        live: Option<&Live<'_>>,
    ) -> Option<Self> {
        let known = rules.rule(rule)?;
        let RuleLimit::Limited {
            requests_per_unit, ..
        } = known.limit
        else {
            return None;
        };
        let counting = known.counting()?;
        let period = counting.period();
        let bucket = known.token_bucket();
        let shared_value = |level| rules.shared_value(rule, level);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = entries.iter().enumerate().map(|(level, entry)| {
            let shared = shared_value(level);
            (
                text(entry.key),
                text(shared.unwrap_or(entry.value)),
                shared.is_some(),
            )
        });
        let live = live.map(|live| {
            let now_s = live.now_ms / 1_000;
            let mut bytes = Vec::new();
            let bytes = key::write(
                &mut bytes,
                domain.as_bytes(),
                entries,
                counting,
                shared_value,
            );
            let fingerprint = live.region.key_hasher().fingerprint(bytes);
            let counter = live.region.counter(
                &Key {
                    fingerprint,
                    period,
                },
                now_s,
            );
            let window = period.window_at(now_s);
            LiveState {
                fingerprint,
                window_start_s: window.start_s(),
                local: counter.as_ref().map_or(0, |counter| counter.local),
                remote: counter.as_ref().map_or(0, |counter| counter.remote),
                reset_s: window.seconds_left(now_s),
                tokens_missing: bucket.map(|bucket| {
                    live.region
                        .tokens_missing(fingerprint, &bucket, live.now_ms)
                }),
            }
        });
        Some(Self {
            entries: shown.collect(),
            period,
            limit: bucket.map_or(requests_per_unit, |bucket| bucket.burst()),
            live,
        })
    }

    /// Hits that are held against the limit so far; none where there is no region to ask.
    pub(super) fn total(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| {
            let counted = live.local.saturating_add_signed(live.remote);
            live.tokens_missing.unwrap_or(counted)
        })
    }

    /// Hits left before a request counts.
    pub(super) fn remaining(&self) -> u64 {
        u64::from(self.limit).saturating_sub(self.total())
    }

    /// Whether so many more hits are over the limit: counted first, compared then.
    pub(super) fn is_over_after(&self, hits: u32) -> bool {
        self.total().saturating_add(u64::from(hits)) > u64::from(self.limit)
    }
}
