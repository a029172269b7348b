//! The answer for people.

use std::io::{self, Write};

use hivemind_shared::decision::Standing;
use hivemind_shared::descriptor::text::entry;
use hivemind_shared::rules::{Algorithm, RuleLimit, Verdict};
use hivemind_shared::yaml::{escaped, printable};

use super::answer::{Answer, CandidateAnswer, DescriptorAnswer, RuleAnswer, StepAnswer};
use super::counter::CounterState;
use super::sentences;
use crate::rules::{place, settings};
use crate::table::{Align, Table};
use crate::text::{count, utc};

/// Of the descriptors that do not match, so many are shown.
const SHOWN_MAX: usize = 6;

pub(super) fn write(answer: &Answer<'_>, all: bool, out: &mut impl Write) -> io::Result<()> {
    for (position, descriptor) in answer.descriptors.iter().enumerate() {
        if position > 0 {
            writeln!(out)?;
        }
        let (domain, asked) = (printable(&answer.domain), descriptor.asked.text());
        writeln!(out, "{domain}: {asked}")?;
        for (step, (key, value)) in descriptor.steps.iter().zip(&descriptor.asked.entries) {
            writeln!(out, "  {}", entry(key, value))?;
            write_step(step, all, out)?;
        }
        writeln!(out)?;
        write_result(descriptor, answer.hits, out)?;
    }
    Ok(())
}

fn write_step(step: &StepAnswer, all: bool, out: &mut impl Write) -> io::Result<()> {
    let (shown, omitted) = shown(step, if all { usize::MAX } else { SHOWN_MAX });
    let mut table = Table::without_titles([Align::Left; 4]);
    for candidate in shown {
        let mark = if matches!(candidate.verdict, Verdict::Taken(_)) {
            "    >"
        } else {
            "     "
        };
        let place = match (&candidate.file, candidate.line) {
            (Some(file), Some(line)) => format!("{}:{line}", escaped(file)),
            _ => String::new(),
        };
        table.push([
            mark.to_owned(),
            candidate.name.clone(),
            sentences::verdict(candidate.verdict).to_owned(),
            place,
        ]);
    }
    table.write(out)?;
    if step.candidates.is_empty() {
        writeln!(out, "       nothing on this level")?;
    }
    if omitted > 0 {
        writeln!(out, "       and {omitted} more that do not match (--all)")?;
    }
    Ok(())
}

/// Everything that matches, and some of what does not: those with the right key first.
pub(super) fn shown(step: &StepAnswer, others_max: usize) -> (Vec<&CandidateAnswer>, usize) {
    let kinds: [fn(Verdict) -> bool; 2] = [
        |verdict| !verdict.matches() && verdict != Verdict::OtherKey,
        |verdict| verdict == Verdict::OtherKey,
    ];
    let mut positions: Vec<usize> = Vec::new();
    let of_kind = |kind: fn(Verdict) -> bool| {
        let candidates = step.candidates.iter().enumerate();
        candidates
            .filter(move |(_, candidate)| kind(candidate.verdict))
            .map(|(position, _)| position)
    };
    for kind in kinds {
        let room = others_max.saturating_sub(positions.len());
        positions.extend(of_kind(kind).take(room));
    }
    positions.extend(of_kind(Verdict::matches));
    positions.sort_unstable();
    let omitted = step.candidates.len() - positions.len();
    let shown = positions
        .into_iter()
        .filter_map(|position| step.candidates.get(position))
        .collect();
    (shown, omitted)
}

fn write_result(
    descriptor: &DescriptorAnswer<'_>,
    hits: u32,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(found) = &descriptor.rule else {
        writeln!(out, "  No limit applies.")?;
        for reason in &descriptor.reasons {
            writeln!(out, "  {}", sentence(reason))?;
        }
        return Ok(());
    };
    let RuleAnswer { path, rule, .. } = found;
    let mut lines = Table::without_titles([Align::Left; 2]);
    let mut line = |title: &str, text: String| lines.push([format!("  {title}"), text]);
    line("limit", rule.limit.to_string());
    line(
        "rule",
        format!("{} ({})", escaped(path), place(&rule.origin)),
    );
    for setting in settings(rule) {
        line("", setting);
    }
    for further in &found.further {
        let mut parts = vec![further.limit.to_string()];
        parts.extend(settings(further));
        line("and", parts.join(", "));
    }
    if let Some((by, place)) = &descriptor.replaced_by {
        line(
            "replaced",
            format!(
                "by {by} ({place}): this limit does not apply to this request, nothing is counted"
            ),
        );
    }
    for other in &descriptor.replaces {
        line("replaces", format!("the limit of {other}"));
    }
    for (position, counter) in descriptor.counters.iter().enumerate() {
        line("counter", counter_text(counter));
        if position == 0 {
            line("statistics", escaped(&found.statistics));
        }
        if let Some(live) = &counter.live {
            live_lines(counter, &live.standing, &mut line);
        }
    }
    if !descriptor.counters.is_empty() {
        line("now", consequence(&descriptor.counters, hits, found));
    } else if rule.limit == RuleLimit::Unlimited {
        line(
            "counter",
            "none: nothing is counted and nothing refused".to_owned(),
        );
    }
    lines.write(out)
}

fn counter_text(counter: &CounterState) -> String {
    let entries: Vec<String> = counter
        .entries
        .iter()
        .map(|(key, value, shared)| {
            let note = if *shared {
                " (shared by all that match)"
            } else {
                ""
            };
            format!("{}{note}", entry(key, value))
        })
        .collect();
    format!("{} per {}", entries.join(", "), counter.period)
}

fn live_lines(counter: &CounterState, standing: &Standing, line: &mut impl FnMut(&str, String)) {
    let Standing {
        window,
        local,
        remote,
        reset_s,
        ..
    } = standing;
    let beside = if *remote < 0 {
        format!("{} forgiven", remote.unsigned_abs())
    } else {
        format!("{remote} at peers")
    };
    let (remaining, limit) = (standing.remaining(), counter.limit);
    line(
        "counted",
        format!("{local} here, {beside}, {remaining} of {limit} remaining"),
    );
    match (counter.algorithm, reset_s) {
        (Algorithm::TokenBucket { .. }, 0) => line("bucket", "full".to_owned()),
        (Algorithm::TokenBucket { .. }, _) => line("bucket", format!("full in {reset_s} s")),
        (Algorithm::FixedWindow | Algorithm::SlidingWindow, _) => line(
            "window",
            format!("since {}, ends in {reset_s} s", utc(window.start_s())),
        ),
    }
}

/// What would become of the request.
fn consequence(counters: &[CounterState], hits: u32, found: &RuleAnswer) -> String {
    let is_live = counters.iter().any(|counter| counter.live.is_some());
    let what = match (hits, is_live) {
        (0, true) => "a call that only reads".to_owned(),
        (0, false) => "a call that only reads, on an empty counter,".to_owned(),
        (_, true) => count(hits as usize, "more hit"),
        (_, false) => format!("{} on an empty counter", count(hits as usize, "hit")),
    };
    let over = counters.iter().any(|counter| counter.is_over_after(hits));
    match (over, found.rule.shadow_mode, found.rule.quota_mode) {
        (false, ..) => format!("{what} would pass"),
        (true, true, _) => {
            format!("{what} would be over the limit, and pass all the same: shadow_mode")
        }
        (true, _, true) => format!(
            "{what} would be over the limit; refused once all quotas of the request are (quota_mode)"
        ),
        (true, ..) => format!("{what} would be refused"),
    }
}

/// A reason as a sentence of its own.
fn sentence(reason: &str) -> String {
    let mut characters = reason.chars();
    let first = characters.next().map(char::to_uppercase);
    let end = if reason.ends_with('?') { "" } else { "." };
    let first: String = first.into_iter().flatten().collect();
    format!("{first}{}{end}", characters.as_str())
}
