//! Decisions of the Rate Limit Service as debug lines: so many a second of those that were admitted, of those that were
//! refused and of those that failed, with how many there were besides.

use hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use hivemind_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use hivemind_shared::decision::{Code, Decision, Status};
use hivemind_shared::descriptor::text;
use hivemind_shared::rules::RuleId;
use hivemind_shared::yaml::{escaped, printable};
use tracing::{Level, debug, enabled};

use super::rate_limit::RateLimitError;
use crate::telemetry::sampler::Sampler;

/// What `RUST_LOG` names them by.
const TARGET: &str = "meshd::decisions";

/// Descriptors of a request, and entries of a descriptor, that a line shows.
const SHOWN_MAX: usize = 8;

static ADMITTED: Sampler = Sampler::new();
static REFUSED: Sampler = Sampler::new();
static FAILED: Sampler = Sampler::new();

/// Whether decisions are logged: while nothing is at this level, a single relaxed load.
#[inline]
pub(super) fn is_on() -> bool {
    enabled!(target: TARGET, Level::DEBUG)
}

/// Logs a decision.
#[cold]
pub(super) fn decided(request: &RateLimitRequest, decision: &Decision) {
    let (sampler, code) = match decision.overall {
        Code::Ok => (&ADMITTED, "OK"),
        Code::OverLimit => (&REFUSED, "OVER_LIMIT"),
    };
    let Some(not_shown) = sampler.next() else {
        return;
    };
    let descriptors = request.descriptors.iter().zip(&decision.statuses);
    let descriptors = descriptors.map(|(descriptor, status)| {
        format!("{} ({})", shown(descriptor), standing(decision, status))
    });
    debug!(
        target: TARGET,
        code,
        domain = printable(&request.domain),
        hits = request.hits_addend.max(1),
        shadowed = decision.is_shadowed(),
        not_shown,
        descriptors = %listed(descriptors),
        "decision"
    );
}

/// Logs that there is no decision.
#[cold]
pub(super) fn failed(request: &RateLimitRequest, error: &RateLimitError) {
    let Some(not_shown) = FAILED.next() else {
        return;
    };
    debug!(
        target: TARGET,
        %error,
        domain = printable(&request.domain),
        hits = request.hits_addend.max(1),
        not_shown,
        descriptors = %listed(request.descriptors.iter().map(shown)),
        "no decision"
    );
}

/// The first of them in a line.
fn listed(descriptors: impl ExactSizeIterator<Item = String>) -> String {
    let more = descriptors.len().saturating_sub(SHOWN_MAX);
    let mut texts: Vec<String> = descriptors.take(SHOWN_MAX).collect();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

/// A descriptor as `hivectl` shows and takes it, with the hits that are its own.
fn shown(descriptor: &RateLimitDescriptor) -> String {
    let entries = descriptor.entries.iter().take(SHOWN_MAX).map(|entry| {
        let [key, value] = [&entry.key, &entry.value].map(|text| String::from_utf8_lossy(text));
        text::entry(&key, &value)
    });
    let mut entries: Vec<String> = entries.collect();
    if descriptor.entries.len() > SHOWN_MAX {
        entries.push("…".to_owned());
    }
    let text = entries.join(",");
    match descriptor.hits_addend {
        Some(hits) => format!("{text} hits={hits}"),
        None => text,
    }
}

/// What became of a descriptor.
fn standing(decision: &Decision, status: &Status) -> String {
    let path = |rule: RuleId| {
        let rules = decision.rules();
        rules.map_or_else(String::new, |rules| escaped(&rules.path(rule).to_string()))
    };
    match (status.limit, status.rule) {
        (None, None) => "no limit".to_owned(),
        (None, Some(rule)) => format!("unlimited by {}", path(rule)),
        (Some(limit), _) => {
            let code = match status.code {
                Code::Ok => "OK",
                Code::OverLimit => "OVER_LIMIT",
            };
            let by = limit.rule.map_or_else(|| "the request".to_owned(), path);
            format!(
                "{code} by {by}, {} per {}, {} left, reset in {} s",
                limit.requests_per_unit, limit.period, status.remaining, status.reset_s
            )
        }
    }
}
