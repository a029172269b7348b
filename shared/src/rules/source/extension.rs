//! `hivemind`, within a limit: what envoyproxy/ratelimit does not know.

use std::num::NonZeroU32;

use super::fields::FileReader;
use super::schema::Place;
use crate::rules::rule::{Algorithm, RuleLimit};
use crate::token_bucket::{TokenBucket, TokenBucketError};
use crate::yaml::{Mapping, Node, Scalar, Span, closest, printable};

/// What a limit asks for beyond the reference.
pub(super) struct Extension {
    pub(super) algorithm: Algorithm,
    pub(super) count_denied: bool,
    pub(super) debt: Option<u32>,
}

impl FileReader<'_> {
    /// Reads the block of a limit that allows `amount`.
    pub(super) fn extension(&mut self, limit: &Mapping, amount: Option<RuleLimit>) -> Extension {
        let absent = Extension {
            algorithm: Algorithm::FixedWindow,
            count_denied: self.counts_denied || amount == Some(RuleLimit::Unlimited),
            debt: None,
        };
        let Some(node) = limit.get("hivemind").filter(|node| !node.is_null()) else {
            return absent;
        };
        let Some(mapping) = self.mapping(node, "'hivemind'", Place::Extension) else {
            return absent;
        };
        if amount == Some(RuleLimit::Unlimited) {
            let message = "'hivemind' does nothing where there is no limit";
            self.warn(node.span(), message, "leave it out, or 'unlimited'");
        }
        let algorithm = self.algorithm(mapping, amount);
        let count_denied = self.count_denied(mapping, algorithm);
        Extension {
            algorithm,
            count_denied,
            debt: self.debt(mapping, amount, algorithm, count_denied),
        }
    }

    fn debt(
        &mut self,
        mapping: &Mapping,
        amount: Option<RuleLimit>,
        algorithm: Algorithm,
        count_denied: bool,
    ) -> Option<u32> {
        let debt = self.number(mapping, "debt")?;
        let span = mapping.get("debt").map(Node::span).unwrap_or_default();
        let Some(RuleLimit::Limited {
            requests_per_unit,
            period,
        }) = amount
        else {
            return None;
        };
        if count_denied {
            self.error_with_hint(
                span,
                "'debt' does nothing in a limit that counts what it denied",
                "add 'count_denied: false', or leave out 'debt'",
            );
            return None;
        }
        let (what, most) = match algorithm {
            Algorithm::TokenBucket { burst } => (
                "it would take longer than ten years, or 65,535 units, for such a debt to flow into the token bucket",
                TokenBucket::debt_max(requests_per_unit, period, burst),
            ),
            Algorithm::FixedWindow | Algorithm::SlidingWindow => (
                "limit and debt together are more than 4294967295",
                u32::MAX - requests_per_unit,
            ),
        };
        if debt > most {
            self.error_with_hint(span, what, format!("write {most} or less"));
            return None;
        }
        Some(debt)
    }

    fn count_denied(&mut self, mapping: &Mapping, algorithm: Algorithm) -> bool {
        let asked = mapping.get("count_denied").filter(|it| !it.is_null());
        let flag = asked.map(|node| (node.span(), self.flag(mapping, "count_denied")));
        let what = match (algorithm, flag) {
            (Algorithm::FixedWindow, flag) => {
                return flag.map_or(self.counts_denied, |(_, asked)| asked);
            }
            (_, None | Some((_, false))) => return false,
            (Algorithm::SlidingWindow, _) => "a sliding window never counts what it denied",
            (Algorithm::TokenBucket { .. }, _) => "what a token bucket denied takes no tokens",
        };
        let span = flag.map(|(span, _)| span).unwrap_or_default();
        let hint = "leave out 'count_denied', or write false";
        self.error_with_hint(span, what, hint);
        false
    }

    fn algorithm(&mut self, mapping: &Mapping, amount: Option<RuleLimit>) -> Algorithm {
        let written = self.text(mapping, "algorithm");
        if written == "token_bucket" {
            return self.token_bucket(mapping, amount);
        }
        if let Some(burst) = mapping.get("burst").filter(|it| !it.is_null()) {
            self.error_with_hint(
                burst.span(),
                "'burst' is the size of a token bucket, and this limit has none",
                "add 'algorithm: token_bucket', or leave out 'burst'",
            );
        }
        match written {
            "" | "fixed_window" => Algorithm::FixedWindow,
            "sliding_window" => Algorithm::SlidingWindow,
            _ => {
                self.refuse_algorithm(mapping, written);
                Algorithm::default()
            }
        }
    }

    fn token_bucket(&mut self, mapping: &Mapping, amount: Option<RuleLimit>) -> Algorithm {
        let span = |key| mapping.get(key).map(Node::span);
        let written = self.number(mapping, "burst");
        let Some(RuleLimit::Limited {
            requests_per_unit,
            period,
        }) = amount
        else {
            return Algorithm::default();
        };
        let at = span("burst")
            .or_else(|| span("algorithm"))
            .unwrap_or_default();
        let Some(burst) = NonZeroU32::new(written.unwrap_or(requests_per_unit)) else {
            // A value of another type reads as 0, and is a problem already.
            if written.is_none() {
                self.refuse_bucket(at, TokenBucketError::NoTokens);
            } else if is_number(mapping, "burst") {
                let hint = "write how many requests may come at once, 1 or more";
                self.error_with_hint(at, "a token bucket without room lets nothing pass", hint);
            }
            return Algorithm::default();
        };
        match TokenBucket::new(requests_per_unit, period, burst) {
            Ok(_) => Algorithm::TokenBucket { burst },
            Err(error) => {
                self.refuse_bucket(at, error);
                Algorithm::default()
            }
        }
    }

    fn refuse_bucket(&mut self, at: Span, error: TokenBucketError) {
        let hint = match error {
            TokenBucketError::NoTokens => {
                "write a 'requests_per_unit' of 1 or more, or leave out 'algorithm' to refuse everything"
            }
            TokenBucketError::TooSlow => "write a smaller 'burst', or a larger 'requests_per_unit'",
        };
        self.error_with_hint(at, error.to_string(), hint);
    }

    fn refuse_algorithm(&mut self, mapping: &Mapping, written: &str) {
        let span = mapping.get("algorithm").map(Node::span).unwrap_or_default();
        let hint = match closest(written, Algorithm::NAMES) {
            Some(meant) => format!("did you mean '{meant}'?"),
            None => format!("use one of {}", Algorithm::NAMES.join(", ")),
        };
        let message = format!("unknown algorithm '{}'", printable(written));
        self.error_with_hint(span, message, hint);
    }
}

fn is_number(mapping: &Mapping, key: &str) -> bool {
    let scalar = mapping.get(key).and_then(Node::scalar);
    matches!(scalar, Some(Scalar::Int(_)))
}
