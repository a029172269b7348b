//! What a count means for a limit.

use super::{AppliedLimit, Code, Status, Target};
use crate::table::{Counted, Gate, Tally};

/// What was found about one descriptor and one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement {
    /// Whether the hits were above the limit.
    pub(super) over: bool,
    /// Hits left; 0 when over, unless refused hits are not counted.
    pub(super) remaining: u32,
    /// Seconds until there are more.
    pub(super) reset_s: u32,
    /// Hits that were held against the limit before these, everywhere.
    pub(super) before: u64,
    /// These hits.
    pub(super) addend: u64,
    /// Hits that the limit allows.
    pub(super) allowed: u32,
}

impl Judgement {
    /// Hits that were counted whatever was counted already: over when the count after them is above the
    /// limit, or would be above one that no count is above.
    #[inline]
    pub(super) fn fixed(counted: &Counted, limit: &AppliedLimit, addend: u64, now_s: u64) -> Self {
        let total = counted.total_after();
        let allowed = u64::from(limit.requests_per_unit);
        Self {
            over: total >= allowed && (total > allowed || is_full(total, addend)),
            remaining: u32::try_from(allowed.saturating_sub(total)).unwrap_or(u32::MAX),
            reset_s: counted.window.seconds_left(now_s),
            before: counted.total_before(),
            addend,
            allowed: limit.requests_per_unit,
        }
    }

    /// Fills in the status of the descriptor.
    #[inline(always)]
    pub(super) fn fill_in(&self, target: &Target<'_>, status: &mut Status) {
        status.remaining = self.remaining;
        status.reset_s = self.reset_s;
        let shadow = target.rule.is_some_and(|rule| rule.shadow_mode);
        if self.over && !shadow {
            status.code = Code::OverLimit;
        }
    }
}

/// Whether a count can grow no further, and these hits did not bring it there: whoever asks with none is refused,
/// as hits were or would be.
#[cold]
fn is_full(total: u64, addend: u64) -> bool {
    total == u64::from(u32::MAX) && addend == 0
}

/// Admits hits only when the limit leaves room for all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) allowed: u32,
    pub(super) addend: u64,
    /// Hits beyond the limit that are charged where these do not fit; 0 if none of them is.
    pub(super) debt: u32,
    pub(super) slides: bool,
    pub(super) now_ms: u64,
}

impl Gate for Room {
    const IS_OPEN: bool = false;

    fn admits(&self, tally: &Tally) -> bool {
        self.fits(self.used(tally))
    }

    fn charges(&self, tally: &Tally) -> u64 {
        if self.debt == 0 {
            return 0;
        }
        let most = u64::from(self.allowed) + u64::from(self.debt);
        most.saturating_sub(self.used(tally)).min(self.addend)
    }
}

impl Room {
    /// Whether the limit leaves room for these hits beside those that are used; whoever asks with none wants to
    /// know of one.
    fn fits(&self, used: u64) -> bool {
        used.saturating_add(self.addend.max(1)) <= self.allowed.into()
    }

    /// Hits that count against the limit now, rounded up.
    pub(super) fn used(&self, tally: &Tally) -> u64 {
        if !self.slides {
            return tally.current;
        }
        let length_ms = u128::from(tally.window.period().milliseconds());
        let left_ms = u128::from(tally.window.milliseconds_left(self.now_ms));
        // What lies within one length of now, as if the hits had come evenly.
        let share = (u128::from(tally.previous) * left_ms).div_ceil(length_ms);
        tally
            .current
            .saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// What it comes to when `counted` was found, and these hits were added or, over the limit, only charged.
    pub(super) fn judge(&self, counted: &Counted, now_s: u64) -> Judgement {
        let tally = Tally {
            window: counted.window,
            current: counted.total_before(),
            previous: counted.previous,
            slot: counted.slot,
        };
        let before = self.used(&tally);
        let allowed = u64::from(self.allowed);
        let over = !self.fits(before);
        let added = counted.after.saturating_sub(counted.before);
        let left = allowed
            .saturating_sub(before)
            .saturating_sub(added.min(self.addend));
        let after = Tally {
            current: tally.current.saturating_add(added),
            ..tally
        };
        Judgement {
            over,
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            reset_s: self.reset_s(&after, over, now_s),
            before,
            addend: self.addend,
            allowed: self.allowed,
        }
    }

    /// Seconds until these hits pass if they were over, or one hit if they were charged, when there is such a time
    /// in this window; else until the window ends.
    fn reset_s(&self, tally: &Tally, over: bool, now_s: u64) -> u32 {
        let end_s = tally.window.seconds_left(now_s);
        if !over || !self.slides || tally.previous == 0 {
            return end_s;
        }
        let wanted = if self.debt > 0 { 1 } else { self.addend.max(1) };
        let Some(room) = u64::from(self.allowed)
            .checked_sub(wanted)
            .and_then(|room| room.checked_sub(tally.current))
        else {
            return end_s;
        };
        // `previous · left / length ≤ room` from when so much of the window is left:
        let length_ms = u128::from(tally.window.period().milliseconds());
        let left_then_ms = u128::from(room) * length_ms / u128::from(tally.previous);
        let left_now_ms = u128::from(tally.window.milliseconds_left(self.now_ms));
        let wait_ms = left_now_ms.saturating_sub(left_then_ms);
        u32::try_from(wait_ms.div_ceil(1_000))
            .unwrap_or(u32::MAX)
            .clamp(1, end_s)
    }
}
