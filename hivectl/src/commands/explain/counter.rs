//! The counter a request is held against.

use hivemind_shared::decision::{Standing, key};
use hivemind_shared::descriptor::Entry;
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::RegionView;
use hivemind_shared::rules::{Algorithm, RuleId, RuleSet};
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
    pub(super) algorithm: Algorithm,
    /// Hits that the limit allows: of a token bucket, its size.
    pub(super) limit: u32,
    /// In a region.
    pub(super) live: Option<LiveState>,
}

/// What a counter in a region says.
#[derive(Debug)]
pub(super) struct LiveState {
    pub(super) fingerprint: Fingerprint,
    pub(super) standing: Standing,
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
        let counting = known.counting()?;
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
        let live = live.and_then(|live| {
            let mut bytes = Vec::new();
            let bytes = key::write(
                &mut bytes,
                domain.as_bytes(),
                entries,
                counting,
                shared_value,
            );
            let fingerprint = live.region.key_hasher().fingerprint(bytes);
            let standing = Standing::of(live.region, fingerprint, known, live.now_ms)?;
            Some(LiveState {
                fingerprint,
                standing,
            })
        });
        Some(Self {
            entries: shown.collect(),
            period: counting.period(),
            algorithm: known.algorithm,
            limit: known.allowed(),
            live,
        })
    }

    /// Hits that are held against the limit so far; none where there is no region to ask.
    fn held(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| live.standing.held)
    }

    /// Whether so many more hits are over the limit: counted first, compared then.
    pub(super) fn is_over_after(&self, hits: u32) -> bool {
        self.held().saturating_add(u64::from(hits)) > u64::from(self.limit)
    }
}
