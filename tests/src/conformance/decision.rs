//! The decision alone: rules compiled in this process, a region of its own for each case, and a clock
//! that stands still.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{AppliedLimit, Code, Decision, Limiter, Status};
use hivemind_shared::descriptor::{Descriptor, Entry, LimitOverride};
use hivemind_shared::region::{OwnedRegion, RegionOptions};
use hivemind_shared::rules::{Modes, RuleSet, assign_stats, source};
use hivemind_shared::window::{Period, Unit};
use hivemind_shared::yaml::{Problems, Source};
use xtask::scratch::Scratch;

use super::case::{Case, Limit, Step};
use super::run::{Answer, AnswerLimit, AnswerStatus, Backend, Refusal};
use super::summary::{Closest, Policy, Summary};

/// Half past some hour, so that no window but the seconds' ends while a case runs.
const START_S: u64 = 1_799_998_200;

/// Rules with statistics of their own; a case has few.
const STATS_CAPACITY: u32 = 256;

/// Asks [`Limiter::decide`].
#[derive(Debug, Default)]
pub struct DecisionBackend {
    host: Option<Host>,
}

/// What a case runs on.
#[derive(Debug)]
struct Host {
    limiter: Limiter<ManualClock>,
    decision: Decision,
    clock: ManualClock,
    now_ms: u64,
    // The daemon's part: it holds the region's lock.
    _owner: OwnedRegion,
    _scratch: Scratch,
}

impl Host {
    fn new(rules: &RuleSet) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let options = RegionOptions {
            max_keys: 64,
            ..RegionOptions::default()
        };
        let (mut owner, _) = OwnedRegion::open(&scratch.region(), &options)?;
        owner.publish_rules(rules)?;
        let clock = ManualClock::at(START_S);
        Ok(Self {
            limiter: Limiter::new(owner.region().clone(), clock.clone()),
            decision: Decision::new(),
            clock,
            now_ms: START_S * 1_000,
            _owner: owner,
            _scratch: scratch,
        })
    }
}

impl Backend for DecisionBackend {
    fn inapplicable(&self, case: &Case) -> Option<&'static str> {
        let is_about_calls = case.steps.iter().any(|step| step.expect_error.is_some());
        is_about_calls.then_some("whoever calls the decision checks the call")
    }

    async fn prepare(&mut self, case: &Case) -> anyhow::Result<()> {
        let mut rules =
            load(case).map_err(|problems| anyhow!("the rules are refused:\n{problems}"))?;
        assign_stats(&mut rules, None, STATS_CAPACITY);
        self.host = Some(Host::new(&rules).context("cannot make a region")?);
        Ok(())
    }

    async fn ask(&mut self, step: &Step) -> Result<Answer, Refusal> {
        let undecided = |message: String| Refusal {
            code: "UNDECIDED".to_owned(),
            message,
        };
        let Some(host) = &mut self.host else {
            return Err(undecided("not prepared".to_owned()));
        };
        let entries: Vec<Vec<Entry<'_>>> = step
            .descriptors
            .iter()
            .map(|descriptor| {
                descriptor
                    .entries
                    .iter()
                    .map(|(key, value)| Entry::new(key, value))
                    .collect()
            })
            .collect();
        let descriptors: Vec<Descriptor<'_>> = step
            .descriptors
            .iter()
            .zip(&entries)
            .map(|(descriptor, entries)| Descriptor {
                entries,
                hits_addend: descriptor.hits_addend,
                limit: descriptor.limit.as_ref().and_then(limit_override),
            })
            .collect();
        let decision = &mut host.decision;
        host.limiter
            .decide(
                step.domain.as_bytes(),
                &descriptors,
                step.hits_addend,
                decision,
            )
            .map_err(|error| undecided(error.to_string()))?;
        let statuses = decision
            .statuses
            .iter()
            .map(|status| answer_status(decision, status));
        Ok(Answer {
            overall: code_name(decision.overall).to_owned(),
            statuses: Some(statuses.collect()),
            // The service's business.
            headers: None,
            metadata: None,
            summary: Some(summary(decision)),
        })
    }

    async fn pass(&mut self, time: Duration) {
        if let Some(host) = &mut self.host {
            host.now_ms += u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            host.clock.set(host.now_ms / 1_000);
        }
    }

    async fn refuse(&mut self, case: &Case) -> anyhow::Result<String> {
        match load(case) {
            Ok(_) => Err(anyhow!("the rules are accepted")),
            Err(problems) => Ok(problems.to_string()),
        }
    }
}

fn load(case: &Case) -> Result<RuleSet, Problems> {
    let named = |(text, number)| Source::new(format!("{number}.yaml"), text);
    let sources: Vec<Source> = case.config.iter().zip(1..).map(named).collect();
    let options = source::Options {
        merge_domains: case.merge_domains,
        modes: Modes {
            shadow: setting(case, "shadow_mode"),
            quota: setting(case, "quota_mode"),
            denied_uncounted: case.settings.get("count_denied") == Some(&false),
        },
        ..source::Options::default()
    };
    source::parse(&sources, &options).map(|loaded| loaded.rules)
}

fn setting(case: &Case, name: &str) -> bool {
    case.settings.get(name).copied().unwrap_or_default()
}

/// Without a unit it is none, and the configured rule applies.
fn limit_override(limit: &Limit) -> Option<LimitOverride> {
    let unit = limit.unit.as_deref().and_then(Unit::from_name)?;
    Some(LimitOverride {
        requests_per_unit: limit.requests_per_unit,
        period: Period::new(unit, limit.unit_multiplier.unwrap_or(1)).ok()?,
    })
}

fn answer_status(decision: &Decision, status: &Status) -> AnswerStatus {
    let limit = |limit: AppliedLimit| AnswerLimit {
        requests_per_unit: limit.requests_per_unit,
        unit: limit.period.unit().name().to_uppercase(),
        unit_multiplier: limit.period.multiplier(),
        name: decision.limit_name(&limit).to_owned(),
    };
    AnswerStatus {
        code: code_name(status.code).to_owned(),
        limit: status.limit.map(limit),
        remaining: status.remaining,
        reset_s: status.limit.map(|_| status.reset_s),
    }
}

/// What headers would tell of it.
fn summary(decision: &Decision) -> Summary {
    let closest = decision.nearest().map(|(status, limit)| Closest {
        requests_per_unit: limit.requests_per_unit,
        remaining: status.remaining,
        reset_s: status.reset_s,
    });
    let limits = decision.statuses.iter().filter_map(|status| status.limit);
    let policies = limits.map(|limit| Policy {
        requests_per_unit: limit.requests_per_unit,
        window_s: limit.period.seconds(),
        name: decision.limit_name(&limit).to_owned(),
    });
    Summary {
        closest,
        policies: policies.collect(),
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::OverLimit => "OVER_LIMIT",
    }
}
