//! From what became of each descriptor to what becomes of the request.

use super::{Code, Status};
use crate::rules::Modes;
use crate::table::CountError;

/// What one counted descriptor says about the whole request.
pub(super) enum Vote {
    Ok,
    Over,
    QuotaLeft,
    QuotaUsedUp,
    Failed { error: CountError, quota: bool },
}

/// The votes of a request.
#[derive(Default)]
pub(super) struct Votes {
    over: bool,
    quota_left: bool,
    quota_used_up: bool,
    failed: Option<CountError>,
}

impl Vote {
    /// The vote of a descriptor that could be decided.
    #[inline]
    pub(super) fn of(code: Code, quota: bool) -> Self {
        match (quota, code) {
            (false, Code::Ok) => Self::Ok,
            (false, Code::OverLimit) => Self::Over,
            (true, Code::Ok) => Self::QuotaLeft,
            (true, Code::OverLimit) => Self::QuotaUsedUp,
        }
    }
}

impl Votes {
    #[inline]
    pub(super) fn add(&mut self, vote: Vote) {
        match vote {
            Vote::Ok => {}
            Vote::Over => self.over = true,
            Vote::QuotaLeft => self.quota_left = true,
            Vote::QuotaUsedUp => self.quota_used_up = true,
            Vote::Failed { error, quota } => {
                self.failed = Some(error);
                // Nobody knows that it is used up.
                self.quota_left |= quota;
            }
        }
    }

    /// Over when any plain limit is, or when there are quotas and all of them are used up.
    #[inline]
    pub(super) fn overall(self, modes: Modes, statuses: &[Status]) -> Result<Code, CountError> {
        if modes.shadow | modes.quota {
            return self.overall_in(modes, statuses);
        }
        if self.over || (self.quota_used_up && !self.quota_left) {
            return Ok(Code::OverLimit);
        }
        self.failed.map_or(Ok(Code::Ok), Err)
    }

    /// The same under modes that hold for every request.
    #[cold]
    fn overall_in(self, modes: Modes, statuses: &[Status]) -> Result<Code, CountError> {
        let over = if modes.quota {
            // Nobody votes apart: also a descriptor that no rule is for is a quota that is not used up. One
            // that a rule exempts has no vote.
            let mut votes = statuses.iter().filter(|it| !it.is_unlimited_by_rule());
            let first = votes.next();
            first.is_some_and(Status::is_over) && votes.all(Status::is_over)
        } else {
            self.over || (self.quota_used_up && !self.quota_left)
        };
        match self.failed {
            Some(error) if !over => Err(error),
            _ if over && !modes.shadow => Ok(Code::OverLimit),
            _ => Ok(Code::Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: CountError = CountError::Full;

    fn votes(all: impl IntoIterator<Item = Vote>) -> Votes {
        let mut votes = Votes::default();
        all.into_iter().for_each(|vote| votes.add(vote));
        votes
    }

    fn failed(quota: bool) -> Vote {
        Vote::Failed {
            error: FAILED,
            quota,
        }
    }

    #[test]
    fn a_quota_that_could_not_be_counted_may_have_some_left() {
        let modes = Modes::default();
        let beside = votes([Vote::QuotaUsedUp, failed(true)]);
        assert_eq!(beside.overall(modes, &[]), Err(FAILED));
        // A plain limit that could not be counted says nothing about quotas.
        let beside = votes([Vote::QuotaUsedUp, failed(false)]);
        assert_eq!(beside.overall(modes, &[]), Ok(Code::OverLimit));
    }

    #[test]
    fn a_limit_that_is_exceeded_refuses_whatever_else_could_not_be_counted() {
        let status = |code| Status {
            code,
            ..Status::UNLIMITED_BY_ANY_RULE
        };
        let exceeded = [status(Code::OverLimit); 2];
        let modes = [false, true].map(|quota| {
            [false, true].map(|shadow| Modes {
                shadow,
                quota,
                ..Modes::default()
            })
        });
        for modes in modes.concat() {
            let votes = votes([Vote::Over, failed(false)]);
            let expected = if modes.shadow {
                Code::Ok
            } else {
                Code::OverLimit
            };
            assert_eq!(votes.overall(modes, &exceeded), Ok(expected), "{modes:?}");
        }
        let one_left = [status(Code::OverLimit), status(Code::Ok)];
        let modes = Modes {
            quota: true,
            ..Modes::default()
        };
        let votes = votes([Vote::Over, failed(false)]);
        assert_eq!(votes.overall(modes, &one_left), Err(FAILED));
    }
}
