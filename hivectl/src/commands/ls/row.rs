//! One counter with its limit: where it comes in the list, and how it reads.

use std::cmp::Ordering;

use hivemind_shared::region::Counter;
use hivemind_shared::yaml::printable;

use crate::limits::{Limit, Limits};
use crate::text;

/// What stands for something that is not there.
const NONE: &str = "-";

/// A counter and its limit.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) counter: Counter,
    pub(super) limit: Option<Limit>,
}

impl Row {
    pub(super) fn new(counter: Counter, limits: &Limits) -> Self {
        Self {
            limit: limits.of(&counter),
            counter,
        }
    }

    /// Hits in the window, everywhere. Never 0: a counter without hits is not live.
    fn total(&self) -> u64 {
        self.counter.total().max(1)
    }

    /// The share of the limit that is used up; `None` without a limit, and for a limit of 0, of which
    /// any count is more than any percentage.
    pub(super) fn percent(&self) -> Option<f64> {
        text::percent(self.total(), self.limit?.hits_per_window)
    }

    /// Orders rows by the share of their limits, then by their counts. Those without a limit come last.
    pub(super) fn hottest_first(&self, other: &Self) -> Ordering {
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

    /// The row as text, in the order of the columns.
    pub(super) fn cells(&self, now_s: u64) -> [String; 9] {
        let counter = &self.counter;
        [
            self.domain_text(),
            self.descriptor_text(),
            counter.period.to_string(),
            text::utc(counter.window.start_s()),
            counter.local.to_string(),
            counter.remote.to_string(),
            self.limit_text(),
            self.percent_text(),
            counter.window.seconds_left(now_s).to_string(),
        ]
    }

    fn domain_text(&self) -> String {
        let label = self.counter.label.as_ref();
        label.map_or_else(|| NONE.to_owned(), |label| printable(&label.domain))
    }

    fn descriptor_text(&self) -> String {
        let Some(label) = &self.counter.label else {
            return self.counter.fingerprint.to_string();
        };
        // Requests choose this text: it must do no more to a terminal than be read.
        let mut entries: Vec<String> = label
            .entries
            .iter()
            .map(|(key, value)| format!("{}={}", printable(key), printable(value)))
            .collect();
        if label.truncated {
            entries.push("…".to_owned());
        }
        entries.join(",")
    }

    fn limit_text(&self) -> String {
        self.limit.map_or_else(
            || NONE.to_owned(),
            |limit| limit.hits_per_window.to_string(),
        )
    }

    fn percent_text(&self) -> String {
        match (self.limit, self.percent()) {
            (None, _) => NONE.to_owned(),
            (Some(_), Some(percent)) => format!("{percent:.1}"),
            (Some(_), None) => "inf".to_owned(),
        }
    }
}
