//! `rate_limit`, `rate_limits` and the flags beside them.

use std::sync::Arc;

use super::descriptor::is_empty;
use super::fields::{FileReader, SEVERAL_LIMITS};
use super::schema::Place;
use crate::rules::compile::LIMITS_MAX;
use crate::rules::rule::{self, Origin, Rule, RuleLimit};
use crate::yaml::{Mapping, Node, Span};

/// What a descriptor says about limits.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// The rules with which nothing is wrong.
    pub(super) rules: Vec<Rule>,
    /// Names they replace, and where they are written.
    pub(super) replaces: Vec<(Arc<str>, Span)>,
}

/// What stands beside the limits of a descriptor, and holds for each of them.
struct Beside {
    shadow_mode: bool,
    quota_mode: bool,
    detailed_metric: bool,
    metadata: Option<Arc<str>>,
}

impl FileReader<'_> {
    /// Reads the limits of a descriptor.
    pub(super) fn limits(&mut self, node: &Node, descriptor: &Mapping) -> Limits {
        let beside = Beside {
            shadow_mode: self.flag(descriptor, "shadow_mode"),
            quota_mode: self.flag(descriptor, "quota_mode"),
            detailed_metric: self.flag(descriptor, "detailed_metric"),
            metadata: self.metadata(descriptor),
        };
        let given = |key| descriptor.get(key).filter(|limit: &&Node| !limit.is_null());
        let mut limits = Limits::default();
        match (given("rate_limit"), given("rate_limits")) {
            (None, None) => self.warn_of_idle_flags(descriptor, &beside),
            (Some(limit), None) if limit.as_sequence().is_some() => self.error_with_hint(
                limit.span(),
                "'rate_limit' must be a mapping, not a list",
                SEVERAL_LIMITS,
            ),
            (Some(limit), None) => self.limit(node, limit, "'rate_limit'", &beside, &mut limits),
            (None, Some(list)) => self.limit_list(descriptor, list, &beside, &mut limits),
            (Some(_), Some(list)) => self.error_with_hint(
                list.span(),
                "a descriptor has either 'rate_limit' or 'rate_limits'",
                "put all limits into 'rate_limits'",
            ),
        }
        limits
    }

    /// Reads several limits of one descriptor.
    fn limit_list(
        &mut self,
        descriptor: &Mapping,
        list: &Node,
        beside: &Beside,
        limits: &mut Limits,
    ) {
        let elements = self.list(descriptor, "rate_limits");
        if elements.len() > LIMITS_MAX {
            let found = elements.len();
            let message = format!("{found} limits in one descriptor, more than {LIMITS_MAX}");
            self.error(list.span(), message);
            return;
        }
        for element in elements {
            if element.as_mapping().is_some() {
                let what = "an element of 'rate_limits'";
                self.limit(element, element, what, beside, limits);
            }
        }
        let alone = elements.len() < 2;
        if !alone
            && limits
                .rules
                .iter()
                .any(|rule| rule.limit == RuleLimit::Unlimited)
        {
            self.error_with_hint(
                list.span(),
                "'unlimited' beside other limits says nothing",
                "leave the unlimited one out",
            );
        }
    }

    /// Reads one limit; `node` is where it is said to stand.
    fn limit(
        &mut self,
        node: &Node,
        limit: &Node,
        what: &str,
        beside: &Beside,
        limits: &mut Limits,
    ) {
        let Some(mapping) = self.mapping(limit, what, Place::RateLimit) else {
            return;
        };
        let name = self.text(mapping, "name");
        let name = self.shared(name);
        let replaces = self.replaces(mapping, &name);
        let amount = self.amount(limit, mapping);
        let extension = self.extension(mapping, amount);
        if let Some(limit) = amount {
            limits.rules.push(Rule {
                limit,
                name,
                replaces: replaces.iter().map(|(name, _)| Arc::clone(name)).collect(),
                algorithm: extension.algorithm,
                count_denied: extension.count_denied,
                debt: extension.debt,
                shadow_mode: beside.shadow_mode,
                quota_mode: beside.quota_mode,
                detailed_metric: beside.detailed_metric,
                metadata: beside.metadata.clone(),
                stats_index: 0,
                origin: Origin {
                    file: Arc::clone(self.source().name()),
                    line: node.span().line(),
                },
                place: rule::Place::default(),
            });
        }
        limits.replaces.extend(replaces);
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

    /// Warns of keys that do something only where there is a limit.
    fn warn_of_idle_flags(&mut self, descriptor: &Mapping, beside: &Beside) {
        for (key, is_set) in [
            ("shadow_mode", beside.shadow_mode),
            ("quota_mode", beside.quota_mode),
            ("detailed_metric", beside.detailed_metric),
            ("metadata", beside.metadata.is_some()),
        ] {
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
}
