//! What is in force, and how it came to be: good rules are published in the region, bad ones reported
//! while the last good ones stay.

use std::sync::{Arc, Mutex, PoisonError};

use hivemind_shared::clock::unix_time_ms;
use hivemind_shared::region::{PublishError, RulesRoom};
use hivemind_shared::rules::RuleSet;
use hivemind_shared::yaml::{Problem, Problems, Severity};
use serde::Serialize;
use tracing::{error, info, warn};

use super::rules_hash::RulesHash;
use super::xds::XdsStatus;
use crate::region_owner::RegionOwner;
use crate::reload::LastReload;
use crate::server::health::{Health, State};

/// Problems of one reload that are logged; more are only counted.
const LOGGED_PROBLEMS_MAX: usize = 20;

/// Share of the room for rules from which on it is said that it fills up, percent.
const NEARLY_FULL_PERCENT: u64 = 80;

/// Publishes rules, from wherever they come.
#[derive(Debug)]
pub struct Publisher {
    owner: Arc<RegionOwner>,
    health: Health,
    state: Arc<RulesState>,
    /// What was wrong with the rules that came last; empty when nothing was.
    rejected: String,
    /// Whether the rules in force take most of their room.
    is_nearly_full: bool,
}

impl Publisher {
    /// A publisher of the rules that this meshd has just read from `files` and published.
    pub fn of_loaded(owner: Arc<RegionOwner>, health: Health, files: Vec<String>) -> Self {
        let rules = owner.rules().unwrap_or_default();
        warn_if_empty(&rules);
        let status = RulesStatus::loaded(files, owner.rules_generation(), &rules);
        let loads = Loads {
            successful: 1,
            failed: 0,
            last: LastReload::loaded(),
        };
        Self::new(owner, health, RulesState::new(rules, status, loads))
    }

    /// A publisher of rules that are still to come. Until then those of an earlier run are in force, which
    /// came from `files`, or none.
    pub fn of_expected(owner: Arc<RegionOwner>, health: Health, files: Vec<String>) -> Self {
        let rules = owner.rules().unwrap_or_default();
        let status = RulesStatus {
            generation: owner.rules_generation(),
            loaded_unix_ms: None,
            rules: rules.rules().len(),
            files,
            last_attempt: None,
            xds: None,
        };
        let state = RulesState::new(rules, status, Loads::default());
        Self::new(owner, health, state)
    }

    fn new(owner: Arc<RegionOwner>, health: Health, state: RulesState) -> Self {
        let mut publisher = Self {
            owner,
            health,
            state: Arc::new(state),
            rejected: String::new(),
            is_nearly_full: false,
        };
        publisher.look_at_room();
        publisher
    }

    /// What is in force, for those who show it.
    pub fn state(&self) -> Arc<RulesState> {
        Arc::clone(&self.state)
    }

    /// How many rules are in force; `None` when no set of them is.
    pub fn rules_in_force(&self) -> Option<usize> {
        self.owner.rules().map(|rules| rules.rules().len())
    }

    /// Brings rules from `files` into force; returns their generation.
    ///
    /// # Errors
    ///
    /// When there is no room for them in the region; [`Self::reject`] them then.
    pub fn publish(
        &mut self,
        rules: &RuleSet,
        files: Vec<String>,
        warnings: &Problems,
    ) -> Result<u64, PublishError> {
        let generation = self.owner.publish(rules)?;
        let is_waiting = self.owner.rests();
        let in_force = self.owner.rules().unwrap_or_default();
        let message = if is_waiting {
            "rules read; another meshd takes over, they come into force here only if it does not"
        } else {
            "rules reloaded"
        };
        info!(
            generation,
            files = files.len(),
            rules = rules.rules().len(),
            "{message}"
        );
        warn_if_empty(rules);
        self.look_at_room();
        log_problems(warnings);
        self.state
            .replace(RulesStatus::loaded(files, generation, &in_force), in_force);
        self.mended();
        Ok(generation)
    }

    /// Says that there is little room for more rules, once until there is more.
    fn look_at_room(&mut self) {
        let RulesRoom {
            used_bytes,
            total_bytes,
        } = self.owner.region().rules_room();
        let is_nearly_full = used_bytes * 100 >= total_bytes * NEARLY_FULL_PERCENT;
        if is_nearly_full && !self.is_nearly_full {
            warn!(
                used_bytes,
                total_bytes,
                "the rules take most of their room in the region; those that do not fit are refused: raise \
                 region.rules_bytes, with which the counters start anew"
            );
        }
        self.is_nearly_full = is_nearly_full;
    }

    /// Says that the rules that came are those in force.
    pub fn unchanged(&mut self) {
        self.state.unchanged();
        if !self.rejected.is_empty() {
            info!("the rules are what is in force again");
            self.state
                .update(|status| status.last_attempt = Some(Attempt::now(Vec::new())));
            self.mended();
        }
    }

    fn mended(&mut self) {
        self.rejected.clear();
        self.health
            .update(|components| components.rules = State::Up);
    }

    /// Says what is wrong with the rules that came, and leaves those in force that are.
    pub fn reject(&mut self, problems: &Problems) {
        self.refuse(problems, Refusal::Broken);
    }

    /// Says why rules cannot be read now, and leaves those in force that are.
    pub fn unreadable(&mut self, problems: &Problems) {
        self.refuse(problems, Refusal::Unreadable);
    }

    fn refuse(&mut self, problems: &Problems, refusal: Refusal) {
        let text = problems.to_string();
        // The same problems again are no news, only the same rules once more.
        if text != self.rejected {
            let in_force = self.rules_in_force();
            let what = match refusal {
                Refusal::Broken => "rules rejected",
                Refusal::Unreadable => "rules cannot be read, which is tried again",
            };
            let consequence = match in_force {
                None => "and none are in force: calls are answered with an error",
                Some(0) => "the set in force has no limits",
                Some(_) => "the last good ones stay in force",
            };
            error!(problems = problems.len(), "{what}, {consequence}");
            log_problems(problems);
            self.health.update(|components| {
                let rules = &mut components.rules;
                match (in_force, rules) {
                    (Some(_), rules) => {
                        *rules = State::Degraded(refusal.detail(problems));
                    }
                    // Whether meshd is ready without rules was said when it began.
                    (None, State::Down(detail) | State::Degraded(detail)) => {
                        "no rate limit configuration loaded: the rules that came were refused"
                            .clone_into(detail);
                    }
                    (None, State::Up) => {}
                }
            });
        }
        let shown = problems.iter().map(ToString::to_string).collect();
        self.state.refused(shown);
        self.rejected = text;
    }
}

/// Why rules that came are not in force.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Broken,
    Unreadable,
}

impl Refusal {
    /// What health says while other rules are in force.
    fn detail(self, problems: &Problems) -> String {
        let mut detail = match self {
            Self::Broken => "the last reload failed, the rules from before stay in force",
            Self::Unreadable => {
                "the last reload failed and is tried again, the rules from before stay in force"
            }
        }
        .to_owned();
        if let Some(Problem { file, message, .. }) = problems.iter().next() {
            detail.push_str(&format!(": {file}: {message}"));
        }
        detail
    }
}

/// Says that no request is limited, when that is so.
fn warn_if_empty(rules: &RuleSet) {
    if rules.rules().len() == 0 {
        warn!("the rules have no limits");
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
        // Some have no place: there is nothing to say then.
        let (line, column) = ((*line > 0).then_some(line), (*column > 0).then_some(column));
        match severity {
            Severity::Error => error!(%file, line, column, hint, "{message}"),
            Severity::Warning => warn!(%file, line, column, hint, "{message}"),
        }
    }
    let more = problems.len().saturating_sub(LOGGED_PROBLEMS_MAX);
    if more > 0 {
        error!(
            more,
            "further problems are not logged: /rules/status on the admin port has them"
        );
    }
}

/// The rules in force and how they came to be, for those who show them.
#[derive(Debug)]
pub struct RulesState(Mutex<InForce>);

#[derive(Debug)]
struct InForce {
    rules: Arc<RuleSet>,
    hash: RulesHash,
    status: RulesStatus,
    loads: Loads,
}

/// How often rules came since meshd was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// And were brought into force.
    pub successful: u64,
    /// And were refused.
    pub failed: u64,
    /// The last time they came.
    pub last: LastReload,
}

impl RulesState {
    fn new(rules: Arc<RuleSet>, status: RulesStatus, loads: Loads) -> Self {
        Self(Mutex::new(InForce {
            hash: RulesHash::of(&rules),
            rules,
            status,
            loads,
        }))
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.lock().rules)
    }

    /// Their hash, by which hosts see whether they have the same rules.
    pub fn hash(&self) -> RulesHash {
        self.lock().hash
    }

    /// How they came to be.
    pub fn status(&self) -> RulesStatus {
        self.lock().status.clone()
    }

    /// How often rules came.
    pub fn loads(&self) -> Loads {
        self.lock().loads
    }

    /// Other rules; what is told of the management server stays.
    fn replace(&self, status: RulesStatus, rules: Arc<RuleSet>) {
        let hash = RulesHash::of(&rules);
        let mut inner = self.lock();
        let xds = inner.status.xds.take();
        inner.hash = hash;
        inner.rules = rules;
        inner.status = RulesStatus { xds, ..status };
        inner.loads.successful += 1;
        inner.loads.last.succeeded();
    }

    /// Rules came that are in force already.
    fn unchanged(&self) {
        self.lock().loads.last.succeeded();
    }

    /// Rules came that were refused for these problems.
    fn refused(&self, problems: Vec<String>) {
        let mut inner = self.lock();
        inner.status.last_attempt = Some(Attempt::now(problems));
        inner.loads.failed += 1;
        inner.loads.last.failed();
    }

    /// Changes what is told of them.
    pub(super) fn update(&self, change: impl FnOnce(&mut RulesStatus)) {
        change(&mut self.lock().status);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InForce> {
        // Every change is a few assignments that cannot panic: nobody leaves half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When rules were loaded, and what came of the last attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RulesStatus {
    /// Generation of the published rules in the region.
    pub generation: u64,
    /// When this meshd published the rules in force, Unix time in milliseconds; `null` when it did not.
    pub loaded_unix_ms: Option<u64>,
    /// How many limits there are.
    pub rules: usize,
    /// The files they are in, or the resources they were sent as.
    pub files: Vec<String>,
    /// The last time rules came that differed from those in force; `null` before the first.
    pub last_attempt: Option<Attempt>,
    /// The management server they come from; absent where they come from files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xds: Option<XdsStatus>,
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
    fn loaded(files: Vec<String>, generation: u64, rules: &RuleSet) -> Self {
        Self {
            generation,
            loaded_unix_ms: Some(unix_time_ms()),
            rules: rules.rules().len(),
            files,
            last_attempt: Some(Attempt::now(Vec::new())),
            xds: None,
        }
    }
}

impl Attempt {
    fn now(problems: Vec<String>) -> Self {
        Self {
            unix_ms: unix_time_ms(),
            successful: problems.is_empty(),
            problems,
        }
    }
}
