//! What `x-ratelimit-*` headers (draft 03) tell of the statuses: every limit that was held against the
//! request, and how much is left of the closest one.

use anyhow::{Context as _, bail};
use hivemind_shared::window::Unit;
use hyper::HeaderMap;

use super::case::{Expect, ExpectLimit, ExpectStatus};
use super::run::same;

/// What the statuses of an answer come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The limit closest to being reached; `None` when no limit applied.
    pub closest: Option<Closest>,
    /// The limits that applied, in the order of their descriptors.
    pub policies: Vec<Policy>,
}

/// The limit closest to being reached, or that refused the request; of several alike the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closest {
    /// Hits in a window.
    pub requests_per_unit: u32,
    /// Hits left.
    pub remaining: u32,
    /// Seconds to the end of the window.
    pub reset_s: u32,
}

/// A limit that applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Hits in a window.
    pub requests_per_unit: u32,
    /// The window's length in seconds.
    pub window_s: u32,
    /// The rule's name; empty when it has none.
    pub name: String,
}

impl Summary {
    /// Reads the headers of a response. No header at all says that no limit applied.
    ///
    /// # Errors
    ///
    /// When some of the headers are missing, or not what draft 03 makes them.
    pub fn read(headers: &HeaderMap) -> anyhow::Result<Self> {
        let names = ["limit", "remaining", "reset"];
        let values = names.map(|name| headers.get(format!("x-ratelimit-{name}")));
        match values {
            [None, None, None] => Ok(Self::default()),
            [Some(limit), Some(remaining), Some(reset)] => {
                let mut limits = limit.to_str()?.split(", ");
                let closest = Closest {
                    requests_per_unit: limits.next().unwrap_or_default().parse()?,
                    remaining: remaining.to_str()?.parse()?,
                    reset_s: reset.to_str()?.parse()?,
                };
                Ok(Self {
                    closest: Some(closest),
                    policies: limits
                        .map(|policy| {
                            Policy::read(policy).with_context(|| format!("not a policy: {policy}"))
                        })
                        .collect::<anyhow::Result<_>>()?,
                })
            }
            _ => bail!("x-ratelimit-* headers are missing: {headers:?}"),
        }
    }
}

impl Policy {
    /// Reads `5;w=3600` or `5;w=3600;name="n"`.
    fn read(text: &str) -> Option<Self> {
        let (requests_per_unit, parameters) = text.split_once(";w=")?;
        let (window_s, name) = match parameters.split_once(";name=") {
            Some((window_s, name)) => (window_s, name.strip_prefix('"')?.strip_suffix('"')?),
            None => (parameters, ""),
        };
        Some(Self {
            requests_per_unit: requests_per_unit.parse().ok()?,
            window_s: window_s.parse().ok()?,
            name: name.to_owned(),
        })
    }
}

/// What is wrong with a summary of these statuses.
pub(super) fn compare(expect: &Expect, summary: &Summary) -> Result<(), String> {
    let limited: Vec<(&ExpectStatus, &ExpectLimit)> = expect
        .statuses
        .iter()
        .filter_map(|status| Some((status, status.limit.as_ref()?)))
        .collect();
    same("number of limits", &limited.len(), &summary.policies.len())?;
    for (((_, expect), policy), number) in limited.iter().zip(&summary.policies).zip(1..) {
        compare_policy(expect, policy).map_err(|mismatch| format!("limit {number}: {mismatch}"))?;
    }
    // Which one is the closest is known only when the case says what is left of each.
    if limited.iter().any(|(status, _)| status.remaining.is_none()) {
        return Ok(());
    }
    let passes = expect.overall == "OK";
    let candidates = limited
        .iter()
        .filter(|(status, _)| passes || status.code == expect.overall);
    let expected = candidates.min_by_key(|(status, _)| status.remaining);
    match (expected, &summary.closest) {
        (None, None) => Ok(()),
        (Some((status, limit)), Some(closest)) => compare_closest(status, limit, closest),
        (expected, closest) => Err(format!("closest: expected {expected:?}, got {closest:?}")),
    }
}

fn compare_policy(expect: &ExpectLimit, policy: &Policy) -> Result<(), String> {
    same(
        "requests_per_unit",
        &expect.requests_per_unit,
        &policy.requests_per_unit,
    )?;
    same("window in s", &window_s(expect)?, &policy.window_s)?;
    match &expect.name {
        Some(name) => same("name", name, &policy.name),
        None => Ok(()),
    }
}

fn compare_closest(
    status: &ExpectStatus,
    limit: &ExpectLimit,
    closest: &Closest,
) -> Result<(), String> {
    same(
        "closest limit",
        &limit.requests_per_unit,
        &closest.requests_per_unit,
    )?;
    same(
        "remaining",
        &status.remaining.unwrap_or_default(),
        &closest.remaining,
    )?;
    let reset_max = status.reset_max.map_or_else(|| window_s(limit), Ok)?;
    // A full bucket that is too small for a request has none to wait for.
    let reset_min = status.reset_max.map_or(0, |_| 1);
    if (reset_min..=reset_max).contains(&closest.reset_s) {
        Ok(())
    } else {
        Err(format!(
            "reset: expected {reset_min} to {reset_max} s, got {}",
            closest.reset_s
        ))
    }
}

fn window_s(limit: &ExpectLimit) -> Result<u32, String> {
    let unit = Unit::from_name(&limit.unit);
    unit.map(|unit| unit.seconds() * limit.unit_multiplier)
        .ok_or_else(|| format!("the case has an unknown unit: {}", limit.unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(limit: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-limit", limit.parse().unwrap());
        headers.insert("x-ratelimit-remaining", "1".parse().unwrap());
        headers.insert("x-ratelimit-reset", "60".parse().unwrap());
        headers
    }

    fn expect(overall: &str, statuses: &str) -> Expect {
        Expect {
            overall: overall.to_owned(),
            statuses: yaml_serde::from_str(statuses).unwrap(),
            headers: None,
            metadata: None,
        }
    }

    #[test]
    fn headers_that_are_missing_or_garbled_are_no_summary() {
        let none = Summary::read(&HeaderMap::new()).unwrap();
        assert_eq!(none, Summary::default());
        let mut incomplete = headers("5, 5;w=60");
        incomplete.remove("x-ratelimit-reset");
        assert!(Summary::read(&incomplete).is_err());
        for garbled in ["", "x", "5, 5", "5, 5;w=x", "5, 5;w=60;name=n"] {
            assert!(Summary::read(&headers(garbled)).is_err(), "{garbled}");
        }
    }

    #[test]
    fn a_summary_of_other_statuses_is_a_mismatch() {
        let summary = Summary::read(&headers("5, 9;w=3600, 5;w=60;name=\"n\"")).unwrap();
        let right = "- {code: OK, limit: {requests_per_unit: 9, unit: HOUR}, remaining: 2}\n\
                     - {code: OK, limit: null, remaining: 0}\n\
                     - {code: OK, limit: {requests_per_unit: 5, unit: MINUTE, name: n}, remaining: 1}";
        assert_eq!(compare(&expect("OK", right), &summary), Ok(()));
        for (from, to) in [
            ("unit: 9", "unit: 8"),
            ("unit: 5", "unit: 6"),
            ("HOUR", "DAY"),
            ("name: n", "name: m"),
            ("remaining: 1", "remaining: 3"),
            ("remaining: 2", "remaining: 0"),
            ("remaining: 1", "remaining: 1, reset_max: 59"),
            ("null", "{requests_per_unit: 7, unit: HOUR}"),
        ] {
            let wrong = right.replace(from, to);
            assert!(compare(&expect("OK", &wrong), &summary).is_err(), "{wrong}");
        }
        assert!(compare(&expect("OK", "[]"), &summary).is_err());
        assert!(compare(&expect("OK", right), &Summary::default()).is_err());
        assert_eq!(compare(&expect("OK", "[]"), &Summary::default()), Ok(()));
    }

    #[test]
    fn the_closest_limit_of_a_refused_request_is_one_that_refused_it() {
        let statuses = "- {code: OK, limit: {requests_per_unit: 9, unit: HOUR}, remaining: 1}\n\
                        - {code: OVER_LIMIT, limit: {requests_per_unit: 5, unit: MINUTE}, remaining: 1}";
        let expect = expect("OVER_LIMIT", statuses);
        let by = |limit: &str| Summary::read(&headers(limit)).unwrap();
        assert_eq!(compare(&expect, &by("5, 9;w=3600, 5;w=60")), Ok(()));
        assert!(compare(&expect, &by("9, 9;w=3600, 5;w=60")).is_err());
    }
}
