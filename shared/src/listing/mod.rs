//! The live counters of a region with their limits, hottest first: for tools and operators.

mod json;
mod limits;

use std::cmp::Ordering;

pub use json::ListingJson;
pub use limits::{Limit, Limits};

use crate::descriptor::text::Prefix;
use crate::region::{Counter, LoadRulesError, RegionView};

/// Which counters are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Only those of this domain; those whose label is lost are of none.
    pub domain: Option<&'a str>,
    /// Only those whose descriptor begins with this, written as `key=value,key=value` ([`descriptor::text`](crate::descriptor::text)).
    pub prefix: Option<&'a str>,
    /// Only so many, the hottest.
    pub top: Option<usize>,
}

/// The counters that were asked for, and what is needed to show them.
#[derive(Debug)]
pub struct Listing {
    /// The time they are told as of, Unix seconds.
    pub now_s: u64,
    /// The limits of the rules in force.
    pub limits: Limits,
    /// How often rules were published.
    pub rules_generation: u64,
    /// Why there are no limits.
    pub rules_error: Option<LoadRulesError>,
    /// How many counters are live, also of those that were not asked for.
    pub live_counters: usize,
    /// Those that were, hottest first.
    pub rows: Vec<Row>,
}

/// A counter and its limit.
#[derive(Debug)]
pub struct Row {
    /// The counter.
    pub counter: Counter,
    /// Its limit; `None` when there is none, or it cannot be told which.
    pub limit: Option<Limit>,
}

impl Listing {
    /// Lists counters as they are at a time. Looks at every slot.
    pub fn of(region: &RegionView, now_s: u64, wanted: &Wanted<'_>) -> Self {
        let (rules_generation, limits, rules_error) = match region.load_rules() {
            Ok((generation, rules)) => (generation, Limits::new(rules), None),
            Err(error) => (region.rules_generation(), Limits::default(), Some(error)),
        };
        let prefix = wanted.prefix.map(Prefix::of);
        let mut live_counters = 0;
        let mut rows: Vec<Row> = region
            .counters(now_s)
            .inspect(|_| live_counters += 1)
            .filter(|counter| wanted.has(counter, prefix.as_ref()))
            .map(|counter| Row {
                limit: limits.of(&counter),
                counter,
            })
            .collect();
        rows.sort_unstable_by(Row::hottest_first);
        rows.truncate(wanted.top.unwrap_or(usize::MAX));
        Self {
            now_s,
            limits,
            rules_generation,
            rules_error,
            live_counters,
            rows,
        }
    }
}

impl Wanted<'_> {
    fn has(&self, counter: &Counter, prefix: Option<&Prefix>) -> bool {
        let Some(label) = &counter.label else {
            return self.domain.is_none() && prefix.is_none();
        };
        let entries = || {
            let entries = label.entries.iter();
            entries.map(|(key, value)| (&**key, &**value))
        };
        self.domain.is_none_or(|domain| label.domain == domain)
            && prefix.is_none_or(|prefix| prefix.begins(entries()))
    }
}

impl Row {
    /// Hits in the window, everywhere. Never 0: a counter without hits is not live.
    fn total(&self) -> u64 {
        self.counter.total().max(1)
    }

    /// The share of the limit that is used up; `None` without a limit, and for a limit of 0, of which
    /// any count is more than any percentage.
    pub fn percent(&self) -> Option<f64> {
        percent(self.total(), self.limit?.hits_per_window)
    }

    /// Orders rows by the share of their limits, then by their counts. Those without a limit come last.
    fn hottest_first(&self, other: &Self) -> Ordering {
        other
            .compare_share(self)
            .then_with(|| other.total().cmp(&self.total()))
            // Only so that the same counters are always listed in the same order.
            .then_with(|| self.name().cmp(&other.name()))
    }

    /// Compares the used shares of two limits. Multiplied out they are exact, and any share of a limit
    /// of 0 is larger than any of another one.
    fn compare_share(&self, other: &Self) -> Ordering {
        let limit = |row: &Self| row.limit.map(|limit| u128::from(limit.hits_per_window));
        match (limit(self), limit(other)) {
            (Some(own), Some(others)) => {
                let total = |row: &Self| u128::from(row.total());
                (total(self) * others).cmp(&(total(other) * own))
            }
            (own, others) => own.is_some().cmp(&others.is_some()),
        }
    }

    fn name(&self) -> impl Ord {
        let Counter {
            label,
            period,
            fingerprint,
            ..
        } = &self.counter;
        let label = label.as_ref();
        let label = label.map(|label| (&label.domain, &label.entries));
        (label.is_none(), label, period, fingerprint)
    }
}

/// `part` of `whole` in percent, to one decimal place; `None` when there is no whole.
#[allow(
    clippy::cast_precision_loss,
    reason = "one decimal place of what people look at"
)]
pub fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 * 1_000.0 / whole as f64).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_needs_a_whole() {
        assert_eq!(percent(1, 3), Some(33.3));
        assert_eq!(percent(5, 2), Some(250.0));
        assert_eq!(percent(5, 0), None);
    }
}
