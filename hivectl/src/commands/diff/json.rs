//! The differences for programs.

use hivemind_shared::rules::{Change, ChangeKind, Counters, RuleId, RuleLimit, RulesDiff, Side};
use serde::Serialize;

use crate::limit_json::LimitJson;
use crate::rules::Rulebook;

#[derive(Serialize)]
pub(super) struct DiffJson<'a> {
    same: bool,
    domains_added: &'a [String],
    domains_removed: &'a [String],
    changes: Vec<ChangeJson<'a>>,
    orders: Vec<OrderJson<'a>>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    kind: &'static str,
    path: &'a str,
    old: Option<SideJson<'a>>,
    new: Option<SideJson<'a>>,
    /// Of the other set: the rule that such requests were under before, or are under now.
    elsewhere: Option<String>,
    /// Of the same set: the rule that takes such requests before.
    hidden_by: Option<String>,
    /// `kept`, `other_unit`, `other_sharing`, `started`, `stopped` or `none`.
    counters: &'static str,
}

#[derive(Serialize)]
struct SideJson<'a> {
    file: Option<&'a str>,
    line: Option<u32>,
    share_threshold: bool,
    value_to_metric: bool,
    /// `null` without a limit.
    rule: Option<RuleJson<'a>>,
}

#[derive(Serialize)]
struct RuleJson<'a> {
    unlimited: bool,
    #[serde(flatten)]
    limit: LimitJson<'a>,
    replaces: Vec<&'a str>,
    shadow_mode: bool,
    quota_mode: bool,
    detailed_metric: bool,
    metadata: Option<serde_json::Value>,
    /// The limits after it in the descriptor's list.
    further: Vec<LimitJson<'a>>,
}

#[derive(Serialize)]
struct OrderJson<'a> {
    /// Tried first now.
    first: &'a str,
    /// Tried first before.
    second: &'a str,
}

impl<'a> DiffJson<'a> {
    pub(super) fn of(diff: &'a RulesDiff, old: &'a Rulebook, new: &'a Rulebook) -> Self {
        Self {
            same: diff.is_empty(),
            domains_added: &diff.domains_added,
            domains_removed: &diff.domains_removed,
            changes: diff
                .changes
                .iter()
                .map(|change| ChangeJson::of(change, old, new))
                .collect(),
            orders: diff
                .orders
                .iter()
                .map(|order| OrderJson {
                    first: &order.first,
                    second: &order.second,
                })
                .collect(),
        }
    }
}

impl<'a> ChangeJson<'a> {
    fn of(change: &'a Change, old: &'a Rulebook, new: &'a Rulebook) -> Self {
        let (own, other) = match change.kind {
            ChangeKind::Removed => (old, new),
            ChangeKind::Added | ChangeKind::Changed => (new, old),
        };
        let path = |book: &Rulebook, id: RuleId| book.rules.path(id).to_string();
        Self {
            kind: match change.kind {
                ChangeKind::Added => "added",
                ChangeKind::Removed => "removed",
                ChangeKind::Changed => "changed",
            },
            path: &change.path,
            old: change.old.map(|side| SideJson::of(old, side)),
            new: change.new.map(|side| SideJson::of(new, side)),
            elsewhere: change.elsewhere.map(|id| path(other, id)),
            hidden_by: change.hidden_by.map(|id| path(own, id)),
            counters: match change.counters {
                Counters::Kept => "kept",
                Counters::OtherUnit => "other_unit",
                Counters::OtherSharing => "other_sharing",
                Counters::Started => "started",
                Counters::Stopped => "stopped",
                Counters::None => "none",
            },
        }
    }
}

impl<'a> SideJson<'a> {
    fn of(book: &'a Rulebook, side: Side) -> Self {
        let origin = book.origin(side.node);
        let node = book.rules.rule_node(side.node);
        Self {
            file: origin.map(|origin| &*origin.file),
            line: origin.map(|origin| origin.line),
            share_threshold: node.is_some_and(|node| node.share_threshold),
            value_to_metric: node.is_some_and(|node| node.value_to_metric),
            rule: side.rule.and_then(|id| RuleJson::of(book, id)),
        }
    }
}

impl<'a> RuleJson<'a> {
    fn of(book: &'a Rulebook, id: RuleId) -> Option<Self> {
        let rule = book.rules.rule(id)?;
        Some(Self {
            unlimited: rule.limit == RuleLimit::Unlimited,
            limit: LimitJson::of(rule),
            replaces: rule.replaces.iter().map(|name| &**name).collect(),
            shadow_mode: rule.shadow_mode,
            quota_mode: rule.quota_mode,
            detailed_metric: rule.detailed_metric,
            // It was made from a mapping, so it is JSON.
            metadata: rule
                .metadata
                .as_ref()
                .and_then(|metadata| serde_json::from_str(metadata).ok()),
            further: book
                .rules
                .limits_from(id)
                .skip(1)
                .filter_map(|id| book.rules.rule(id).map(LimitJson::of))
                .collect(),
        })
    }
}
