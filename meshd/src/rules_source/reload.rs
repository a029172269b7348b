//! Bringing changed rules into force, and keeping the last good ones when they are broken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hivemind_shared::rules::files::{self, RulesFile};
use hivemind_shared::rules::{RuleSet, source};
use hivemind_shared::yaml::{Problem, Problems};
use tracing::info;

use super::publish::{Publisher, RulesState, log_problems};
use crate::region_owner::RegionOwner;
use crate::server::health::{Health, State};

/// Rules as they were read, with the files they came from.
#[derive(Clone, Debug)]
pub struct LoadedRules {
    /// The rules.
    pub rules: RuleSet,
    files: Vec<RulesFile>,
    options: source::Options,
}

impl LoadedRules {
    /// Those at `path` by now, if they say something else and are good. That others are broken is told by
    /// the first [`Reloader::reload`].
    pub(super) fn again(self, path: &Path) -> Self {
        let (files, problems) = files::read(path);
        if !problems.is_empty() || files == self.files {
            return self;
        }
        let Ok((loaded, warnings)) = compile(files, self.options) else {
            return self;
        };
        info!("the rules have changed since meshd was started");
        log_problems(&warnings);
        loaded
    }
}

/// Reads and compiles the rules at `path`; beside them come warnings.
///
/// # Errors
///
/// Every problem of every file.
pub fn load(path: &Path, options: source::Options) -> Result<(LoadedRules, Problems), Problems> {
    let (files, problems) = files::read(path);
    if problems.is_empty() {
        compile(files, options)
    } else {
        Err(problems)
    }
}

fn compile(
    files: Vec<RulesFile>,
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
        Ok(loaded) if problems.is_empty() => Ok((
            LoadedRules {
                rules: loaded.rules,
                files,
                options,
            },
            loaded.warnings,
        )),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.append(more);
            Err(problems)
        }
    }
}

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The files say what they said before.
    Unchanged,
    /// Other rules are in force now.
    Published,
    /// The files are broken; the rules from before stay in force.
    Rejected,
}

/// Reads rules again and brings them into force.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    publisher: Publisher,
    /// The files of the rules in force.
    in_force: Vec<RulesFile>,
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
            publisher: Publisher::of_loaded(owner, health, names(&loaded.files)),
            options: loaded.options,
            in_force: loaded.files,
        }
    }

    /// Where the rules are read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in force, for those who show it.
    pub fn state(&self) -> Arc<RulesState> {
        self.publisher.state()
    }

    /// Reads the rules, and publishes them if they say something else than before and are good.
    pub fn reload(&mut self) -> Outcome {
        let (files, problems) = files::read(&self.path);
        if !problems.is_empty() {
            return self.reject(&problems);
        }
        if files == self.in_force {
            self.publisher.unchanged();
            return Outcome::Unchanged;
        }
        match compile(files, self.options) {
            Ok((loaded, warnings)) => self.publish(loaded, &warnings),
            Err(problems) => self.reject(&problems),
        }
    }

    fn publish(&mut self, loaded: LoadedRules, warnings: &Problems) -> Outcome {
        let LoadedRules { rules, files, .. } = loaded;
        match self.publisher.publish(&rules, names(&files), warnings) {
            Ok(_) => {
                self.in_force = files;
                Outcome::Published
            }
            Err(error) => {
                let path = self.path.to_string_lossy();
                self.reject(&Problem::with_file(path, error.to_string()).into())
            }
        }
    }

    fn reject(&mut self, problems: &Problems) -> Outcome {
        self.publisher.reject(problems);
        Outcome::Rejected
    }
}

/// The files as they are shown.
fn names(files: &[RulesFile]) -> Vec<String> {
    files
        .iter()
        .map(|file| file.path.to_string_lossy().into_owned())
        .collect()
}
