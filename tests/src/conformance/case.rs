//! Reading the cases. The files say at their top what each field means.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The files of cases: name and text.
pub const FILES: [(&str, &str); 2] = [
    (
        "conformance/ratelimit.yaml",
        include_str!("../../conformance/ratelimit.yaml"),
    ),
    (
        "conformance/hivemind.yaml",
        include_str!("../../conformance/hivemind.yaml"),
    ),
];

/// All cases of all files.
///
/// # Errors
///
/// When a file is not what it should be, down to a field nobody knows.
pub fn cases() -> anyhow::Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for (name, text) in FILES {
        cases.extend(yaml_serde::from_str::<Vec<Case>>(text).context(name)?);
    }
    for case in &cases {
        let is_run = !case.steps.is_empty();
        ensure!(
            is_run != case.expect_invalid.is_some(),
            "{}: a case has either steps or expect_invalid",
            case.name
        );
    }
    Ok(cases)
}

/// One case: requests and their answers, or files to be refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// The rule files.
    pub config: Vec<String>,
    /// Whether several files may hold rules of one domain.
    #[serde(default)]
    pub merge_domains: bool,
    /// Settings of `rate_limiting` in meshd's service file, beyond the defaults.
    #[serde(default)]
    pub settings: BTreeMap<String, bool>,
    /// Requests in order; none when the files are to be refused.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Why the files are to be refused.
    pub expect_invalid: Option<String>,
    /// Part of what is to be said about them.
    pub message: Option<String>,
    /// Whether it is about time that passes.
    #[serde(default)]
    pub timing: bool,
    /// A remark.
    pub note: Option<String>,
}

/// One request, or several alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The request's domain.
    pub domain: String,
    /// The request's descriptors.
    pub descriptors: Vec<Descriptor>,
    /// The request's addend; 0 as if it were not there.
    #[serde(default)]
    pub hits_addend: u32,
    /// How often it is sent; the expectation is about the last answer.
    #[serde(default = "once")]
    pub repeat: u32,
    /// Time that passes before.
    #[serde(default)]
    pub sleep_ms: u64,
    /// The answer.
    pub expect: Option<Expect>,
    /// The error in place of an answer.
    pub expect_error: Option<ExpectError>,
}

fn once() -> u32 {
    1
}

/// A descriptor of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Keys and values.
    pub entries: Vec<(String, String)>,
    /// A limit of its own.
    pub limit: Option<Limit>,
    /// An addend of its own, which may be 0.
    pub hits_addend: Option<u64>,
}

/// A per-request override.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Hits in a window.
    pub requests_per_unit: u32,
    /// The unit's name in the API, such as `HOUR`; none when it is left out.
    pub unit: Option<String>,
    /// How many of it a window has; none when it is left out.
    pub unit_multiplier: Option<u32>,
}

/// An answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// `OK` or `OVER_LIMIT`.
    pub overall: String,
    /// One for each descriptor, in their order.
    pub statuses: Vec<ExpectStatus>,
    /// The response headers; `*` stands for any value.
    pub headers: Option<BTreeMap<String, String>>,
    /// The field `metadata` of the dynamic metadata; `{}`: there is none.
    pub metadata: Option<serde_json::Value>,
}

/// What is said about a descriptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectStatus {
    /// `OK` or `OVER_LIMIT`.
    pub code: String,
    /// The limit it was held against; null for none.
    pub limit: Option<ExpectLimit>,
    /// Hits left, when the case is about them.
    pub remaining: Option<u32>,
    /// The time to the end of the window is 1 s to this, when the case is about it.
    pub reset_max: Option<u32>,
}

/// A limit in an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectLimit {
    /// Hits in a window.
    pub requests_per_unit: u32,
    /// The unit's name in the API.
    pub unit: String,
    /// How many of it a window has.
    #[serde(default = "once")]
    pub unit_multiplier: u32,
    /// The rule's name, when the case is about it.
    pub name: Option<String>,
}

/// An error in place of an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectError {
    /// The name of the gRPC status code.
    pub code: String,
    /// Part of the message.
    pub contains: String,
}
