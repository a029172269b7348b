//! Which rule refused a request, for access logs and other filters.

use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;
use hivemind_shared::decision::Decision;

/// The namespace in the stream's dynamic metadata.
const NAMESPACE: &str = "hivemind";

/// The rule that refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fired {
    /// Where it is in the rules: `domain.key_value.key`.
    path: String,
    /// Its name; empty when it has none.
    name: String,
}

impl Fired {
    /// `None` when the request passes.
    pub(crate) fn of(decision: &Decision) -> Option<Self> {
        let id = decision.fired()?;
        let rules = decision.rules()?;
        Some(Self {
            path: rules.path(id).to_string(),
            name: rules.rule(id)?.name.to_string(),
        })
    }

    /// Leaves it in the metadata of the request's stream.
    pub(crate) fn note(&self, envoy: &mut impl EnvoyHttpFilter) {
        envoy.set_dynamic_metadata_string(NAMESPACE, "rule", &self.path);
        if !self.name.is_empty() {
            envoy.set_dynamic_metadata_string(NAMESPACE, "rule_name", &self.name);
        }
    }
}
