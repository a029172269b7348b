//! The Envoys that are compared: the same proxy hop, one filter different.

mod filter;
mod hop;

use std::path::Path;

use serde_json::{Value, json};

use self::filter::Limited;
use crate::bootstrap::Bootstrap;
use crate::proxy::Plan;
use crate::site::Site;

pub(super) use self::hop::LISTENER;

/// The domain of every rule here.
pub(super) const DOMAIN: &str = "bench";

/// The header a load has to send: descriptors have its value.
pub(super) const HEADER: &str = "x-user: alice";

/// The most descriptors a scenario makes of a request.
const DESCRIPTORS_MAX: usize = 10;

/// A limit nobody reaches, so that every request goes the whole way.
const PLENTY: u32 = 4_000_000_000;

/// What stands before the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// Nothing.
    NoFilter,
    /// A dynamic module that does nothing.
    EmptyModule,
    /// Our module, with one descriptor of the client's address.
    ModuleByAddress,
    /// Our module, with descriptors of a request header.
    ModuleByHeader {
        /// How many descriptors it makes of a request.
        descriptors: usize,
        /// Whether it adds `x-ratelimit-*` to the answer.
        answer_headers: bool,
    },
    /// Envoy's local_ratelimit with one bucket for everything.
    LocalBucket,
    /// Envoy's local_ratelimit with a bucket an address, made as clients come.
    LocalByAddress,
    /// Envoy's local_ratelimit with a bucket a header value, made as they come.
    LocalByHeader,
    /// Envoy's ratelimit filter asking meshd, with one descriptor of a request header.
    Service,
}

impl Scenario {
    /// Every scenario, in the order of the table.
    pub(super) fn all() -> Vec<Self> {
        let headers = |descriptors, answer_headers| Self::ModuleByHeader {
            descriptors,
            answer_headers,
        };
        vec![
            Self::NoFilter,
            Self::EmptyModule,
            Self::ModuleByAddress,
            headers(1, false),
            headers(1, true),
            headers(4, false),
            headers(4, true),
            headers(DESCRIPTORS_MAX, false),
            headers(DESCRIPTORS_MAX, true),
            Self::LocalBucket,
            Self::LocalByAddress,
            Self::LocalByHeader,
            Self::Service,
        ]
    }

    /// Whether this is our module, which an empty one can be compared with.
    pub(super) fn is_our_module(self) -> bool {
        matches!(self, Self::ModuleByAddress | Self::ModuleByHeader { .. })
    }

    /// What the tables call it.
    pub(super) fn name(self) -> String {
        match self {
            Self::NoFilter => "no filter".to_owned(),
            Self::EmptyModule => "empty module".to_owned(),
            Self::ModuleByAddress => "hivemind, address".to_owned(),
            Self::ModuleByHeader {
                descriptors,
                answer_headers,
            } => {
                let source = match descriptors {
                    1 => "header".to_owned(),
                    several => format!("{several} headers"),
                };
                let answer = if answer_headers {
                    ", x-ratelimit-*"
                } else {
                    ""
                };
                format!("hivemind, {source}{answer}")
            }
            Self::LocalBucket => "local_ratelimit, one bucket".to_owned(),
            Self::LocalByAddress => "local_ratelimit, address".to_owned(),
            Self::LocalByHeader => "local_ratelimit, header".to_owned(),
            Self::Service => "ratelimit filter and meshd, header".to_owned(),
        }
    }

    /// An Envoy with one worker that does this. `empty_module_dir` holds `libempty.so`.
    pub(super) fn plan(self, site: &Site, empty_module_dir: &Path) -> std::io::Result<Plan> {
        let filter = match self {
            Self::NoFilter => None,
            Self::EmptyModule => Some(filter::empty_module()),
            Self::ModuleByAddress => {
                Some(filter::module(&site.region(), &Limited::address(), false))
            }
            Self::ModuleByHeader {
                descriptors,
                answer_headers,
            } => {
                let limited = Limited::headers(descriptors);
                Some(filter::module(&site.region(), &limited, answer_headers))
            }
            Self::LocalBucket => Some(filter::local_bucket()),
            Self::LocalByAddress => Some(filter::local(&Limited::address())),
            Self::LocalByHeader => Some(filter::local(&Limited::headers(1))),
            Self::Service => Some(filter::service()),
        };
        let bootstrap = match self {
            Self::Service => {
                let limits = Limited::headers(1).rate_limits();
                hop::bootstrap(filter, Some((limits, site.meshd_plan().grpc_port)))?
            }
            _ => hop::bootstrap(filter, None)?,
        };
        let mut plan = site.proxy_plan("envoy", Bootstrap::from_tree(bootstrap));
        if self == Self::EmptyModule {
            plan.module_dir = Some(empty_module_dir.to_owned());
        }
        Ok(plan)
    }
}

/// Rules for every descriptor of every scenario.
pub(super) fn rules() -> String {
    let mut keys = Limited::headers(DESCRIPTORS_MAX).keys;
    keys.extend(Limited::address().keys);
    let rule = |key: &String| json!({"key": key, "rate_limit": {"unit": "day", "requests_per_unit": PLENTY}});
    let rules: Value = keys.iter().map(rule).collect();
    // JSON is YAML.
    format!("{:#}\n", json!({"domain": DOMAIN, "descriptors": rules}))
}

/// The key of the first descriptor that is made of a header.
pub(super) fn header_key() -> String {
    filter::header_key(1)
}
