//! Hivemind as an Envoy dynamic module: `libhivemind.so`, with one HTTP filter, `ratelimit`.
//!
//! The filter decides inside the Envoy worker, by rules and counters in the memory-mapped region that
//! meshd keeps: no call to a service, no lock. It works in Envoy 1.38, 1.39 and 1.40.
//!
//! # Configuration
//!
//! ```yaml
//! http_filters:
//! - name: hivemind
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
//!     dynamic_module_config: {name: hivemind} # libhivemind.so in $ENVOY_DYNAMIC_MODULES_SEARCH_PATH
//!     filter_name: ratelimit
//!     filter_config:
//!       "@type": type.googleapis.com/google.protobuf.Struct
//!       value:
//!         domain: edge
//!         rate_limits:
//!         - actions:
//!           - remote_address: {}
//!         - actions:
//!           - request_headers: {header_name: x-user, descriptor_key: user}
//!           - header_value_match:
//!               descriptor_value: write
//!               headers:
//!               - name: ":method"
//!                 string_match: {exact: POST}
//! - name: envoy.filters.http.router
//!   typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
//! ```
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `domain` | required | the domain whose rules apply |
//! | `region` | `/dev/shm/hivemind/region` | meshd's `region.path` |
//! | `region_owner` | none | the number of a user who may own the region besides root, Envoy's own user and members of Envoy's groups |
//! | `rate_limits` | none | which descriptors a request has, see below |
//! | `failure_mode_deny` | `false` | refuse requests that cannot be decided; otherwise they pass |
//! | `enable_x_ratelimit_headers` | `OFF` | `DRAFT_VERSION_03` puts `x-ratelimit-limit`, `-remaining` and `-reset` on every response, as Envoy's ratelimit filter renders them |
//! | `disable_x_envoy_ratelimited_header` | `false` | leave `x-envoy-ratelimited` away |
//! | `rate_limited_status` | `{code: 429}` | status of a limited request; below 400 it is 429 |
//! | `rate_limited_as_resource_exhausted` | `false` | answer limited gRPC requests with RESOURCE_EXHAUSTED, not UNAVAILABLE |
//! | `status_on_error` | `{code: 500}` | status of a request that is refused because it cannot be decided |
//! | `stat_prefix` | none | comes after `hivemind.` in the names of the stats |
//!
//! `rate_limits` has the shape of a route's `rate_limits` in Envoy: a list of `actions`, each list one
//! descriptor, each action one entry. The actions are `request_headers`, `remote_address`,
//! `generic_key` and `header_value_match`, with the fields and the meaning they have in Envoy: an
//! action without a value drops its descriptor. Anything the filter does not know or does not honour is
//! an error: Envoy logs every problem with its place in the configuration, and rejects it.
//!
//! A route, virtual host or weighted cluster can have a configuration of its own in
//! `typed_per_filter_config` (a `DynamicModuleFilterPerRoute` with `per_route_config_name: ratelimit`).
//! It takes the place of the filter's as a whole, with the same keys except `stat_prefix`; one with a
//! `domain` alone switches limits off. Envoy 1.38 hands a route's `Struct` over in another form than
//! the filter's; there, write the JSON as text in a `google.protobuf.StringValue`.
//!
//! # Answers
//!
//! A request over its limit is answered 429 with `x-envoy-ratelimited: true` and `retry-after`, and with
//! the response code details `request_rate_limited`; one that is refused because it cannot be decided,
//! 500 with `rate_limiter_error`. A module cannot set Envoy's response flags; access logs find `RL` and
//! `RLSE` as `%CUSTOM_FLAGS%` instead of `%RESPONSE_FLAGS%`.
//!
//! # Stats
//!
//! Under Envoy's `/stats`, after the module's metrics namespace (`dynamicmodulescustom.` unless
//! `dynamic_module_config` has a `metrics_namespace`):
//!
//! | counter | requests |
//! |---|---|
//! | `hivemind.ok` | within their limits |
//! | `hivemind.over_limit` | over a limit |
//! | `hivemind.error.<cause>` | that could not be decided: `region_missing`, `region_version`, `no_rules`, `region_full` and so on, one counter for each cause |
//! | `hivemind.failure_mode_allowed` | of those, let through |
//!
//! Requests without a descriptor are not asked about and not counted.
//!
//! # The region
//!
//! Whatever state the region is in, Envoy serves. The filter attaches as soon as the region is there,
//! notices within a second of traffic that it was removed or replaced, and logs a cause once, not with
//! every request. When meshd is down, the filter goes on with the rules and counters there are.
#![forbid(unsafe_code)]

mod actions;
mod address;
mod attachment;
mod config;
mod descriptors;
mod desk;
#[cfg(test)]
mod fake_envoy;
mod filter;
mod fired;
mod grpc;
mod header_matcher;
mod headers;
mod health;
mod stats;
#[cfg(test)]
mod tests;

use std::any::Any;

use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyHttpFilter, EnvoyHttpFilterConfig, HttpFilterConfig, declare_init_functions,
    envoy_log_error,
};

use config::ConfigError;
use filter::{FilterConfig, RouteConfig};
use stats::Stats;

declare_init_functions!(init, new_filter_config, new_route_config);

/// The one filter of this module.
const FILTER_NAME: &str = "ratelimit";

fn init() -> bool {
    true
}

fn new_filter_config<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    envoy: &mut EC,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    let settings = accepted("filter_config", name, config::filter_settings(config))?;
    match Stats::define(envoy, &settings.stat_prefix) {
        Ok(stats) => Some(Box::new(FilterConfig::new(settings.policy, stats))),
        Err(error) => {
            envoy_log_error!("hivemind: Envoy refused to define the filter's counters: {error:?}");
            None
        }
    }
}

fn new_route_config(name: &str, config: &[u8]) -> Option<Box<dyn Any>> {
    let policy = accepted(
        "per-route filter_config",
        name,
        config::route_policy(config),
    )?;
    Some(Box::new(RouteConfig::new(policy)))
}

/// Passes on a configuration for the filter there is; logs what is wrong otherwise.
fn accepted<T>(what: &str, name: &str, config: Result<T, ConfigError>) -> Option<T> {
    if name != FILTER_NAME {
        envoy_log_error!(
            "hivemind: there is no filter named {name:?} in this module; the one there is is \
             {FILTER_NAME:?}"
        );
        return None;
    }
    config
        .inspect_err(|error| {
            for problem in &error.problems {
                envoy_log_error!("hivemind: {what}: {problem}");
            }
        })
        .ok()
}
