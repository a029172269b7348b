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
        let known = u64::from(half.sent) + u64::from(half.others());
        let Some(remaining) = u64::from(limit).checked_sub(known).filter(|&left| left > 0) else {
            // Nobody lets another hit pass, with or without this news. It is told once more in time, so
            // that all that did pass is known everywhere, and then in no hurry.
            let was_over = half.total_when_sent >= u64::from(limit);
            let factor = if was_over { OVER_FACTOR } else { 1 };
            return after(staleness_us.saturating_mul(factor));
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
    let window = key.unit.window_at(now_s).number();
    let half = &halves[window as usize & 1];
    (half.window == Some(window)).then_some(half)
}
