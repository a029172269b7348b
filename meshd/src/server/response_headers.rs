//! Headers about a limit that the service asks its caller to add to a response, as envoyproxy/ratelimit
//! does when it is told to.

use hivemind_proto::envoy::config::core::v3::HeaderValue;
use hivemind_shared::decision::{AppliedLimit, Code, Decision, Status};

/// The names they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderNames {
    /// Of the header with the number of hits allowed.
    pub limit: String,
    /// Of the one with the hits left.
    pub remaining: String,
    /// Of the one with the seconds until there are more.
    pub reset: String,
}

impl HeaderNames {
    /// The headers for a decision; none when no limit applied.
    pub(super) fn describe(&self, decision: &Decision) -> Vec<HeaderValue> {
        let Some((status, limit)) = described(decision) else {
            return Vec::new();
        };
        let header = |name: &str, value: u32| HeaderValue {
            key: name.to_owned(),
            value: value.to_string(),
            ..HeaderValue::default()
        };
        vec![
            header(&self.limit, limit.requests_per_unit),
            header(&self.remaining, status.remaining),
            header(&self.reset, status.reset_s),
        ]
    }
}

/// The descriptor that headers describe: the last one that is over without being a quota, or else the nearest
/// ([`Decision::nearest`]).
fn described(decision: &Decision) -> Option<(&Status, AppliedLimit)> {
    let statuses = decision.statuses.iter().rev();
    let over = statuses.filter(|it| it.code == Code::OverLimit && !decision.is_quota(it));
    let last = over
        .filter_map(|status| Some((status, status.limit?)))
        .next();
    last.or_else(|| decision.nearest())
}
