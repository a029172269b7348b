//! Hivemind as an Envoy dynamic module.
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
