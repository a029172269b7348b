//! Rules from files or from a region, for the commands that look at them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hivemind_shared::descriptor::text::{entry, key};
use hivemind_shared::region::{PublishError, RegionOptions, RegionView, check_rules_fit};
use hivemind_shared::rules::files::{self, Contents};
use hivemind_shared::rules::source::{self, Options as ParseOptions};
use hivemind_shared::rules::{Algorithm, NodeId, Origin, Rule, RuleSet};
use hivemind_shared::yaml::{Problems, escaped, printable};

use crate::failure::Failure;
use crate::output::note;
use crate::text;

/// How the files of one path are read. A command that writes rules into a pipe has its time.
const READING: files::Options = files::Options {
    time_max: Duration::from_secs(60),
    streams: true,
};

/// The option of every command that reads rules files.
#[derive(Debug, clap::Args)]
pub(crate) struct MergeOption {
    /// Several files may hold rules of one domain, as with `rate_limiting.merge_domain_config` of meshd
    #[arg(long)]
    pub(crate) merge_domains: bool,
}

/// Rules, and where they are written.
#[derive(Debug)]
pub(crate) struct Rulebook {
    pub(crate) rules: RuleSet,
    /// Of every descriptor; published rules know it only of those with a limit.
    origins: Vec<Origin>,
}

/// Rules that were read from files.
#[derive(Debug)]
pub(crate) struct FromFiles {
    pub(crate) book: Rulebook,
    pub(crate) warnings: Problems,
    pub(crate) files: usize,
}

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableRules {
    /// Something is wrong with them.
    #[error("{0}hivectl: {count} in the rules", count = text::count(.0.len(), "problem"))]
    Wrong(Problems),
    /// Files cannot be read, and nothing is wrong in those that can.
    #[error("{0}hivectl: {count} with the files", count = text::count(.0.len(), "problem"))]
    Unreadable(Problems),
}

impl UnusableRules {
    /// All there is to say.
    pub(crate) fn problems(&self) -> &Problems {
        match self {
            Self::Wrong(problems) | Self::Unreadable(problems) => problems,
        }
    }
}

/// Reads rules files and directories as one configuration.
pub(crate) fn read(paths: &[PathBuf], merge: &MergeOption) -> Result<FromFiles, UnusableRules> {
    let mut problems = Problems::default();
    let mut unreadable = Problems::default();
    let mut sources = Vec::new();
    for path in paths {
        let Contents {
            files,
            problems: missing,
            warnings,
            ..
        } = files::read(path, READING);
        unreadable.append(missing);
        problems.append(warnings);
        for file in files {
            match file.source() {
                Ok(source) => sources.push(source),
                Err(problem) => problems.push(problem),
            }
        }
    }
    let options = ParseOptions {
        merge_domains: merge.merge_domains,
        ..ParseOptions::default()
    };
    let parsed = source::parse(&sources, &options);
    let book = match parsed {
        Ok(loaded) => {
            problems.append(loaded.warnings);
            Some(Rulebook {
                rules: loaded.rules,
                origins: loaded.origins,
            })
        }
        Err(more) => {
            problems.append(more);
            None
        }
    };
    let are_wrong = problems.has_errors();
    let are_missing = unreadable.has_errors();
    problems.append(unreadable);
    match book {
        Some(book) if !are_wrong && !are_missing => Ok(FromFiles {
            book,
            warnings: problems,
            files: sources.len(),
        }),
        // What is wrong is said first: it stays wrong when the others can be read.
        Some(_) if !are_wrong => Err(UnusableRules::Unreadable(problems)),
        _ => Err(UnusableRules::Wrong(problems)),
    }
}

impl FromFiles {
    /// Shows what the author of the files should look at, beside the result.
    pub(crate) fn show_warnings(&self) {
        // A warning nobody can read is no reason to fail.
        let _ = write!(io::stderr().lock(), "{}", self.warnings);
    }

    /// Which settings of meshd the rules need for all they say, and the rule that needs it.
    pub(crate) fn needed_settings(&self) -> Option<(&Origin, &'static str)> {
        let with_metadata = |(_, rule): &(_, &Rule)| rule.metadata.is_some();
        let (_, rule) = self.book.rules.rules().find(with_metadata)?;
        let setting =
            "answers carry 'metadata' only with `rate_limiting.response_dynamic_metadata: true`";
        Some((&rule.origin, setting))
    }
}

impl FromFiles {
    /// Says what rules take of a region, where its default has no room for them.
    pub(crate) fn show_needed_room(&self) {
        let default = RegionOptions::default().rules_bytes;
        if let Err(PublishError::TooLarge {
            bytes,
            needed_bytes,
            ..
        }) = check_rules_fit(&self.book.rules, default)
        {
            note(format_args!(
                "compiled, the rules take {bytes} bytes: meshd needs `region.rules_bytes: {needed_bytes}` or more (it \
                 has {default} by default)"
            ));
        }
    }
}

impl Rulebook {
    /// The rules in force in a region, and how often rules were published there.
    pub(crate) fn published(region: &RegionView, path: &Path) -> Result<(u64, Self), Failure> {
        let (generation, rules) = region.load_rules().map_err(|source| Failure::Published {
            path: path.to_owned(),
            source,
        })?;
        let origins = Vec::new();
        Ok((generation, Self { rules, origins }))
    }

    /// Where a descriptor is written, if that is known.
    pub(crate) fn origin(&self, node: NodeId) -> Option<&Origin> {
        let of_rule = || {
            let rule = self.rules.rule_node(node)?.rule?;
            Some(&self.rules.rule(rule)?.origin)
        };
        self.origins.get(node.index()).or_else(of_rule)
    }

    /// The same as text.
    pub(crate) fn place(&self, node: NodeId) -> String {
        self.origin(node).map(place).unwrap_or_default()
    }

    /// A descriptor as requests write it: `path=/api/*`, or `path`.
    pub(crate) fn name(&self, node: NodeId) -> String {
        let Some(node) = self.rules.rule_node(node) else {
            return String::new();
        };
        match node.value {
            Some(value) => entry(node.key, value),
            None => key(node.key),
        }
    }
}

/// A place in a file: `rules.yaml:3`.
pub(crate) fn place(origin: &Origin) -> String {
    format!("{}:{}", escaped(&origin.file), origin.line)
}

/// What a rule says besides how much it allows, as its keys are written.
pub(crate) fn settings(rule: &Rule) -> Vec<String> {
    let mut settings = Vec::new();
    if !rule.name.is_empty() {
        settings.push(format!("name {}", printable(&rule.name)));
    }
    if !rule.replaces.is_empty() {
        let names: Vec<String> = rule.replaces.iter().map(|name| printable(name)).collect();
        settings.push(format!("replaces {}", names.join(", ")));
    }
    if rule.algorithm != Algorithm::default() {
        settings.push(format!("algorithm {}", rule.algorithm.name()));
        if let Algorithm::TokenBucket { burst } = rule.algorithm {
            settings.push(format!("burst {burst}"));
        }
    } else if !rule.count_denied {
        settings.push("count_denied false".to_owned());
    }
    if let Some(debt) = rule.debt {
        settings.push(format!("debt {debt}"));
    }
    for (name, is_set) in [
        ("shadow_mode", rule.shadow_mode),
        ("quota_mode", rule.quota_mode),
        ("detailed_metric", rule.detailed_metric),
    ] {
        if is_set {
            settings.push(name.to_owned());
        }
    }
    if let Some(metadata) = &rule.metadata {
        settings.push(format!("metadata {}", printable(metadata)));
    }
    settings
}
