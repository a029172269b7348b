//! Domains, each from one file or, merged, from several.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::descriptor::{Descriptor, File, duplicate_message, first_one};
use super::fields::place;
use crate::rules::compile::{Draft, DraftNode};
use crate::rules::pattern::{Pattern, has_wildcard};
use crate::rules::rule::Origin;
use crate::rules::set::{Parent, number};
use crate::yaml::{Problem, Problems, Source, Span, printable};

/// Most names that a misspelt one is compared with.
const SUGGESTED_FROM_MAX: usize = 1_000;

/// Most patterns of one level that later ones are compared with.
const COVERS_MAX: usize = 100;

/// All domains read so far, in order.
pub(super) struct Domains<'a> {
    merge: bool,
    list: Vec<Domain<'a>>,
    places: HashMap<Arc<str>, usize>,
}

struct Domain<'a> {
    name: Arc<str>,
    /// Where it was named first.
    first: (&'a Source, Span),
    descriptors: Vec<(&'a Source, Descriptor)>,
}

impl<'a> Domains<'a> {
    pub(super) fn new(merge: bool) -> Self {
        Self {
            merge,
            list: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Adds what a file holds.
    pub(super) fn add(&mut self, source: &'a Source, file: File, problems: &mut Problems) {
        let position = match self.places.entry(Arc::clone(&file.domain)) {
            Entry::Vacant(slot) => {
                self.list.push(Domain {
                    name: Arc::clone(&file.domain),
                    first: (source, file.span),
                    descriptors: Vec::new(),
                });
                *slot.insert(self.list.len() - 1)
            }
            Entry::Occupied(slot) => *slot.get(),
        };
        let Some(domain) = self.list.get_mut(position) else {
            return;
        };
        let (first_source, first_span) = domain.first;
        if !self.merge && !std::ptr::eq(first_source, source) {
            let name = printable(&file.domain);
            problems.push(
                Problem::new(source, file.span, format!("duplicate domain '{name}' in config file")).with_hint(
                    format!(
                        "it is in {} already; rate_limiting.merge_domain_config (hivectl: --merge-domains) allows several files for one domain",
                        place(first_source, first_span)
                    ),
                ),
            );
            return;
        }
        domain.descriptors.extend(
            file.descriptors
                .into_iter()
                .map(|descriptor| (source, descriptor)),
        );
    }

    /// What can only be told when all files are read: descriptors that are there twice on the first
    /// level of a domain.
    pub(super) fn check_siblings(&self, problems: &mut Problems) {
        for domain in &self.list {
            let mut seen: HashMap<_, (&Source, Span)> = HashMap::new();
            for (source, descriptor) in &domain.descriptors {
                match seen.entry((&descriptor.key, &descriptor.value)) {
                    Entry::Vacant(slot) => {
                        slot.insert((source, descriptor.span));
                    }
                    Entry::Occupied(first) => {
                        let (first_source, span) = first.get();
                        let first = format!("at {}", place(first_source, *span));
                        let hint = first_one(first, descriptor);
                        let message = duplicate_message(&domain.name, descriptor);
                        problems
                            .push(Problem::new(source, descriptor.span, message).with_hint(hint));
                    }
                }
            }
        }
    }

    /// A warning for every pattern that can match nothing, because one before it covers all it covers.
    pub(super) fn check_reach(&self, problems: &mut Problems) {
        for domain in &self.list {
            let top = domain
                .descriptors
                .iter()
                .map(|(source, descriptor)| (*source, descriptor));
            let mut levels: Vec<Vec<(&Source, &Descriptor)>> = vec![top.collect()];
            while let Some(level) = levels.pop() {
                check_level_reach(&level, problems);
                for (source, descriptor) in level {
                    if !descriptor.children.is_empty() {
                        levels.push(
                            descriptor
                                .children
                                .iter()
                                .map(|child| (source, child))
                                .collect(),
                        );
                    }
                }
            }
        }
    }

    /// A warning for every name in `replaces` that no rule of the domain has: it does nothing, and is
    /// most likely misspelt.
    pub(super) fn check_replaced_names(&self, problems: &mut Problems) {
        for domain in &self.list {
            let mut names = HashSet::new();
            let mut replaced = Vec::new();
            let mut pending: Vec<(&Source, &Descriptor)> = domain
                .descriptors
                .iter()
                .map(|(source, descriptor)| (*source, descriptor))
                .collect();
            while let Some((source, descriptor)) = pending.pop() {
                pending.extend(descriptor.children.iter().map(|child| (source, child)));
                names.extend(descriptor.rules.iter().map(|rule| &rule.name));
                replaced.extend(
                    descriptor
                        .replaces
                        .iter()
                        .map(|(name, span)| (source, name, *span)),
                );
            }
            for (source, name, span) in replaced
                .into_iter()
                .filter(|(_, name, _)| !names.contains(name))
            {
                let message = format!("no rule of this domain is named '{}'", printable(name));
                let hint = match crate::yaml::closest(
                    name,
                    names.iter().take(SUGGESTED_FROM_MAX).map(|name| &***name),
                ) {
                    Some(meant) if !meant.is_empty() => {
                        format!("did you mean '{}'?", printable(meant))
                    }
                    _ => "as it is, nothing is replaced".to_owned(),
                };
                problems.push(
                    Problem::new(source, span, message)
                        .with_hint(hint)
                        .as_warning(),
                );
            }
        }
    }

    /// Everything in the form that is compiled, and where each descriptor of it is written.
    pub(super) fn into_draft(self) -> (Draft, Vec<Origin>) {
        let mut draft = Draft::default();
        let mut origins = Vec::new();
        for domain in self.list {
            let parent = Parent::Domain(number(draft.domains.len()));
            draft.domains.push(domain.name);
            for (source, descriptor) in domain.descriptors {
                let file = source.name();
                add_node(&mut draft.nodes, &mut origins, file, parent, descriptor);
            }
        }
        (draft, origins)
    }
}

fn check_level_reach(level: &[(&Source, &Descriptor)], problems: &mut Problems) {
    let mut before: Vec<(&Source, &Descriptor, [Pattern; 2])> = Vec::new();
    for (source, descriptor) in level {
        let value = descriptor.value.as_deref().unwrap_or("*");
        if !has_wildcard(&descriptor.key)
            && descriptor
                .value
                .as_deref()
                .is_none_or(|value| !has_wildcard(value))
        {
            continue;
        }
        // The stars of a text are covered by stars alone, so what covers the text covers all it stands for.
        let cover = before.iter().find(|(_, _, [key, of_value])| {
            key.covers(descriptor.key.as_bytes()) && of_value.covers(value.as_bytes())
        });
        if let Some((first_source, first, _)) = cover {
            let message = format!(
                "'{}' covers everything that this pattern covers, and stands before it: this one never matches",
                printable(first.value.as_deref().unwrap_or(&first.key)),
            );
            let hint = format!(
                "put it before {}:{}; patterns are tried in file order",
                first_source.name(),
                first.span.line()
            );
            problems.push(
                Problem::new(source, descriptor.span, message)
                    .with_hint(hint)
                    .as_warning(),
            );
        }
        if before.len() < COVERS_MAX {
            let pattern = |text: &str| Pattern::new(Arc::from(text));
            before.push((
                source,
                descriptor,
                [pattern(&descriptor.key), pattern(value)],
            ));
        }
    }
}

fn add_node(
    nodes: &mut Vec<DraftNode>,
    origins: &mut Vec<Origin>,
    file: &Arc<str>,
    parent: Parent,
    descriptor: Descriptor,
) {
    let own = Parent::Node(number(nodes.len()));
    origins.push(Origin {
        file: Arc::clone(file),
        line: descriptor.line,
    });
    nodes.push(DraftNode {
        parent,
        key: descriptor.key,
        value: descriptor.value,
        share: descriptor.share,
        metric_value: descriptor.metric_value,
        rules: descriptor.rules,
    });
    for child in descriptor.children {
        add_node(nodes, origins, file, own, child);
    }
}
