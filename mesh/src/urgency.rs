//! How urgent it is to tell others what was counted here.
//!
//! A key far below its limit may stay unsent for a while, one near its limit may not, and one that is
//! over has no news to tell. In numbers: with `remaining` hits left of the limit, as far as this node
//! knows, and `nodes` nodes, growth is sent at once when
//!
//! ```text
//! unsent ≥ max(1, ε · remaining / nodes)
//! ```
//!
//! so that all nodes together hold back at most `ε · remaining`, which falls to nothing as the limit
//! comes near. Other growth is sent after the longest staleness at the latest: a communication scheme of
//! distributed functional monitoring (Cormode, Muthukrishnan, Yi 2008), by remaining slack.

use hivemind_shared::table::Key;

use crate::book::{Half, Own};
use crate::settings::Settings;

/// How many times the longest staleness a key waits that is over its limit already.
const OVER_FACTOR: u64 = 10;

/// When growth is to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Urgency {
    /// There is none.
    Nothing,
    /// At this time at the latest, monotonic microseconds.
    By(u64),
    /// The same, and no decision depends on it: the limit was used up when it was last told.
    Unhurried(u64),
    /// With the next datagrams. The larger the number, the sooner: growth as a multiple of what may stay
    /// unsent.
    Now(f64),
}

/// What the decision depends on beside the key.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'s> {
    /// The settings.
    pub settings: &'s Settings,
    /// Nodes that share the limit, this one included.
    pub nodes: usize,
    /// Monotonic microseconds.
    pub now_us: u64,
}

impl Circumstances<'_> {
    /// How urgent a key is. `current` is the half of its current window, `limit` the limit of its rule,
    /// if it is known.
    pub fn urgency(
        &self,
        own: &Own,
        halves: &[Half; 2],
        current: Option<&Half>,
        limit: Option<u32>,
    ) -> Urgency {
        if halves.iter().all(|half| half.own <= half.sent) {
            return Urgency::Nothing;
        }
        let staleness_us = self.settings.max_staleness_us;
        // A key that was quiet for long need not wait: it cannot be sent more often for it.
        let after = |wait_us: u64| {
            let from_us = own.sent_us.unwrap_or(0);
            Urgency::By(from_us.saturating_add(wait_us))
        };
        let unsent = current.map_or(0, |half| half.own.saturating_sub(half.sent));
        let (Some(half), true) = (current, unsent > 0) else {
            // The final count of a window that has passed: no decision waits for it.
            return after(staleness_us);
        };
        let Some(limit) = limit else {
            // Nobody here knows how near the limit is: take it for near.
            return Urgency::Now(f64::from(unsent));
        };
        let known = half.total_without_unsent();
        let Some(remaining) = u64::from(limit).checked_sub(known).filter(|&left| left > 0) else {
            // Nobody lets another hit pass, with or without this news. It is told once more in time, so
            // that all that did pass is known everywhere, and then in no hurry.
            let was_over = half.total_when_sent >= u64::from(limit);
            return if was_over {
                let from_us = own.sent_us.unwrap_or(0);
                let wait_us = staleness_us.saturating_mul(OVER_FACTOR);
                Urgency::Unhurried(from_us.saturating_add(wait_us))
            } else {
                after(staleness_us)
            };
        };
        #[allow(
            clippy::cast_precision_loss,
            reason = "a remaining count below 2^32 and a small number of nodes"
        )]
        let may_wait =
            (self.settings.epsilon * remaining as f64 / self.nodes.max(1) as f64).max(1.0);
        let multiple = f64::from(unsent) / may_wait;
        if multiple >= 1.0 {
            Urgency::Now(multiple)
        } else {
            after(staleness_us)
        }
    }
}

/// The half of a key's current window.
pub fn current_half<'h>(key: &Key, halves: &'h [Half; 2], now_s: u64) -> Option<&'h Half> {
    let window = key.period.window_at(now_s).number();
    let half = &halves[window as usize & 1];
    (half.window == Some(window)).then_some(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::book::tests::some_key;

    const NOW_US: u64 = 10_000_000;

    /// What a key is like.
    #[derive(Clone, Copy)]
    struct Case {
        own: u32,
        sent: u32,
        /// What everybody counted when it was sent.
        total_when_sent: u64,
        limit: Option<u32>,
        is_current: bool,
    }

    /// With ε = 1 % and four nodes, last sent at the time 1 s.
    fn urgency(case: Case) -> Urgency {
        let mut book = Book::new(1, 10, [1, 2]);
        let id = some_key(&mut book);
        let entry = book.entry_mut(id).unwrap();
        entry.own.sent_us = Some(1_000_000);
        let place = usize::from(entry.halves[1].own > 0);
        let half = &mut entry.halves[place];
        (half.own, half.sent) = (case.own, case.sent);
        half.total_when_sent = case.total_when_sent;
        let settings = Settings::new("test");
        let circumstances = Circumstances {
            settings: &settings,
            nodes: 4,
            now_us: NOW_US,
        };
        let current = case.is_current.then_some(&entry.halves[place]);
        circumstances.urgency(&entry.own, &entry.halves, current, case.limit)
    }

    const FAR: Case = Case {
        own: 10_024,
        sent: 10_000,
        total_when_sent: 10_000,
        limit: Some(20_000),
        is_current: true,
    };
    const STALENESS_US: u64 = 100_000;

    #[test]
    fn growth_is_urgent_from_its_share_of_what_is_left_on() {
        // A hundredth of 10,000, for each of four nodes: 25.
        assert_eq!(urgency(FAR), Urgency::By(1_000_000 + STALENESS_US));
        let own = FAR.sent + 25;
        assert_eq!(urgency(Case { own, ..FAR }), Urgency::Now(1.0));
        let own = FAR.sent + 100;
        assert_eq!(urgency(Case { own, ..FAR }), Urgency::Now(4.0));
        let own = FAR.sent;
        assert_eq!(urgency(Case { own, ..FAR }), Urgency::Nothing);
    }

    #[test]
    fn near_a_limit_each_hit_is_urgent() {
        let near = Case {
            own: 10_001,
            limit: Some(10_300),
            ..FAR
        };
        assert_eq!(urgency(near), Urgency::Now(1.0));
        assert_eq!(
            urgency(Case {
                own: 10_003,
                ..near
            }),
            Urgency::Now(3.0)
        );
    }

    #[test]
    fn a_key_over_its_limit_is_told_in_time_once_and_then_slowly() {
        let passed_since = Case {
            own: 30_000,
            limit: Some(10_000),
            total_when_sent: 9_999,
            ..FAR
        };
        assert_eq!(urgency(passed_since), Urgency::By(1_000_000 + STALENESS_US));
        let was_over = Case {
            total_when_sent: 10_000,
            ..passed_since
        };
        assert_eq!(
            urgency(was_over),
            Urgency::Unhurried(1_000_000 + 10 * STALENESS_US)
        );
    }

    #[test]
    fn an_unknown_limit_is_taken_for_near_and_a_past_window_is_in_no_hurry() {
        let limit = None;
        assert_eq!(urgency(Case { limit, ..FAR }), Urgency::Now(24.0));
        let is_current = false;
        assert_eq!(
            urgency(Case {
                limit,
                is_current,
                ..FAR
            }),
            Urgency::By(1_000_000 + STALENESS_US)
        );
    }
}
