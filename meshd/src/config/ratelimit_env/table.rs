//! Which variable of envoyproxy/ratelimit is which key here, and which have no equal. SPECIFICATION.md
//! has the same table for people; a test holds the two together.

use super::reading::Reading;

/// A variable that has an equal.
#[derive(Debug)]
pub(super) struct Equal {
    /// Its name.
    pub(super) variable: &'static str,
    /// The path of our key.
    pub(super) key: &'static str,
    /// How its values are written there.
    pub(super) reading: Reading,
    /// The variable that has to be true for it to mean anything.
    pub(super) only_with: Option<&'static str>,
}

/// A variable that is the key under another name.
const fn equal(variable: &'static str, key: &'static str, reading: Reading) -> Equal {
    Equal {
        variable,
        key,
        reading,
        only_with: None,
    }
}

/// A file or name that only counts where `switch` turns TLS on.
const fn tls(variable: &'static str, key: &'static str, switch: &'static str) -> Equal {
    Equal {
        variable,
        key,
        reading: Reading::Text,
        only_with: Some(switch),
    }
}

/// What turns TLS on at the gRPC port.
pub(super) const SERVER_TLS: &str = "GRPC_SERVER_USE_TLS";

/// What turns the exporter for Prometheus on.
pub(super) const PROMETHEUS: &str = "USE_PROMETHEUS";

/// Where it listens.
pub(super) const PROMETHEUS_ADDRESS: &str = "PROMETHEUS_ADDR";

/// The same as a key of ours.
pub(super) const METRICS_BIND: &str = "metrics.bind";

/// Where rules come from.
pub(super) const CONFIG_TYPE: &str = "CONFIG_TYPE";

/// The management server.
pub(super) const XDS_SERVER: &str = "CONFIG_GRPC_XDS_SERVER_URL";

/// The same as a key of ours.
pub(super) const XDS_SERVER_KEY: &str = "xds.server";

/// What turns TLS on towards the management server.
const XDS_TLS: &str = "CONFIG_GRPC_XDS_SERVER_USE_TLS";

/// Variables that are one of our keys each.
pub(super) const EQUALS: [Equal; 40] = [
    equal("GRPC_HOST", "server.address", Reading::Address),
    equal("GRPC_PORT", "server.grpc_port", Reading::Text),
    equal("GRPC_UDS", "server.grpc_socket", Reading::Text),
    equal(
        "GRPC_MAX_CONNECTION_AGE",
        "server.max_connection_age",
        Reading::Duration,
    ),
    equal(
        "GRPC_MAX_CONNECTION_AGE_GRACE",
        "server.max_connection_age_grace",
        Reading::Duration,
    ),
    tls("GRPC_SERVER_TLS_CERT", "server.tls_cert_file", SERVER_TLS),
    tls("GRPC_SERVER_TLS_KEY", "server.tls_key_file", SERVER_TLS),
    tls(
        "GRPC_CLIENT_TLS_CACERT",
        "server.tls_client_ca_file",
        SERVER_TLS,
    ),
    tls("GRPC_CLIENT_TLS_SAN", "server.tls_client_san", SERVER_TLS),
    equal("HOST", "server.http_address", Reading::Address),
    equal("PORT", "server.http_port", Reading::Text),
    equal("DEBUG_HOST", "admin.address", Reading::Address),
    equal("DEBUG_PORT", "admin.port", Reading::Text),
    equal("LOG_LEVEL", "log.level", Reading::LogLevel),
    equal("LOG_FORMAT", "log.format", Reading::LogFormat),
    equal(CONFIG_TYPE, "rate_limiting.source", Reading::Source),
    equal(
        "MERGE_DOMAIN_CONFIG",
        "rate_limiting.merge_domain_config",
        Reading::Boolean,
    ),
    equal("SHADOW_MODE", "rate_limiting.shadow_mode", Reading::Boolean),
    equal("QUOTA_MODE", "rate_limiting.quota_mode", Reading::Boolean),
    equal(
        "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT",
        "rate_limiting.count_denied",
        Reading::Opposite,
    ),
    equal(
        "LIMIT_RESPONSE_HEADERS_ENABLED",
        "rate_limiting.response_headers",
        Reading::Boolean,
    ),
    equal(
        "LIMIT_LIMIT_HEADER",
        "rate_limiting.limit_header",
        Reading::Text,
    ),
    equal(
        "LIMIT_REMAINING_HEADER",
        "rate_limiting.remaining_header",
        Reading::Text,
    ),
    equal(
        "LIMIT_RESET_HEADER",
        "rate_limiting.reset_header",
        Reading::Text,
    ),
    equal(
        "RESPONSE_DYNAMIC_METADATA",
        "rate_limiting.response_dynamic_metadata",
        Reading::Boolean,
    ),
    equal(XDS_SERVER, XDS_SERVER_KEY, Reading::Target),
    equal("CONFIG_GRPC_XDS_NODE_ID", "xds.node_id", Reading::Text),
    equal(
        "CONFIG_GRPC_XDS_NODE_METADATA",
        "xds.node_metadata",
        Reading::Text,
    ),
    equal(
        "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS",
        "xds.headers",
        Reading::Headers,
    ),
    equal(XDS_TLS, "xds.tls", Reading::Boolean),
    tls(
        "CONFIG_GRPC_XDS_SERVER_TLS_CACERT",
        "xds.tls_ca_file",
        XDS_TLS,
    ),
    tls(
        "CONFIG_GRPC_XDS_CLIENT_TLS_CERT",
        "xds.tls_cert_file",
        XDS_TLS,
    ),
    tls(
        "CONFIG_GRPC_XDS_CLIENT_TLS_KEY",
        "xds.tls_key_file",
        XDS_TLS,
    ),
    tls(
        "CONFIG_GRPC_XDS_SERVER_TLS_SAN",
        "xds.tls_server_name",
        XDS_TLS,
    ),
    equal(
        "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL",
        "xds.backoff_initial",
        Reading::Duration,
    ),
    equal(
        "XDS_CLIENT_BACKOFF_MAX_INTERVAL",
        "xds.backoff_max",
        Reading::Duration,
    ),
    equal(
        "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES",
        "xds.max_message_bytes",
        Reading::Size,
    ),
    equal(PROMETHEUS, "metrics.ratelimit_compat", Reading::Boolean),
    equal(
        "NEAR_LIMIT_RATIO",
        "metrics.near_limit_ratio",
        Reading::Share,
    ),
    Equal {
        variable: PROMETHEUS_ADDRESS,
        key: METRICS_BIND,
        reading: Reading::Bind,
        only_with: Some(PROMETHEUS),
    },
];

/// Variables several of which make one of our keys; what they make is in [`super::combined`].
pub(super) const COMBINED: [(&str, &str); 6] = [
    (SERVER_TLS, "server.tls_cert_file"),
    ("RUNTIME_ROOT", "rate_limiting.config_path"),
    ("RUNTIME_SUBDIRECTORY", "rate_limiting.config_path"),
    ("RUNTIME_APPDIRECTORY", "rate_limiting.config_path"),
    (
        "FORCE_START_WITHOUT_INITIAL_CONFIG",
        "rate_limiting.require_initial_config",
    ),
    (
        "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED",
        "rate_limiting.require_initial_config",
    ),
];

/// Variables without an equal, and what there is to say of them.
#[derive(Debug)]
pub(super) struct Group {
    /// Their names, or with a `*` at the end what their names begin with.
    pub(super) names: &'static [&'static str],
    /// Why they have no effect, to complete "… have no effect: ".
    pub(super) reason: &'static str,
}

impl Group {
    /// Whether `variable` is one of the group.
    pub(super) fn holds(&self, variable: &str) -> bool {
        self.names.iter().any(|name| match name.strip_suffix('*') {
            Some(prefix) => variable.starts_with(prefix),
            None => *name == variable,
        })
    }
}

/// Every group without an equal; the first that holds a variable has it.
pub(super) const WITHOUT_EQUAL: [Group; 6] = [
    Group {
        names: &[
            "BACKEND_TYPE",
            "REDIS_*",
            "MEMCACHE_*",
            "LOCAL_CACHE_SIZE_IN_BYTES",
            "EXPIRATION_JITTER_MAX_SECONDS",
            "CACHE_KEY_PREFIX",
        ],
        reason: "there is no store, counts are in region.path",
    },
    Group {
        names: &[
            "USE_STATSD",
            "STATSD_*",
            "USE_DOG_STATSD",
            "USE_DOG_STATSD_MOGRIFIERS",
            "DOG_STATSD_MOGRIFIER_*",
            "EXTRA_TAGS",
            "STATS_FLUSH_INTERVAL",
            "DISABLE_STATS",
            "PROMETHEUS_*",
            "GOSTATS_*",
        ],
        reason: "numbers are at /metrics, on the HTTP port and on the admin port",
    },
    Group {
        names: &["TRACING_*", "OTEL_*"],
        reason: "meshd sends no traces",
    },
    Group {
        names: &["RUNTIME_IGNOREDOTFILES", "RUNTIME_WATCH_ROOT"],
        reason: "names with a dot in front are always passed over, and every change is noticed, of links \
                 as well",
    },
    Group {
        names: &[
            "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL",
            "XDS_CLIENT_BACKOFF_JITTER",
            "XDS_CLIENT_BACKOFF_RANDOM_FACTOR",
        ],
        reason: "waits before connecting again double from xds.backoff_initial to xds.backoff_max, with \
                 jitter",
    },
    Group {
        names: &[
            "CONFIG_GRPC_XDS_*",
            "XDS_CLIENT_*",
            "GRPC_SERVER_*",
            "GRPC_CLIENT_*",
        ],
        reason: "envoyproxy/ratelimit has no variable of that name",
    },
];

/// Whether a variable says that the process was meant to be envoyproxy/ratelimit: names that nobody else
/// uses. `PORT`, `LOG_LEVEL` or `REDIS_URL` alone say nothing.
pub(super) fn is_unmistakable(variable: &str, value: &str) -> bool {
    match variable {
        "RUNTIME_ROOT"
        | "RUNTIME_SUBDIRECTORY"
        | "RUNTIME_APPDIRECTORY"
        | "LIMIT_RESPONSE_HEADERS_ENABLED"
        | "REDIS_SOCKET_TYPE"
        | "MEMCACHE_HOST_PORT"
        | "MEMCACHE_SRV"
        | "MEMCACHE_SRV_REFRESH"
        | "MEMCACHE_MAX_IDLE_CONNS" => true,
        "BACKEND_TYPE" => value == "memcache",
        CONFIG_TYPE => Reading::Source.read(value).is_ok(),
        other => other.starts_with("CONFIG_GRPC_XDS_"),
    }
}
