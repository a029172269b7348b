//! `rate_limit` and the flags beside it.

use std::sync::Arc;

use super::descriptor::is_empty;
use super::fields::{FileReader, misspelt};
use super::schema::Place;
use crate::rules::rule::{self, Origin, Rule, RuleLimit};
use crate::window::Unit;
use crate::yaml::{Mapping, Node, Span, closest, printable};

/// What a descriptor says about limits.
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// The rule, if there is one and nothing is wrong with it.
    pub(super) rule: Option<Box<Rule>>,
    /// Names it replaces, and where they are written.
    pub(super) replaces: Vec<(Arc<str>, Span)>,
}

impl FileReader<'_> {
    /// Reads the limit of a descriptor.
    pub(super) fn limit(&mut self, node: &Node, descriptor: &Mapping) -> Limit {
        let shadow_mode = self.flag(descriptor, "shadow_mode");
        let quota_mode = self.flag(descriptor, "quota_mode");
        let detailed_metric = self.flag(descriptor, "detailed_metric");
        let metadata = self.metadata(descriptor);
        let Some(limit) = descriptor
            .get("rate_limit")
            .filter(|limit| !limit.is_null())
        else {
            for (key, is_set) in [
                ("shadow_mode", shadow_mode),
                ("quota_mode", quota_mode),
                ("detailed_metric", detailed_metric),
                ("metadata", metadata.is_some()),
            ] {
                self.warn_if_idle(descriptor, key, is_set);
            }
            return Limit::default();
        };
        let Some(mapping) = self.mapping(limit, "'rate_limit'", Place::RateLimit) else {
            return Limit::default();
        };
        let name = self.text(mapping, "name");
        let name = self.shared(name);
        let replaces = self.replaces(mapping, &name);
        let amount = self.amount(limit, mapping);
        let rule = amount.map(|limit| {
            Box::new(Rule {
                limit,
                name,
                replaces: replaces.iter().map(|(name, _)| Arc::clone(name)).collect(),
                shadow_mode,
                quota_mode,
                detailed_metric,
                metadata,
                stats_index: 0,
                origin: Origin {
                    file: Arc::clone(self.source().name()),
                    line: node.span().line(),
                },
                place: rule::Place::default(),
            })
        });
        Limit { rule, replaces }
    }

    /// How much is allowed; `None` when it cannot be told.
    fn amount(&mut self, node: &Node, mapping: &Mapping) -> Option<RuleLimit> {
        let written = self.text(mapping, "unit");
        let requests_per_unit = self.number(mapping, "requests_per_unit");
        let unlimited = self.flag(mapping, "unlimited");
        let unit = Unit::from_name(written);
        let span = mapping.get("unit").unwrap_or(node).span();
        if unlimited {
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
            return Some(RuleLimit::Unlimited);
        }
        let Some(unit) = unit else {
            if !misspelt(mapping, Place::RateLimit, "unit") {
                self.refuse_unit(span, written);
            }
            return None;
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
            unit,
        })
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

    fn replaces(&mut self, limit: &Mapping, own_name: &str) -> Vec<(Arc<str>, Span)> {
        let mut names = Vec::new();
        for element in self.list(limit, "replaces") {
            if element.as_mapping().is_none() {
                continue;
            }
            let Some(mapping) = self.mapping(element, "an element of 'replaces'", Place::Replaces)
            else {
                continue;
            };
            let span = mapping.get("name").unwrap_or(element).span();
            let name = self.text(mapping, "name");
            if name.is_empty() {
                if mapping.get("name").is_none_or(is_empty) {
                    self.error(span, "should not have an empty replaces entry");
                }
            } else if name == own_name {
                self.error(span, "replaces should not contain name of same descriptor");
            } else {
                names.push((self.shared(name), span));
            }
        }
        names
    }

    /// Warns of a key that does something only where there is a limit.
    fn warn_if_idle(&mut self, descriptor: &Mapping, key: &str, is_set: bool) {
        if let Some(node) = descriptor.get(key).filter(|_| is_set) {
            let message = format!("'{key}' does nothing in a descriptor without 'rate_limit'");
            self.warn(
                node.span(),
                message,
                "it is not passed on to the descriptors below",
            );
        }
    }
}
