//! What is found out about a request, before it is shown as text or as JSON.

use hivemind_shared::decision::{Status, limits_of};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::rules::{End, Explanation, RuleId};
use hivemind_shared::yaml::escaped;

use super::counter::{CounterState, Live};
use super::sentences;
use crate::descriptor::DescriptorArgument;
use crate::rules::Rulebook;

/// The question.
pub(super) struct Asked<'a> {
    pub(super) domain: &'a str,
    pub(super) descriptors: &'a [DescriptorArgument],
    /// Hits that each descriptor would count.
    pub(super) hits: u32,
}

/// What is known about the request.
pub(super) struct Answer<'a> {
    pub(super) domain: String,
    pub(super) hits: u32,
    pub(super) descriptors: Vec<DescriptorAnswer<'a>>,
}

/// What is known about one of its descriptors. It is whole in itself: the rules are gone when it is shown.
pub(super) struct DescriptorAnswer<'a> {
    pub(super) asked: &'a DescriptorArgument,
    pub(super) steps: Vec<StepAnswer>,
    pub(super) end: End,
    /// Why there is no limit, in sentences.
    pub(super) reasons: Vec<String>,
    pub(super) rule: Option<RuleAnswer>,
    /// What applies in place of the rule: the path and place of one that replaces it.
    pub(super) replaced_by: Option<(String, String)>,
    /// Other descriptors of the request whose rules it replaces.
    pub(super) replaces: Vec<String>,
    /// The counter of each limit that applies, in the order of the rule and the limits after it.
    pub(super) counters: Vec<CounterState>,
}

/// One level.
pub(super) struct StepAnswer {
    pub(super) candidates: Vec<CandidateAnswer>,
}

/// A descriptor of the rules on a level.
pub(super) struct CandidateAnswer {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) verdict: hivemind_shared::rules::Verdict,
}

/// The rule that was found.
pub(super) struct RuleAnswer {
    pub(super) path: String,
    pub(super) statistics: String,
    pub(super) rule: hivemind_shared::rules::Rule,
    /// Whether the look-up went through a descriptor whose pattern stands for the value.
    pub(super) share_threshold: bool,
    /// The limits after it in the descriptor's list, all of which hold as well.
    pub(super) further: Vec<hivemind_shared::rules::Rule>,
}

impl<'a> Answer<'a> {
    pub(super) fn of(asked: &Asked<'a>, book: &Rulebook, live: Option<&Live<'_>>) -> Self {
        let rules = &book.rules;
        let entries: Vec<Vec<Entry<'_>>> = asked
            .descriptors
            .iter()
            .map(DescriptorArgument::entries)
            .collect();
        let request: Vec<Descriptor<'_>> = entries
            .iter()
            .map(|entries| Descriptor::new(entries))
            .collect();
        // What the decision would hold each descriptor against.
        let statuses = limits_of(rules, asked.domain.as_bytes(), &request).unwrap_or_default();
        let found: Vec<Explanation> = entries
            .iter()
            .map(|entries| rules.explain(asked.domain.as_bytes(), entries))
            .collect();
        let descriptors = (0..)
            .zip(asked.descriptors)
            .zip(&entries)
            .zip(&found)
            .map(|(((position, asked_for), entries), explanation)| {
                let question = Question {
                    book,
                    domain: asked.domain,
                    live,
                    statuses: &statuses,
                    found: &found,
                    all: asked.descriptors,
                };
                question.descriptor(position, asked_for, entries, explanation)
            })
            .collect();
        Self {
            domain: asked.domain.to_owned(),
            hits: asked.hits,
            descriptors,
        }
    }
}

/// What is the same for all descriptors.
struct Question<'q, 'a> {
    book: &'q Rulebook,
    domain: &'q str,
    live: Option<&'q Live<'q>>,
    statuses: &'q [Status],
    found: &'q [Explanation],
    all: &'a [DescriptorArgument],
}

impl<'a> Question<'_, 'a> {
    fn descriptor(
        &self,
        position: usize,
        asked: &'a DescriptorArgument,
        entries: &[Entry<'_>],
        explanation: &Explanation,
    ) -> DescriptorAnswer<'a> {
        let rules = &self.book.rules;
        let rule = rule_of(explanation);
        let applies = rule.filter(|_| {
            self.statuses
                .get(position)
                .is_some_and(|status| status.rule.is_some())
        });
        let replaced_by = rule.filter(|_| applies.is_none()).and_then(|replaced| {
            let target = rules.rule(replaced)?;
            self.found.iter().filter_map(rule_of).find_map(|id| {
                let by = rules.rule(id).filter(|by| by.replaces(target))?;
                let path = escaped(&rules.path(id).to_string());
                Some((path, crate::rules::place(&by.origin)))
            })
        });
        let replaces = self
            .all
            .iter()
            .zip(self.found)
            .filter(|(_, found)| {
                let others = rule_of(found).and_then(|id| rules.rule(id));
                let own = rule.and_then(|id| rules.rule(id));
                own.zip(others)
                    .is_some_and(|(own, others)| own.replaces(others))
            })
            .map(|(asked, _)| asked.text())
            .collect();
        let steps = explanation
            .steps
            .iter()
            .map(|step| StepAnswer {
                candidates: step
                    .candidates
                    .iter()
                    .map(|candidate| {
                        let origin = self.book.origin(candidate.node);
                        let node = rules.rule_node(candidate.node);
                        CandidateAnswer {
                            name: self.book.name(candidate.node),
                            key: node.map_or("", |node| node.key).to_owned(),
                            value: node.and_then(|node| node.value).map(str::to_owned),
                            file: origin.map(|origin| origin.file.to_string()),
                            line: origin.map(|origin| origin.line),
                            verdict: candidate.verdict,
                        }
                    })
                    .collect(),
            })
            .collect();
        DescriptorAnswer {
            asked,
            steps,
            end: explanation.end,
            reasons: sentences::why_no_limit(self.book, self.domain, asked, explanation),
            rule: rule.and_then(|id| {
                Some(RuleAnswer {
                    path: rules.path(id).to_string(),
                    statistics: rules.statistics_path(id, entries),
                    rule: rules.rule(id)?.clone(),
                    share_threshold: rules.rule(id)?.shared_levels() != 0,
                    further: rules
                        .limits_from(id)
                        .skip(1)
                        .filter_map(|id| rules.rule(id).cloned())
                        .collect(),
                })
            }),
            replaced_by,
            replaces,
            counters: applies
                .into_iter()
                .flat_map(|id| rules.limits_from(id))
                .filter_map(|id| CounterState::of(rules, id, self.domain, entries, self.live))
                .collect(),
        }
    }
}

fn rule_of(explanation: &Explanation) -> Option<RuleId> {
    match explanation.end {
        End::Rule(rule) => Some(rule),
        End::UnknownDomain | End::NoEntries | End::NoMatch | End::NoLimit => None,
    }
}
