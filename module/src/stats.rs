//! The filter's counters in Envoy's stats.

use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_metrics_result;
use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyCounterId, EnvoyHttpFilter, EnvoyHttpFilterConfig,
};
use hivemind_shared::decision::DecideError;
use hivemind_shared::region::AttachError;

/// Every cause that a request could not be decided for has a counter of its own.
const CAUSES: [&[&str]; 2] = [&AttachError::CAUSES, &DecideError::CAUSES];

/// Ids of the counters of one filter configuration.
#[derive(Debug)]
pub(crate) struct Stats {
    ok: EnvoyCounterId,
    over_limit: EnvoyCounterId,
    failure_mode_allowed: EnvoyCounterId,
    errors: Vec<(&'static str, EnvoyCounterId)>,
}

impl Stats {
    /// Defines the counters: `hivemind.ok` and so on, or `hivemind.<prefix>.ok` with a prefix.
    ///
    /// # Errors
    /// As [`EnvoyHttpFilterConfig::define_counter`]: not while Envoy makes a configuration.
    pub(crate) fn define(
        envoy: &mut impl EnvoyHttpFilterConfig,
        prefix: &str,
    ) -> Result<Self, envoy_dynamic_module_type_metrics_result> {
        let dot = if prefix.is_empty() { "" } else { "." };
        let mut define =
            |name: &str| envoy.define_counter(&format!("hivemind.{prefix}{dot}{name}"));
        let mut errors = Vec::new();
        for cause in CAUSES.into_iter().flatten() {
            errors.push((*cause, define(&format!("error.{cause}"))?));
        }
        Ok(Self {
            ok: define("ok")?,
            over_limit: define("over_limit")?,
            failure_mode_allowed: define("failure_mode_allowed")?,
            errors,
        })
    }

    /// Counts a request within its limits.
    #[inline]
    pub(crate) fn ok(&self, envoy: &impl EnvoyHttpFilter) {
        increment(envoy, self.ok);
    }

    /// Counts a request over its limits.
    pub(crate) fn over_limit(&self, envoy: &impl EnvoyHttpFilter) {
        increment(envoy, self.over_limit);
    }

    /// Counts a request that could not be decided.
    pub(crate) fn error(&self, envoy: &impl EnvoyHttpFilter, cause: &str) {
        let counter = self.errors.iter().find(|(name, _)| *name == cause);
        if let Some((_, id)) = counter {
            increment(envoy, *id);
        }
    }

    /// Counts a request that passed although it could not be decided.
    pub(crate) fn failure_mode_allowed(&self, envoy: &impl EnvoyHttpFilter) {
        increment(envoy, self.failure_mode_allowed);
    }
}

#[inline]
fn increment(envoy: &impl EnvoyHttpFilter, id: EnvoyCounterId) {
    // Cannot fail: the id is of this filter's own configuration. A lost count is no reason to fail a
    // request in any case.
    let _ = envoy.increment_counter(id, 1);
}
