//! The answer for programs.

use hivemind_shared::rules::{End, Rule, RuleLimit};
use serde::Serialize;

use super::answer::{Answer, CandidateAnswer, DescriptorAnswer, RuleAnswer};
use super::counter::CounterState;
use super::sentences;
use super::text::shown;
use crate::limit_json::LimitJson;

/// Of the descriptors that do not match, so many are there without `--all`.
const OTHERS_MAX: usize = 100;

#[derive(Serialize)]
pub(super) struct AnswerJson<'a> {
    domain: &'a str,
    hits: u32,
    descriptors: Vec<DescriptorJson<'a>>,
}

#[derive(Serialize)]
struct DescriptorJson<'a> {
    entries: Vec<EntryJson<'a>>,
    steps: Vec<StepJson<'a>>,
    /// `rule`, or why there is none: `unknown_domain`, `no_entries`, `no_match`, `no_limit`.
    end: &'static str,
    reasons: &'a [String],
    /// The rule that was found; it applies unless it is replaced.
    rule: Option<RuleJson<'a>>,
    replaced_by: Option<ReplacedJson<'a>>,
    replaces: &'a [String],
    counter: Option<CounterJson<'a>>,
}

#[derive(Serialize)]
struct EntryJson<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct StepJson<'a> {
    entry: EntryJson<'a>,
    candidates: Vec<CandidateJson<'a>>,
    /// Candidates that do not match and are left out.
    omitted: usize,
}

#[derive(Serialize)]
struct CandidateJson<'a> {
    key: &'a str,
    value: Option<&'a str>,
    verdict: &'static str,
    file: Option<&'a str>,
    line: Option<u32>,
}

#[derive(Serialize)]
struct RuleJson<'a> {
    path: &'a str,
    statistics: &'a str,
    unlimited: bool,
    #[serde(flatten)]
    limit: LimitJson<'a>,
    replaces: Vec<&'a str>,
    shadow_mode: bool,
    quota_mode: bool,
    share_threshold: bool,
    detailed_metric: bool,
    file: &'a str,
    line: u32,
    /// The limits after it in the descriptor's list.
    further: Vec<FurtherJson<'a>>,
}

/// A further limit of the same descriptor.
#[derive(Serialize)]
struct FurtherJson<'a> {
    #[serde(flatten)]
    limit: LimitJson<'a>,
    line: u32,
    counter: Option<CounterJson<'a>>,
}

#[derive(Serialize)]
struct ReplacedJson<'a> {
    path: &'a str,
    place: &'a str,
}

#[derive(Serialize)]
struct CounterJson<'a> {
    key: Vec<KeyJson<'a>>,
    unit: &'static str,
    unit_multiplier: u32,
    limit: u32,
    /// Of the region; `null` where rules were read from files.
    live: Option<LiveJson>,
    /// Whether the hits asked about would be over the limit; without a region, on an empty counter.
    over: bool,
}

#[derive(Serialize)]
struct KeyJson<'a> {
    key: &'a str,
    value: &'a str,
    /// Whether the value is a pattern that stands for all values it matches.
    shared: bool,
}

#[derive(Serialize)]
struct LiveJson {
    fingerprint: String,
    window_start_unix_s: u64,
    local: u64,
    remote: i64,
    remaining: u64,
    reset_s: u32,
}

impl<'a> AnswerJson<'a> {
    pub(super) fn of(answer: &'a Answer<'a>, all: bool) -> Self {
        let others_max = if all { usize::MAX } else { OTHERS_MAX };
        Self {
            domain: &answer.domain,
            hits: answer.hits,
            descriptors: answer
                .descriptors
                .iter()
                .map(|descriptor| DescriptorJson::of(descriptor, answer.hits, others_max))
                .collect(),
        }
    }
}

impl<'a> DescriptorJson<'a> {
    fn of(descriptor: &'a DescriptorAnswer<'a>, hits: u32, others_max: usize) -> Self {
        let entries = || descriptor.asked.entries.iter().map(entry);
        let steps = descriptor.steps.iter().zip(entries()).map(|(step, entry)| {
            let (candidates, omitted) = shown(step, others_max);
            let candidates = candidates.into_iter().map(CandidateJson::of).collect();
            StepJson {
                entry,
                candidates,
                omitted,
            }
        });
        Self {
            entries: entries().collect(),
            steps: steps.collect(),
            end: match descriptor.end {
                End::UnknownDomain => "unknown_domain",
                End::NoEntries => "no_entries",
                End::NoMatch => "no_match",
                End::NoLimit => "no_limit",
                End::Rule(_) => "rule",
            },
            reasons: &descriptor.reasons,
            rule: descriptor
                .rule
                .as_ref()
                .map(|rule| RuleJson::of(rule, descriptor, hits)),
            replaced_by: descriptor
                .replaced_by
                .as_ref()
                .map(|(path, place)| ReplacedJson { path, place }),
            replaces: &descriptor.replaces,
            counter: counter(descriptor, 0, hits),
        }
    }
}

/// The counter of the limit at this place of the descriptor's list.
fn counter<'a>(
    descriptor: &'a DescriptorAnswer<'a>,
    position: usize,
    hits: u32,
) -> Option<CounterJson<'a>> {
    let counter = descriptor.counters.get(position)?;
    Some(CounterJson::of(counter, hits))
}

fn entry((key, value): &(String, String)) -> EntryJson<'_> {
    EntryJson { key, value }
}

impl<'a> CandidateJson<'a> {
    fn of(candidate: &'a CandidateAnswer) -> Self {
        Self {
            key: &candidate.key,
            value: candidate.value.as_deref(),
            verdict: sentences::verdict_word(candidate.verdict),
            file: candidate.file.as_deref(),
            line: candidate.line,
        }
    }
}

impl<'a> FurtherJson<'a> {
    fn of(rule: &'a Rule, counter: Option<CounterJson<'a>>) -> Self {
        Self {
            limit: LimitJson::of(rule),
            line: rule.origin.line,
            counter,
        }
    }
}

impl<'a> RuleJson<'a> {
    fn of(found: &'a RuleAnswer, descriptor: &'a DescriptorAnswer<'a>, hits: u32) -> Self {
        let rule = &found.rule;
        let further = found.further.iter().zip(1..);
        let further = further
            .map(|(rule, position)| FurtherJson::of(rule, counter(descriptor, position, hits)));
        Self {
            path: &found.path,
            statistics: &found.statistics,
            unlimited: rule.limit == RuleLimit::Unlimited,
            limit: LimitJson::of(rule),
            replaces: rule.replaces.iter().map(|name| &**name).collect(),
            shadow_mode: rule.shadow_mode,
            quota_mode: rule.quota_mode,
            share_threshold: found.share_threshold,
            detailed_metric: rule.detailed_metric,
            file: &rule.origin.file,
            line: rule.origin.line,
            further: further.collect(),
        }
    }
}

impl<'a> CounterJson<'a> {
    fn of(counter: &'a CounterState, hits: u32) -> Self {
        let key = counter.entries.iter().map(|(key, value, shared)| KeyJson {
            key,
            value,
            shared: *shared,
        });
        Self {
            key: key.collect(),
            unit: counter.period.unit().name(),
            unit_multiplier: counter.period.multiplier(),
            limit: counter.limit,
            live: counter.live.as_ref().map(|live| LiveJson {
                fingerprint: live.fingerprint.to_string(),
                window_start_unix_s: live.standing.window.start_s(),
                local: live.standing.local,
                remote: live.standing.remote,
                remaining: live.standing.remaining(),
                reset_s: live.standing.reset_s,
            }),
            over: counter.is_over_after(hits),
        }
    }
}
