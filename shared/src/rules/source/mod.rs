//! Rules as they are written: the YAML of envoyproxy/ratelimit.
//!
//! One file holds one domain; [`parse`] reads any number of files together, because they are one
//! configuration: a domain may appear in only one of them (unless [`Options::merge_domains`] is set),
//! and if anything is wrong with one, none is used. Everything that is wrong is reported at once.
//!
//! ```yaml
//! domain: edge                        # required
//! descriptors:
//!   - key: remote_address             # required
//!     value: 10.*                     # optional; each * stands for zero or more characters
//!     rate_limit:                     # optional; without it a matched descriptor has no limit
//!       unit: minute                  # second, minute, hour, day, week, month or year
//!       requests_per_unit: 100        # 0 refuses everything
//!       unit_multiplier: 1            # windows of so many units
//!       unlimited: false              # instead of the two above
//!       name: internal
//!       replaces: [{name: default}]
//!       hivemind:                     # what envoyproxy/ratelimit does not know
//!         algorithm: fixed_window     # or sliding_window
//!         count_denied: true          # whether refused requests count
//!         debt: 100                   # what a cost that does not fit may take beyond the limit
//!     rate_limits: []                 # instead of rate_limit: several of them, all of which hold
//!     shadow_mode: false              # count, but never refuse
//!     quota_mode: false               # one of several quotas
//!     share_threshold: false          # one counter for everything that the pattern matches
//!     detailed_metric: false
//!     value_to_metric: false
//!     metadata: {team: edge}          # any mapping
//!     descriptors: []                 # the next level
//! ```
//!
//! Files that envoyproxy/ratelimit accepts are accepted and mean the same, with these exceptions:
//!
//! - A known key in a place where it would do nothing (`shadow_mode` within `rate_limit`) is an error.
//! - A pair written out always wins over one that `<<` merges in, wherever the merge stands.
//! - Keys and values are compared apart, see [`super`].
//!
//! What is accepted but hardly meant (a limit without a number, a key written twice, a second document
//! in a file) is a [warning](Loaded::warnings).

mod amount;
mod descriptor;
#[cfg(test)]
mod document_tests;
mod domains;
mod extension;
mod fields;
mod limit;
mod metadata;
mod schema;
#[cfg(test)]
mod tests;

use super::compile::Draft;
use super::near_limit::NearLimitRatio;
use super::rule::{Modes, Origin};
use super::set::RuleSet;
use crate::yaml::{Document, Limits, Problem, Problems, Source};
use domains::Domains;
use fields::FileReader;

pub use schema::SERVICE_SECTIONS;

/// What is not in the rule files themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether several files may hold rules of one domain. They are then one list, in the order of the
    /// files.
    pub merge_domains: bool,
    /// What holds for all of them.
    pub modes: Modes,
    /// When hits count as near a limit.
    pub near_limit_ratio: NearLimitRatio,
}

/// Rules that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The rules, compiled. Their statistics places are not assigned yet
    /// ([`assign_stats`](super::assign_stats)).
    pub rules: RuleSet,
    /// Where each descriptor is written, in file order: by [`NodeId::index`](super::NodeId::index).
    /// The rules themselves know it only of those that have a limit.
    pub origins: Vec<Origin>,
    /// What their author should look at.
    pub warnings: Problems,
}

/// Reads rule files, in the order in which wildcards are to be tried when domains are merged.
///
/// # Errors
///
/// All problems of all files, warnings included, if any of them is an error.
pub fn parse(sources: &[Source], options: &Options) -> Result<Loaded, Problems> {
    let mut reading = Reading::new(options);
    for source in sources {
        match crate::yaml::parse(source, &Limits::default()) {
            Ok(document) => reading.add(source, &document),
            Err(problem) => reading.problems.push(problem),
        }
    }
    reading.compile(sources.first())
}

/// Takes rules that were never text: each document is what a file of its source's name would hold
/// ([`Node::of_mapping`](crate::yaml::Node::of_mapping)), and is checked as one. Problems name the
/// source and the descriptor in place of a line.
///
/// # Errors
///
/// All problems of all documents, warnings included, if any of them is an error.
pub fn from_documents(
    documents: &[(Source, Document)],
    options: &Options,
) -> Result<Loaded, Problems> {
    let mut reading = Reading::new(options);
    for (source, document) in documents {
        reading.add(source, document);
    }
    reading.compile(documents.first().map(|(source, _)| source))
}

/// Rules while they are read.
struct Reading<'a> {
    domains: Domains<'a>,
    problems: Problems,
    options: Options,
}

impl<'a> Reading<'a> {
    fn new(options: &Options) -> Self {
        Self {
            domains: Domains::new(options.merge_domains),
            problems: Problems::default(),
            options: *options,
        }
    }

    fn add(&mut self, source: &'a Source, document: &Document) {
        let modes = self.options.modes;
        let file = FileReader::new(source, modes, &mut self.problems).file(document);
        if let Some(file) = file {
            self.domains.add(source, file, &mut self.problems);
        }
    }

    fn compile(self, first: Option<&Source>) -> Result<Loaded, Problems> {
        let Self {
            domains,
            mut problems,
            options,
        } = self;
        domains.check_siblings(&mut problems);
        domains.check_reach(&mut problems);
        domains.check_replaced_names(&mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        let (draft, origins) = domains.into_draft();
        let draft = Draft {
            modes: options.modes,
            near_limit_ratio: options.near_limit_ratio,
            ..draft
        };
        match super::compile::compile(draft) {
            Ok(rules) => Ok(Loaded {
                rules,
                origins,
                warnings: problems,
            }),
            Err(error) => {
                // Only the number of descriptors is not checked above, and that is about no single file.
                let files = first.map_or("rules", |source| source.name());
                problems.push(Problem::with_file(files, error.to_string()));
                Err(problems)
            }
        }
    }
}
