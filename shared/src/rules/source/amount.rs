//! How much a limit allows, in which time: `unit`, `unit_multiplier`, `requests_per_unit`, `unlimited`.

use super::fields::{FileReader, misspelt};
use super::schema::Place;
use crate::rules::rule::RuleLimit;
use crate::window::{Period, Unit};
use crate::yaml::{Mapping, Node, Span, closest, printable};

impl FileReader<'_> {
    /// How much is allowed; `None` when it cannot be told.
    pub(super) fn amount(&mut self, node: &Node, mapping: &Mapping) -> Option<RuleLimit> {
        let written = self.text(mapping, "unit");
        let multiplier = self.number(mapping, "unit_multiplier");
        let requests_per_unit = self.number(mapping, "requests_per_unit");
        let unlimited = self.flag(mapping, "unlimited");
        let unit = Unit::from_name(written);
        let span = mapping.get("unit").unwrap_or(node).span();
        if unlimited {
            return self.unlimited(span, written, unit);
        }
        let Some(unit) = unit else {
            if !misspelt(mapping, Place::RateLimit, "unit") {
                self.refuse_unit(span, written);
            }
            return None;
        };
        let period = match Period::new(unit, multiplier.unwrap_or(1)) {
            Ok(period) => period,
            Err(error) => {
                let at = mapping.get("unit_multiplier").unwrap_or(node).span();
                let message = format!("invalid unit_multiplier: {error}");
                let most = Period::multiplier_max(unit);
                self.error_with_hint(at, message, format!("write a number from 1 to {most}"));
                return None;
            }
        };
        if requests_per_unit.is_none() && !misspelt(mapping, Place::RateLimit, "requests_per_unit")
        {
            self.warn(
                node.span(),
                "without 'requests_per_unit' the limit is 0: every request is refused",
                "add 'requests_per_unit', 0 if that is what you want",
            );
        }
        Some(RuleLimit::Limited {
            requests_per_unit: requests_per_unit.unwrap_or_default(),
            period,
        })
    }

    fn unlimited(&mut self, span: Span, written: &str, unit: Option<Unit>) -> Option<RuleLimit> {
        if unit.is_some() {
            let hint = "leave out 'unit', or 'unlimited'";
            self.error_with_hint(
                span,
                "should not specify rate limit unit when unlimited",
                hint,
            );
            return None;
        }
        if !written.is_empty() {
            let message = format!(
                "'{}' is no unit; it is ignored, since there is no limit",
                printable(written)
            );
            self.warn(span, message, "leave out 'unit'");
        }
        Some(RuleLimit::Unlimited)
    }

    fn refuse_unit(&mut self, span: Span, written: &str) {
        let units = || Unit::ALL.into_iter().map(Unit::name);
        let hint = match closest(written, units()) {
            Some(meant) => format!("did you mean '{meant}'?"),
            None => format!("use one of {}", units().collect::<Vec<_>>().join(", ")),
        };
        self.error_with_hint(
            span,
            format!("invalid rate limit unit '{}'", printable(written)),
            hint,
        );
    }
}
