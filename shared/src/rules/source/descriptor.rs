//! A file, and the descriptors in it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::sync::Arc;

use super::fields::{FileReader, SEVERAL_LIMITS, misspelt};
use super::schema::{Place, service_section};
use crate::rules::compile::DEPTH_MAX;
use crate::rules::pattern::has_wildcard;
use crate::rules::rule::Rule;
use crate::yaml::{Document, Mapping, Node, Span, printable};

/// What a file holds.
#[derive(Debug)]
pub(super) struct File {
    pub(super) domain: Arc<str>,
    /// The domain's name.
    pub(super) span: Span,
    pub(super) descriptors: Vec<Descriptor>,
}

/// One descriptor as it is written.
#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) key: Arc<str>,
    pub(super) value: Option<Arc<str>>,
    /// Its key.
    pub(super) span: Span,
    /// The line it begins on.
    pub(super) line: u32,
    pub(super) share: bool,
    pub(super) metric_value: bool,
    /// Its limits.
    pub(super) rules: Vec<Rule>,
    /// Names its rules replace, and where they are written.
    pub(super) replaces: Vec<(Arc<str>, Span)>,
    pub(super) children: Vec<Self>,
}

impl FileReader<'_> {
    /// Reads a file; `None` when it has no domain whose rules could be used.
    pub(super) fn file(&mut self, document: &Document) -> Option<File> {
        if let Some(span) = document.next_document() {
            self.warn(
                span,
                "only the first document of a file is read; this one is ignored",
                "put it into a file of its own",
            );
        }
        let Some(root) = document.root().filter(|root| !root.is_null()) else {
            self.refuse_missing_domain(self.source().span_of(0..0));
            return None;
        };
        if let Some(section) = root.as_mapping().and_then(service_section) {
            self.error_with_hint(
                root.span(),
                format!("this is a service file of meshd, not a file of rules: it has the section '{section}'"),
                format!("`meshd --check --config {}` checks it", self.source().name()),
            );
            return None;
        }
        let top = self.mapping(root, "the top of a rule file", Place::Top)?;
        let name = self.text(top, "domain");
        if name.is_empty() {
            match top.get("domain") {
                Some(node) if is_empty(node) => {
                    self.error(node.span(), "config file cannot have empty domain");
                }
                // Of another type, or with another name: a problem already.
                Some(_) => {}
                None if misspelt(top, Place::Top, "domain") => {}
                None => self.refuse_missing_domain(root.span()),
            }
        }
        let domain = self.shared(name);
        let span = top.get("domain").unwrap_or(root).span();
        self.path.clear();
        self.path.push_str(&domain);
        let descriptors = self.descriptors(top);
        (!domain.is_empty()).then_some(File {
            domain,
            span,
            descriptors,
        })
    }

    fn refuse_missing_domain(&mut self, span: Span) {
        self.error_with_hint(
            span,
            "config file cannot have empty domain",
            "add a line 'domain: NAME'",
        );
    }

    fn descriptors(&mut self, mapping: &Mapping) -> Vec<Descriptor> {
        let elements = self.list(mapping, "descriptors");
        let mut descriptors = Vec::with_capacity(elements.len());
        for element in elements {
            if let Some(mapping) = element.as_mapping() {
                descriptors.extend(self.descriptor(element, mapping));
            }
        }
        // On the first level other files may have a say.
        if self.depth > 0 {
            self.check_siblings(&descriptors);
        }
        descriptors
    }

    fn descriptor(&mut self, node: &Node, mapping: &Mapping) -> Option<Descriptor> {
        self.mapping(node, "a descriptor", Place::Descriptor);
        let key_span = mapping.get("key").unwrap_or(node).span();
        let (key, value) = (self.text(mapping, "key"), self.text(mapping, "value"));
        let has_key = mapping.get("key").is_some_and(|key| !is_empty(key));
        if !has_key && !misspelt(mapping, Place::Descriptor, "key") {
            self.error(key_span, "descriptor has empty key");
        }
        let outer_len = self.path.len();
        self.path.push('.');
        self.path.push_str(&composite(key, value));
        let limits = self.limits(node, mapping);
        let descriptor = Descriptor {
            key: self.shared(key),
            value: (!value.is_empty()).then(|| self.shared(value)),
            span: key_span,
            line: node.span().line(),
            share: self.share(mapping, key, value),
            metric_value: self.flag(mapping, "value_to_metric"),
            rules: limits.rules,
            replaces: limits.replaces,
            children: self.children(node, mapping),
        };
        self.path.truncate(outer_len);
        (!descriptor.key.is_empty()).then_some(descriptor)
    }

    fn children(&mut self, node: &Node, mapping: &Mapping) -> Vec<Descriptor> {
        if self.depth + 1 >= DEPTH_MAX
            && mapping
                .get("descriptors")
                .is_some_and(|list| !list.is_null())
        {
            self.error(
                node.span(),
                format!("descriptors are nested deeper than {DEPTH_MAX} levels"),
            );
            return Vec::new();
        }
        self.depth += 1;
        let children = self.descriptors(mapping);
        self.depth -= 1;
        children
    }

    fn share(&mut self, mapping: &Mapping, key: &str, value: &str) -> bool {
        let share = self.flag(mapping, "share_threshold");
        if share && !has_wildcard(key) && !has_wildcard(value) {
            let span = mapping
                .get("share_threshold")
                .map(Node::span)
                .unwrap_or_default();
            let key = printable(&composite(key, value));
            self.error(
                span,
                format!(
                    "share_threshold can only be used with wildcard values (containing '*'), but found key '{key}'"
                ),
            );
        }
        share
    }

    /// A problem for every descriptor that repeats one before it.
    fn check_siblings(&mut self, descriptors: &[Descriptor]) {
        let mut seen = HashMap::with_capacity(descriptors.len());
        for descriptor in descriptors {
            match seen.entry((&descriptor.key, &descriptor.value)) {
                Entry::Vacant(place) => {
                    place.insert(descriptor.span.line());
                }
                Entry::Occupied(first) => {
                    let message = duplicate_message(&self.path, descriptor);
                    match first.get() {
                        // There are no lines, and the message names both.
                        0 => self.error(descriptor.span, message),
                        line => {
                            let hint = first_one(format!("on line {line}"), descriptor);
                            self.error_with_hint(descriptor.span, message, hint);
                        }
                    }
                }
            }
        }
    }
}

/// Whether a value is there but says nothing.
pub(super) fn is_empty(node: &Node) -> bool {
    node.is_null() || node.text() == Some("")
}

/// How a descriptor that is there twice is reported; `path` is that of the level it is on.
pub(super) fn duplicate_message(path: &str, descriptor: &Descriptor) -> String {
    let key = composite(
        &descriptor.key,
        descriptor.value.as_deref().unwrap_or_default(),
    );
    format!(
        "duplicate descriptor composite key '{}.{}'",
        printable(path),
        printable(&key)
    )
}

/// Where the descriptor is that another one repeats, and what to do when a second limit is meant by it.
pub(super) fn first_one(place: impl Display, descriptor: &Descriptor) -> String {
    if descriptor.rules.is_empty() {
        format!("the first one is {place}")
    } else {
        format!("the first one is {place}; {SEVERAL_LIMITS}")
    }
}

/// A descriptor's key and value as messages and metrics show them.
fn composite(key: &str, value: &str) -> String {
    if value.is_empty() {
        key.to_owned()
    } else {
        format!("{key}_{value}")
    }
}
