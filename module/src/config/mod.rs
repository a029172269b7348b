//! The filter's configuration: JSON in, [`Policy`] out, or every problem and where it is.

mod actions;
mod matchers;
mod reader;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;

use hivemind_shared::region::User;
use serde_json::Value;

use crate::actions::RateLimit;
pub(crate) use reader::Problem;
use reader::{NotSupported, Object, Problems, Reader};

/// What to do with requests: a configuration of the filter or of a route, ready for use.
#[derive(Debug)]
pub(crate) struct Policy {
    /// The domain whose rules apply.
    pub(crate) domain: Box<[u8]>,
    /// Which descriptors a request has.
    pub(crate) rate_limits: Box<[RateLimit]>,
    /// What a limited, and a failed, request is answered.
    pub(crate) answers: Answers,
    /// Whether a request that cannot be decided is refused. Otherwise it passes.
    pub(crate) failure_mode_deny: bool,
    /// Where the region to count in is.
    pub(crate) region: PathBuf,
    /// Who may own it besides root, Envoy's user and members of Envoy's groups.
    pub(crate) region_owner: Option<User>,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// HTTP status of a limited request, at least 400.
    pub(crate) limited_status: u32,
    /// Whether a limited gRPC request is answered RESOURCE_EXHAUSTED, not UNAVAILABLE.
    pub(crate) limited_as_resource_exhausted: bool,
    /// HTTP status of a request that could not be decided and is refused.
    pub(crate) error_status: u32,
    /// Whether limited responses carry `x-envoy-ratelimited`.
    pub(crate) x_envoy_ratelimited: bool,
    /// Whether responses carry the `x-ratelimit-*` headers of draft 03.
    pub(crate) x_ratelimit_headers: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            limited_status: 429,
            limited_as_resource_exhausted: false,
            error_status: 500,
            x_envoy_ratelimited: true,
            x_ratelimit_headers: false,
        }
    }
}

/// A configuration of the filter itself.
#[derive(Debug)]
pub(crate) struct FilterSettings {
    /// What to do with requests.
    pub(crate) policy: Policy,
    /// Comes between `hivemind.` and the name in this filter's stats; empty for nothing.
    pub(crate) stat_prefix: String,
}

/// A configuration that cannot be used, and everything that is wrong with it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", joined(.problems))]
pub(crate) struct ConfigError {
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

fn joined(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Reads the configuration of a filter.
///
/// # Errors
/// Every problem in the JSON; its author has to mend it.
pub(crate) fn filter_settings(json: &[u8]) -> Result<FilterSettings, ConfigError> {
    read(json, |config| {
        let stat_prefix = config.field("stat_prefix").and_then(|prefix| prefix.text());
        Some(FilterSettings {
            policy: policy(config)?,
            stat_prefix: stat_prefix.unwrap_or_default().to_owned(),
        })
    })
}

/// Reads the configuration of a route, which takes the place of the filter's.
///
/// # Errors
/// As for [`filter_settings`].
pub(crate) fn route_policy(json: &[u8]) -> Result<Policy, ConfigError> {
    read(json, |config| {
        if let Some(prefix) = config.field("stat_prefix") {
            prefix.problem(
                "cannot be set on a route: the stats are the filter's; set it in the filter's own \
                 configuration",
            );
        }
        policy(config)
    })
}

/// Keys of a configuration.
const KEYS: &[&str] = &[
    "domain",
    "region",
    "region_owner",
    "failure_mode_deny",
    "rate_limits",
    "enable_x_ratelimit_headers",
    "disable_x_envoy_ratelimited_header",
    "rate_limited_status",
    "rate_limited_as_resource_exhausted",
    "status_on_error",
    "stat_prefix",
];

/// Keys of Envoy's ratelimit filter that have no place here.
const NOT_SUPPORTED: &[NotSupported] = &[
    (
        "rate_limit_service",
        "this filter decides by itself; remove it",
    ),
    (
        "timeout",
        "no service is called, so there is nothing to wait for; remove it",
    ),
    (
        "stage",
        "every rate limit of the filter applies; use one filter for each stage",
    ),
    (
        "request_type",
        "internal and external requests are treated alike; remove it",
    ),
    ("failure_mode_deny_percent", "use failure_mode_deny"),
    (
        "filter_enabled",
        "use a per-route configuration to switch limits off",
    ),
    ("filter_enforced", "use shadow_mode in the rules"),
    (
        "response_headers_to_add",
        "use Envoy's header_mutation filter",
    ),
];

/// Parses the JSON and reads it, and makes an error of whatever was noted on the way.
fn read<T>(json: &[u8], read: impl FnOnce(&Object<'_>) -> Option<T>) -> Result<T, ConfigError> {
    let value: Value = serde_json::from_slice(json).map_err(|error| {
        let reason = format!(
            "the configuration is not JSON ({error}); write it as a google.protobuf.Struct, or as \
             JSON in a google.protobuf.StringValue"
        );
        ConfigError {
            problems: vec![Problem {
                path: String::new(),
                reason,
            }],
        }
    })?;
    let problems = Problems::default();
    let root = Reader::root(&value, &problems);
    let result = root
        .object(KEYS, NOT_SUPPORTED)
        .and_then(|config| read(&config));
    match (result, problems.into_vec()) {
        (Some(result), problems) if problems.is_empty() => Ok(result),
        (_, problems) => Err(ConfigError { problems }),
    }
}

fn policy(config: &Object<'_>) -> Option<Policy> {
    let domain = config
        .required("domain")
        .and_then(|domain| domain.nonempty_text());
    let region = match config.field("region") {
        Some(region) => region.nonempty_text(),
        None => Some(hivemind_shared::region::DEFAULT_PATH),
    };
    let region_owner = config
        .field("region_owner")
        .and_then(|owner| owner.number_in(0..=u32::MAX));
    let rate_limits = config
        .field("rate_limits")
        .map(|rate_limits| rate_limits.elements(|rate_limit| actions::rate_limit(&rate_limit)));
    let answers = answers(config);
    let failure_mode_deny = config.flag("failure_mode_deny");
    Some(Policy {
        domain: domain?.as_bytes().into(),
        rate_limits: rate_limits.unwrap_or_default().into(),
        answers,
        failure_mode_deny,
        region: region?.into(),
        region_owner: region_owner.map(User::of_id),
    })
}

fn answers(config: &Object<'_>) -> Answers {
    let status = |key| {
        let status = config.field(key)?;
        let status = status.object(&["code"], &[])?;
        status.required("code")?.number_in(200..=599)
    };
    let x_ratelimit_headers = config
        .field("enable_x_ratelimit_headers")
        .and_then(|version| match version.text()? {
            "OFF" => Some(false),
            "DRAFT_VERSION_03" => Some(true),
            other => {
                version.problem(format!("must be OFF or DRAFT_VERSION_03, not {other:?}"));
                None
            }
        });
    let default = Answers::default();
    Answers {
        // As in Envoy: what would look like a success becomes the default.
        limited_status: status("rate_limited_status")
            .filter(|code| *code >= 400)
            .unwrap_or(default.limited_status),
        limited_as_resource_exhausted: config.flag("rate_limited_as_resource_exhausted"),
        error_status: status("status_on_error").unwrap_or(default.error_status),
        x_envoy_ratelimited: !config.flag("disable_x_envoy_ratelimited_header"),
        x_ratelimit_headers: x_ratelimit_headers.unwrap_or(default.x_ratelimit_headers),
    }
}
