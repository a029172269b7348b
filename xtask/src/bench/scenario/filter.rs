//! The HTTP filters that are compared, as Envoy is told about them.

use std::path::Path;

use serde_json::{Value, json};

use super::{DOMAIN, PLENTY};

const DYNAMIC_MODULE: &str = "dynamic_modules.v3.DynamicModuleFilter";
const LOCAL: &str = "local_ratelimit.v3.LocalRateLimit";
const SERVICE: &str = "ratelimit.v3.RateLimit";

/// What is limited: one action a descriptor, and the key it makes.
pub(super) struct Limited {
    pub(super) keys: Vec<String>,
    actions: Vec<Value>,
}

impl Limited {
    /// The client's address.
    pub(super) fn address() -> Self {
        let (keys, actions) = (
            vec!["remote_address".to_owned()],
            vec![json!({"remote_address": {}})],
        );
        Self { keys, actions }
    }

    /// The header `x-user`, under as many keys as there shall be descriptors.
    pub(super) fn headers(descriptors: usize) -> Self {
        let keys: Vec<String> = (1..=descriptors).map(header_key).collect();
        let action =
            |key| json!({"request_headers": {"header_name": "x-user", "descriptor_key": key}});
        Self {
            actions: keys.iter().map(action).collect(),
            keys,
        }
    }

    /// The same as the `rate_limits` of a route.
    pub(super) fn rate_limits(&self) -> Value {
        self.actions
            .iter()
            .map(|action| json!({"actions": [action]}))
            .collect()
    }
}

/// The key of the header's descriptor with this number.
pub(super) fn header_key(number: usize) -> String {
    format!("user_{number}")
}

/// A module that does nothing.
pub(super) fn empty_module() -> Value {
    let module = json!({"dynamic_module_config": {"name": "empty"}, "filter_name": "empty"});
    extension(DYNAMIC_MODULE, module)
}

/// Our module.
pub(super) fn module(region: &Path, limited: &Limited, answer_headers: bool) -> Value {
    let mut config = json!({
        "domain": DOMAIN,
        "region": region,
        "rate_limits": limited.rate_limits(),
    });
    if answer_headers {
        config["enable_x_ratelimit_headers"] = json!("DRAFT_VERSION_03");
    }
    let module = json!({
        "dynamic_module_config": {"name": "hivemind"},
        "filter_name": "ratelimit",
        "filter_config": {
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": config,
        },
    });
    extension(DYNAMIC_MODULE, module)
}

/// Envoy's own limiter with one bucket.
pub(super) fn local_bucket() -> Value {
    extension(LOCAL, local_config())
}

/// Envoy's own limiter with a bucket a value.
pub(super) fn local(limited: &Limited) -> Value {
    let mut config = local_config();
    config["rate_limits"] = limited.rate_limits();
    // An entry without a value stands for a bucket a value.
    let descriptor =
        |key: &String| json!({"entries": [{"key": key}], "token_bucket": token_bucket()});
    config["descriptors"] = limited.keys.iter().map(descriptor).collect();
    extension(LOCAL, config)
}

/// Envoy's filter that asks the cluster `meshd`.
pub(super) fn service() -> Value {
    let config = json!({
        "domain": DOMAIN,
        // Under valgrind an answer takes its time.
        "timeout": "30s",
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "meshd"}},
        },
    });
    extension(SERVICE, config)
}

fn local_config() -> Value {
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "stat_prefix": "local",
        "token_bucket": token_bucket(),
        "filter_enabled": always,
        "filter_enforced": always,
    })
}

fn token_bucket() -> Value {
    json!({"max_tokens": PLENTY, "tokens_per_fill": PLENTY, "fill_interval": "1s"})
}

fn extension(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!(
        "type.googleapis.com/envoy.extensions.filters.http.{kind}"
    ));
    json!({"name": "measured", "typed_config": config})
}
