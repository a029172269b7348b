//! Bringing changed rules into force, and keeping the last good ones when they are broken.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hivemind_shared::rules::files::{self, RulesFile};
use hivemind_shared::rules::{RuleSet, source};
use hivemind_shared::yaml::{Problem, Problems, Severity};
use serde::Serialize;
use tracing::{error, info, warn};

use crate::region_owner::RegionOwner;
use crate::server::health::{Health, State};

/// Problems of one reload that are logged; more are only counted.
const LOGGED_PROBLEMS_MAX: usize = 20;

/// Rules as they were read, with the files they came from.
#[derive(Clone, Debug)]
pub struct LoadedRules {
    /// The rules.
    pub rules: RuleSet,
    files: Vec<RulesFile>,
}

/// Reads and compiles the rules at `path`; beside them come warnings.
///
/// # Errors
///
/// Every problem of every file.
pub fn load(path: &Path) -> Result<(LoadedRules, Problems), Problems> {
    let (files, problems) = files::read(path);
    if problems.is_empty() {
        compile(files)
    } else {
        Err(problems)
    }
}

fn compile(files: Vec<RulesFile>) -> Result<(LoadedRules, Problems), Problems> {
    let mut problems = Problems::default();
    let mut sources = Vec::with_capacity(files.len());
    for file in &files {
        match file.source() {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    match source::parse(&sources, &source::Options::default()) {
        Ok(loaded) if problems.is_empty() => Ok((
            LoadedRules {
                rules: loaded.rules,
                files,
            },
            loaded.warnings,
        )),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
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
    owner: Arc<RegionOwner>,
    health: Health,
    state: Arc<RulesState>,
    /// The files of the rules in force.
    in_force: Vec<RulesFile>,
    /// What was wrong with the files that were read last; empty when nothing was.
    rejected: String,
}

impl Reloader {
    /// A reloader for the rules at `path`, of which `loaded` are in force already.
    pub fn new(
        path: PathBuf,
        loaded: LoadedRules,
        owner: Arc<RegionOwner>,
        health: Health,
    ) -> Self {
        let state = Arc::new(RulesState::new(
            owner.rules(),
            RulesStatus::of(&loaded.files, &owner),
        ));
        health.update(|components| components.rules = State::Up);
        Self {
            path,
            owner,
            health,
            state,
            in_force: loaded.files,
            rejected: String::new(),
        }
    }

    /// Where the rules are read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in force, for those who show it.
    pub fn state(&self) -> Arc<RulesState> {
        Arc::clone(&self.state)
    }

    /// Reads the rules, and publishes them if they say something else than before and are good.
    pub fn reload(&mut self) -> Outcome {
        let (files, problems) = files::read(&self.path);
        if !problems.is_empty() {
            return self.reject(&problems);
        }
        if files == self.in_force {
            self.accept_unchanged();
            return Outcome::Unchanged;
        }
        match compile(files) {
            Ok((loaded, warnings)) => self.publish(loaded, &warnings),
            Err(problems) => self.reject(&problems),
        }
    }

    fn publish(&mut self, loaded: LoadedRules, warnings: &Problems) -> Outcome {
        let LoadedRules { rules, files } = loaded;
        let generation = match self.owner.publish(rules) {
            Ok(generation) => generation,
            Err(error) => {
                let path = self.path.to_string_lossy();
                return self.reject(&Problem::with_file(path, error.to_string()).into());
            }
        };
        let rules = self.owner.rules();
        info!(
            generation,
            files = files.len(),
            rules = rules.rules().len(),
            "rules reloaded"
        );
        log_problems(warnings);
        self.state
            .replace(rules, RulesStatus::of(&files, &self.owner));
        self.in_force = files;
        self.mended();
        Outcome::Published
    }

    fn accept_unchanged(&mut self) {
        if !self.rejected.is_empty() {
            info!("rules files are what is in force again");
            self.state
                .update(|status| status.last_attempt = Attempt::now(Vec::new()));
            self.mended();
        }
    }

    fn mended(&mut self) {
        self.rejected.clear();
        self.health
            .update(|components| components.rules = State::Up);
    }

    fn reject(&mut self, problems: &Problems) -> Outcome {
        let text = problems.to_string();
        // The same problems again are no news, only the same files touched.
        if text != self.rejected {
            error!(
                problems = problems.len(),
                "rules rejected, the last good ones stay in force"
            );
            log_problems(problems);
            let detail = "the last reload failed, the rules from before stay in force";
            self.health
                .update(|components| components.rules = State::Degraded(detail.to_owned()));
        }
        let shown = problems.iter().map(ToString::to_string).collect();
        self.state
            .update(|status| status.last_attempt = Attempt::now(shown));
        self.rejected = text;
        Outcome::Rejected
    }
}

/// Logs problems of rules files, one line each.
pub fn log_problems(problems: &Problems) {
    for problem in problems.iter().take(LOGGED_PROBLEMS_MAX) {
        let Problem {
            severity,
            file,
            line,
            column,
            message,
            hint,
            ..
        } = problem;
        let hint = hint.as_deref();
        match severity {
            Severity::Error => error!(%file, line, column, hint, "{message}"),
            Severity::Warning => warn!(%file, line, column, hint, "{message}"),
        }
    }
    let more = problems.len().saturating_sub(LOGGED_PROBLEMS_MAX);
    if more > 0 {
        error!(
            more,
            "further problems are not logged: meshd --check lists all"
        );
    }
}

/// The rules in force and how they came to be, for those who show them.
#[derive(Debug)]
pub struct RulesState(Mutex<(Arc<RuleSet>, RulesStatus)>);

impl RulesState {
    fn new(rules: Arc<RuleSet>, status: RulesStatus) -> Self {
        Self(Mutex::new((rules, status)))
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.lock().0)
    }

    /// How they came to be.
    pub fn status(&self) -> RulesStatus {
        self.lock().1.clone()
    }

    fn replace(&self, rules: Arc<RuleSet>, status: RulesStatus) {
        *self.lock() = (rules, status);
    }

    fn update(&self, change: impl FnOnce(&mut RulesStatus)) {
        change(&mut self.lock().1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Arc<RuleSet>, RulesStatus)> {
        // Every change is a single assignment: a panic cannot leave half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When rules were loaded, and what came of the last attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RulesStatus {
    /// Generation of the published rules in the region.
    pub generation: u64,
    /// When the rules in force were published, Unix time in milliseconds.
    pub loaded_unix_ms: u64,
    /// How many limits there are.
    pub rules: usize,
    /// The files they are in.
    pub files: Vec<String>,
    /// The last time rules were read that differed from those in force.
    pub last_attempt: Attempt,
}

/// One attempt to load rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// When it was, Unix time in milliseconds.
    pub unix_ms: u64,
    /// Whether it brought rules into force.
    pub successful: bool,
    /// What was wrong, as `meshd --check` shows it.
    pub problems: Vec<String>,
}

impl RulesStatus {
    fn of(files: &[RulesFile], owner: &RegionOwner) -> Self {
        Self {
            generation: owner.rules_generation(),
            loaded_unix_ms: unix_now_ms(),
            rules: owner.rules().rules().len(),
            files: files
                .iter()
                .map(|file| file.path.to_string_lossy().into_owned())
                .collect(),
            last_attempt: Attempt::now(Vec::new()),
        }
    }
}

impl Attempt {
    fn now(problems: Vec<String>) -> Self {
        Self {
            unix_ms: unix_now_ms(),
            successful: problems.is_empty(),
            problems,
        }
    }
}

fn unix_now_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
