//! How a limit stands, for people to look at. Nothing is counted or remembered for it.

use super::judge::Room;
use crate::fingerprint::Fingerprint;
use crate::region::RegionView;
use crate::rules::{Algorithm, Rule};
use crate::table::Key;
use crate::token_bucket::PARTS;
use crate::window::Window;

/// What the counter of a key says for the limit of a rule, before another hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The window that hits would land in.
    pub window: Window,
    /// This host's hits in it.
    pub local: u64,
    /// What peers counted in it, less what was forgiven there.
    pub remote: i64,
    /// Hits that are held against the limit: all in the window, of a sliding one also its share of the window
    /// before; of a token bucket the tokens that are missing, rounded up.
    pub held: u64,
    /// Hits that the limit allows at once.
    pub allowed: u32,
    /// Seconds until the window ends, or until the bucket is full: 0 when it is.
    pub reset_s: u32,
}

impl Standing {
    /// How the limit of `rule` stands for the key with this fingerprint, at a time; `None` of a rule that
    /// counts nothing.
    pub fn of(
        view: &RegionView,
        fingerprint: Fingerprint,
        rule: &Rule,
        now_ms: u64,
    ) -> Option<Self> {
        let period = rule.counting()?.period();
        let window = period.window_at(now_ms / 1_000);
        let counted = view.counted(
            &Key {
                fingerprint,
                period,
            },
            window,
        );
        let allowed = rule.allowed();
        let (held, reset_s) = match rule.token_bucket() {
            Some(bucket) => {
                let offset = bucket.offset(&counted.tally, now_ms, counted.memory);
                let debt = bucket.debt(&counted.tally, now_ms, offset);
                (debt.div_ceil(PARTS), bucket.seconds_for(debt))
            }
            None => {
                let room = Room {
                    allowed,
                    addend: 0,
                    debt: 0,
                    slides: rule.algorithm == Algorithm::SlidingWindow,
                    now_ms,
                };
                let left_s = window.seconds_left(now_ms / 1_000);
                (room.used(&counted.tally), left_s)
            }
        };
        Some(Self {
            window,
            local: counted.local,
            remote: counted.remote,
            held,
            allowed,
            reset_s,
        })
    }

    /// Hits that would still pass.
    pub fn remaining(&self) -> u64 {
        u64::from(self.allowed).saturating_sub(self.held)
    }
}
