//! Response headers: `x-ratelimit-*` as Envoy's ratelimit filter renders draft 03, and `retry-after`.

use hivemind_shared::decision::Decision;

/// Room for the limit and a policy or two.
const LIMIT_BYTES: usize = 64;

/// The values of the three headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XRateLimit {
    /// `x-ratelimit-limit`: the nearest limit ([`Decision::nearest`]), and then every limit that was looked
    /// at, with its window and name.
    pub(crate) limit: Vec<u8>,
    /// `x-ratelimit-remaining`: hits left of the nearest limit.
    pub(crate) remaining: u32,
    /// `x-ratelimit-reset`: seconds until its window ends.
    pub(crate) reset_s: u32,
}

/// Renders a decision; `None` when no limit applied.
pub(crate) fn draft_03(decision: &Decision) -> Option<XRateLimit> {
    let limited = || {
        decision
            .statuses
            .iter()
            .filter_map(|status| Some((status, status.limit?)))
    };
    let (nearest, nearest_limit) = decision.nearest()?;
    let mut limit = Vec::with_capacity(LIMIT_BYTES);
    limit.extend_from_slice(Decimal::of(nearest_limit.requests_per_unit).as_bytes());
    for (_, applied) in limited() {
        limit.extend_from_slice(b", ");
        limit.extend_from_slice(Decimal::of(applied.requests_per_unit).as_bytes());
        limit.extend_from_slice(b";w=");
        limit.extend_from_slice(Decimal::of(applied.period.seconds()).as_bytes());
        let name = decision.limit_name(&applied);
        if !name.is_empty() {
            limit.extend_from_slice(b";name=\"");
            limit.extend_from_slice(name.as_bytes());
            limit.push(b'"');
        }
    }
    Some(XRateLimit {
        limit,
        remaining: nearest.remaining,
        reset_s: nearest.reset_s,
    })
}

/// Seconds until every limit that refused this request begins anew.
pub(crate) fn retry_after_s(decision: &Decision) -> u32 {
    let waits = decision.refusals().map(|status| status.reset_s);
    waits.max().unwrap_or(0)
}

/// A number in decimal, without allocating.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    digits: [u8; Self::DIGITS],
    start: usize,
}

impl Decimal {
    /// Digits of `u32::MAX`.
    const DIGITS: usize = 10;

    /// Renders a number.
    pub(crate) fn of(mut number: u32) -> Self {
        let mut decimal = Self {
            digits: [b'0'; Self::DIGITS],
            start: Self::DIGITS,
        };
        for (place, digit) in decimal.digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (number % 10) as u8;
            decimal.start = place;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        decimal
    }

    /// Its digits.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use hivemind_shared::decision::{AppliedLimit, Code, Status};
    use hivemind_shared::window::Unit;

    use super::*;

    fn status(requests_per_unit: u32, unit: Unit, remaining: u32, reset_s: u32) -> Status {
        let limit = Some(AppliedLimit {
            requests_per_unit,
            period: unit.into(),
            rule: None,
        });
        let code = if remaining == 0 {
            Code::OverLimit
        } else {
            Code::Ok
        };
        Status {
            code,
            limit,
            remaining,
            reset_s,
            rule: None,
        }
    }

    fn decision(statuses: impl IntoIterator<Item = Status>) -> Decision {
        let mut decision = Decision::new();
        decision.statuses.extend(statuses);
        decision
    }

    fn refusal(statuses: impl IntoIterator<Item = Status>) -> Decision {
        let mut decision = decision(statuses);
        decision.overall = Code::OverLimit;
        decision
    }

    #[test]
    fn one_limit_is_rendered_as_envoy_does() {
        let decision = decision([status(1, Unit::Minute, 2, 3)]);
        let rendered = draft_03(&decision).unwrap();
        assert_eq!(rendered.limit, b"1, 1;w=60");
        assert_eq!((rendered.remaining, rendered.reset_s), (2, 3));
    }

    #[test]
    fn the_nearest_limit_comes_first_and_all_policies_follow_in_order() {
        let decision = decision([
            status(1_000, Unit::Hour, 7, 70),
            Status::UNLIMITED_BY_ANY_RULE,
            status(4, Unit::Second, 2, 1),
            status(5, Unit::Year, 2, 99),
        ]);
        let rendered = draft_03(&decision).unwrap();
        assert_eq!(rendered.limit, b"4, 1000;w=3600, 4;w=1, 5;w=31536000");
        assert_eq!(
            (rendered.remaining, rendered.reset_s),
            (2, 1),
            "the first of equals"
        );
    }

    #[test]
    fn without_a_limit_there_are_no_headers() {
        assert_eq!(draft_03(&decision([])), None);
        assert_eq!(draft_03(&decision([Status::UNLIMITED_BY_ANY_RULE])), None);
    }

    #[test]
    fn the_first_limit_of_a_refusal_is_one_that_refused_it() {
        let not_over = Status {
            code: Code::Ok,
            ..status(9, Unit::Day, 0, 7_000)
        };
        let decision = refusal([
            not_over,
            status(3, Unit::Hour, 0, 60),
            status(2, Unit::Hour, 0, 50),
        ]);
        let rendered = draft_03(&decision).unwrap();
        assert_eq!(rendered.limit, b"3, 9;w=86400, 3;w=3600, 2;w=3600");
        assert_eq!((rendered.remaining, rendered.reset_s), (0, 60));
    }

    #[test]
    fn the_longest_wait_of_those_that_are_over_is_what_helps() {
        let decision = refusal([
            status(1, Unit::Minute, 0, 30),
            status(1, Unit::Hour, 0, 1_800),
            status(1, Unit::Day, 5, 80_000),
        ]);
        assert_eq!(retry_after_s(&decision), 1_800);
    }

    #[test]
    fn numbers_are_rendered_in_full() {
        for number in [0, 1, 9, 10, 99, 100, 4_294_967_295] {
            assert_eq!(
                Decimal::of(number).as_bytes(),
                number.to_string().as_bytes()
            );
        }
    }
}
