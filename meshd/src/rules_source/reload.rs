//! Bringing changed rules into force, and keeping the last good ones when they are broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hivemind_shared::bounded_file::FileKind;
use hivemind_shared::rules::files::{self, Contents, RulesFile};
use hivemind_shared::rules::{RuleSet, source};
use hivemind_shared::yaml::{Problem, Problems};
use tracing::{info, warn};

use super::death_notice;
use super::publish::{Publisher, RulesState, log_problems};
use crate::panics::PanicNotice;
use crate::region_owner::RegionOwner;
use crate::reload::{LastGood, Outcome, READ_TIME_MAX};
use crate::server::health::{Health, State};

/// Rules as they were read, with the files they came from.
#[derive(Clone, Debug)]
pub struct LoadedRules {
    /// The rules.
    pub rules: RuleSet,
    files: Arc<[RulesFile]>,
    /// What is in the directory beside them.
    skipped: Problems,
    options: source::Options,
}

impl LoadedRules {
    /// Those at `path` by now, if they say something else and are good. That others are broken is told by
    /// the first reload.
    pub(super) fn again(self, path: &Path) -> Self {
        let Fresh::Good(loaded, warnings) = fresh(path, self.options, &self.files) else {
            return self;
        };
        info!("the rules have changed since meshd was started");
        log_problems(&warnings);
        *loaded
    }
}

/// Reads and compiles the rules at `path`; beside them come warnings. A FIFO or a device is read as well.
///
/// # Errors
///
/// Every problem of every file.
pub fn load(path: &Path, options: source::Options) -> Result<(LoadedRules, Problems), Problems> {
    let contents = files::read(path, reading(true));
    if !contents.problems.is_empty() {
        return Err(contents.problems);
    }
    let (loaded, mut warnings) = compile(contents.files, contents.warnings, options)?;
    if loaded.files.iter().any(|file| file.is_stream) {
        let message =
            "this is no file: it is read once, and its rules stay until meshd is restarted";
        warnings.push(Problem::with_file(path.to_string_lossy(), message).as_warning());
    }
    Ok((loaded, warnings))
}

const fn reading(streams: bool) -> files::Options {
    files::Options {
        time_max: READ_TIME_MAX,
        streams,
    }
}

fn compile(
    files: Vec<RulesFile>,
    skipped: Problems,
    options: source::Options,
) -> Result<(LoadedRules, Problems), Problems> {
    let mut problems = Problems::default();
    let mut sources = Vec::with_capacity(files.len());
    for file in &files {
        match file.source() {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    match source::parse(&sources, &options) {
        Ok(loaded) if problems.is_empty() => {
            let mut warnings = skipped.clone();
            warnings.append(loaded.warnings);
            let rules = LoadedRules {
                rules: loaded.rules,
                files: files.into(),
                skipped,
                options,
            };
            Ok((rules, warnings))
        }
        Ok(_) => Err(problems),
        Err(more) => {
            problems.append(more);
            Err(problems)
        }
    }
}

/// What reading the rules again brought.
#[derive(Debug)]
pub(crate) enum Fresh {
    /// What is in force, beside what was skipped.
    Unchanged(Problems),
    /// Other rules, and warnings.
    Good(Box<LoadedRules>, Problems),
    /// The rules are broken.
    Broken(Problems),
    /// The rules cannot be read now.
    Unreadable(Problems),
}

/// Reads the rules at `path` again, while those of `in_force` are.
fn fresh(path: &Path, options: source::Options, in_force: &[RulesFile]) -> Fresh {
    if in_force.iter().any(|file| file.is_stream) && !is_followed(path) {
        return Fresh::Unchanged(Problems::default());
    }
    let Contents {
        files,
        problems,
        warnings,
        is_transient,
    } = files::read(path, reading(false));
    if is_transient {
        return Fresh::Unreadable(problems);
    }
    if !problems.is_empty() {
        return Fresh::Broken(problems);
    }
    if *files == *in_force {
        return Fresh::Unchanged(warnings);
    }
    match compile(files, warnings, options) {
        Ok((loaded, warnings)) => Fresh::Good(Box::new(loaded), warnings),
        Err(problems) => Fresh::Broken(problems),
    }
}

/// Whether something can be read there again and again.
fn is_followed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !FileKind::of(&metadata).is_stream())
}

/// Brings rules into force that were read again.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    publisher: Publisher,
    health: Health,
    /// The files of the rules in force.
    in_force: Arc<[RulesFile]>,
    /// What was skipped when they were read, which was told.
    skipped: Problems,
    /// How they are read.
    options: source::Options,
}

impl Reloader {
    /// A reloader for the rules at `path`, of which `loaded` are in force already.
    pub fn new(
        path: PathBuf,
        loaded: LoadedRules,
        owner: Arc<RegionOwner>,
        health: Health,
    ) -> Self {
        health.update(|components| components.rules = State::Up);
        Self {
            path,
            publisher: Publisher::of_loaded(owner, health.clone(), names(&loaded.files)),
            health,
            options: loaded.options,
            in_force: loaded.files,
            skipped: loaded.skipped,
        }
    }

    /// What is in force, for those who show it.
    pub fn state(&self) -> Arc<RulesState> {
        self.publisher.state()
    }

    fn publish(&mut self, loaded: LoadedRules, warnings: &Problems) -> Outcome {
        match self
            .publisher
            .publish(&loaded.rules, names(&loaded.files), warnings)
        {
            Ok(_) => {
                self.in_force = loaded.files;
                self.skipped = loaded.skipped;
                Outcome::Published
            }
            Err(error) => {
                let path = self.path.to_string_lossy();
                let problem = Problem::with_file(path, error.to_string());
                self.publisher.reject(&problem.into());
                Outcome::Rejected
            }
        }
    }
}

impl LastGood for Reloader {
    type Read = Fresh;
    const NAME: &'static str = "rules";

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reading(&self) -> Box<dyn FnOnce() -> Fresh + Send> {
        let (path, options) = (self.path.clone(), self.options);
        let in_force = Arc::clone(&self.in_force);
        Box::new(move || fresh(&path, options, &in_force))
    }

    fn apply(&mut self, read: Fresh) -> Outcome {
        match read {
            Fresh::Unchanged(skipped) => {
                self.publisher.unchanged();
                if skipped.to_string() != self.skipped.to_string() {
                    log_problems(&skipped);
                    self.skipped = skipped;
                }
                Outcome::Unchanged
            }
            Fresh::Good(loaded, warnings) => self.publish(*loaded, &warnings),
            Fresh::Broken(problems) => {
                self.publisher.reject(&problems);
                Outcome::Rejected
            }
            Fresh::Unreadable(problems) => {
                self.publisher.unreadable(&problems);
                Outcome::Unreadable
            }
        }
    }

    fn is_overdue(&mut self, problem: &str) {
        let problem = Problem::with_file(self.path.to_string_lossy(), problem);
        self.publisher.unreadable(&problem.into());
    }

    fn report(&self, outcome: Outcome) {
        match outcome {
            // That may have been said long ago.
            Outcome::Rejected => warn!("rules read again as asked: they are broken"),
            Outcome::Unreadable => warn!("rules read again as asked: they cannot be read"),
            outcome => info!(?outcome, "rules read again as asked"),
        }
    }

    fn death_notice(&self) -> PanicNotice {
        death_notice(self.health.clone())
    }
}

/// The files as they are shown.
fn names(files: &[RulesFile]) -> Vec<String> {
    files
        .iter()
        .map(|file| file.path.to_string_lossy().into_owned())
        .collect()
}
