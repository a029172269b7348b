//! `hivemind`, within a limit: what envoyproxy/ratelimit does not know.

use super::fields::FileReader;
use super::schema::Place;
use crate::rules::rule::{Algorithm, RuleLimit};
use crate::yaml::{Mapping, Node, closest, printable};

/// What a limit asks for beyond the reference.
pub(super) struct Extension {
    pub(super) algorithm: Algorithm,
    pub(super) count_denied: bool,
}

impl Default for Extension {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::FixedWindow,
            count_denied: true,
        }
    }
}

impl FileReader<'_> {
    /// Reads the block of a limit that allows `amount`.
    pub(super) fn extension(&mut self, limit: &Mapping, amount: Option<RuleLimit>) -> Extension {
        let Some(node) = limit.get("hivemind").filter(|node| !node.is_null()) else {
            return Extension::default();
        };
        let Some(mapping) = self.mapping(node, "'hivemind'", Place::Extension) else {
            return Extension::default();
        };
        if amount == Some(RuleLimit::Unlimited) {
            let message = "'hivemind' does nothing where there is no limit";
            self.warn(node.span(), message, "leave it out, or 'unlimited'");
        }
        let algorithm = self.algorithm(mapping);
        let asked = mapping.get("count_denied").filter(|it| !it.is_null());
        let count_denied = match (algorithm, asked) {
            (Algorithm::FixedWindow, None) => true,
            (Algorithm::SlidingWindow, None) => false,
            (Algorithm::FixedWindow, Some(_)) => self.flag(mapping, "count_denied"),
            (Algorithm::SlidingWindow, Some(asked)) => {
                if self.flag(mapping, "count_denied") {
                    self.error_with_hint(
                        asked.span(),
                        "a sliding window never counts what it denied",
                        "leave out 'count_denied', or write false",
                    );
                }
                false
            }
        };
        Extension {
            algorithm,
            count_denied,
        }
    }

    fn algorithm(&mut self, mapping: &Mapping) -> Algorithm {
        let written = self.text(mapping, "algorithm");
        let known = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == written);
        if known.is_none() && !written.is_empty() {
            let span = mapping.get("algorithm").map(Node::span).unwrap_or_default();
            let names = || Algorithm::ALL.into_iter().map(Algorithm::name);
            let hint = match closest(written, names()) {
                Some(meant) => format!("did you mean '{meant}'?"),
                None => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("unknown algorithm '{}'", printable(written));
            self.error_with_hint(span, message, hint);
        }
        known.unwrap_or_default()
    }
}
