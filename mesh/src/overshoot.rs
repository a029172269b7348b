//! How far limits may be exceeded at this moment, because news of what others let pass is on its way.
//!
//! What this node lets pass last for a key, it lets pass without what the others counted in the time that
//! their news takes: at most their rate, times that time. See SPECIFICATION.md for the bound.

use std::collections::BTreeMap;

use crate::book::{Book, KeyId};
use crate::status::RuleOvershoot;

/// Estimates by rule, once a second.
#[derive(Debug, Default)]
pub(crate) struct Overshoot {
    grown: Vec<KeyId>,
    /// When rates were made last; nothing before the first time, for then there is no time span yet.
    estimated_us: Option<u64>,
    /// By statistics index of the rule: hits a second that others counted on its busiest key.
    rates: BTreeMap<u32, u64>,
}

impl Overshoot {
    /// Notes what others counted for a key, as news of it comes in.
    pub(crate) fn note(&mut self, book: &mut Book, key: KeyId, growth: u32) {
        if let Some(entry) = book.entry_mut(key) {
            if entry.own.others_growth == 0 {
                self.grown.push(key);
            }
            entry.own.others_growth = entry.own.others_growth.saturating_add(growth);
        }
    }

    /// Makes rates of what was noted since the last time.
    pub(crate) fn estimate(&mut self, book: &mut Book, now_us: u64) {
        let Some(before_us) = self.estimated_us.replace(now_us) else {
            return;
        };
        let elapsed_us = now_us.saturating_sub(before_us).max(1);
        self.rates.clear();
        for key in self.grown.drain(..) {
            let Some(entry) = book.entry_mut(key) else {
                continue;
            };
            let growth = u64::from(std::mem::take(&mut entry.own.others_growth));
            // A key nobody here asks for cannot exceed its limit here.
            if entry.own.rule != u32::MAX {
                let rate = growth.saturating_mul(1_000_000) / elapsed_us;
                let busiest = self.rates.entry(entry.own.rule).or_default();
                *busiest = rate.max(*busiest);
            }
        }
    }

    /// For operators: the estimate when news takes this long, microseconds.
    pub(crate) fn status(&self, staleness_us: u64) -> Vec<RuleOvershoot> {
        self.rates
            .iter()
            .map(|(&rule, rate)| RuleOvershoot {
                rule,
                hits: rate.saturating_mul(staleness_us).div_ceil(1_000_000),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::tests::some_key;

    #[test]
    fn the_estimate_is_the_others_rate_times_the_time_their_news_takes() {
        let mut book = Book::new(1, 10, [1, 2]);
        let key = some_key(&mut book);
        let mut overshoot = Overshoot::default();
        overshoot.note(&mut book, key, 300);
        // How long that took is not known; the next time it is.
        overshoot.estimate(&mut book, 1_000_000);
        assert_eq!(overshoot.status(10_000), []);
        overshoot.note(&mut book, key, 200);
        overshoot.estimate(&mut book, 3_000_000);
        // 250 a second, for 10 ms; part of a hit is a hit.
        assert_eq!(
            overshoot.status(10_000),
            [RuleOvershoot { rule: 0, hits: 3 }]
        );
        overshoot.estimate(&mut book, 4_000_000);
        assert_eq!(overshoot.status(10_000), []);

        book.entry_mut(key).unwrap().own.rule = u32::MAX;
        overshoot.note(&mut book, key, 300);
        overshoot.estimate(&mut book, 5_000_000);
        assert_eq!(overshoot.status(10_000), [], "nobody here asks for it");
    }
}
