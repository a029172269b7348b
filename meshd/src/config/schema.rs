//! Every key of the service configuration, once: the service file, the environment, the flags and
//! the printed configuration all follow this table.

use super::Config;
use super::setting::{Setting, Value};

/// One key: where it belongs, what it means, and how it gets into a [`Config`] and out again.
pub struct Key {
    /// The section it is in, `region` for example.
    pub section: &'static str,
    /// Its name in that section, `max_keys` for example.
    pub name: &'static str,
    /// What stands for its value in the help.
    pub value_name: &'static str,
    /// What it means, for the help.
    pub help: &'static str,
    pub(super) set: fn(&mut Config, &Value) -> Result<(), String>,
    pub(super) show: fn(&Config) -> String,
}

impl Key {
    /// The key as messages name it: `region.max_keys`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it: `HIVEMIND_REGION_MAX_KEYS`.
    pub fn variable(&self) -> String {
        format!("HIVEMIND_{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// The flag that sets it, without dashes: `region-max-keys`.
    pub fn flag(&self) -> String {
        format!("{}-{}", self.section, self.name).replace('_', "-")
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path())
    }
}

/// A key whose section and name are those of the fields of [`Config`].
macro_rules! key {
    ($section:ident.$name:ident, $value_name:literal, $help:literal) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            value_name: $value_name,
            help: $help,
            set: |config, value| {
                config.$section.$name = Setting::read(value)?;
                Ok(())
            },
            show: |config| config.$section.$name.show(),
        }
    };
}

/// Every key, section by section.
pub static KEYS: [Key; 86] = [
    key!(
        node.name,
        "NAME",
        "This host's name in logs and for its peers [default: the host name]"
    ),
    key!(region.path, "PATH", "The file all counters live in"),
    key!(
        region.max_keys,
        "NUMBER",
        "How many counters fit; a change starts a new region"
    ),
    key!(region.mode, "MODE", "Who may open the region, in octal"),
    key!(
        region.label_bytes,
        "BYTES",
        "Room for each key in readable form; a change starts anew"
    ),
    key!(
        region.rules_bytes,
        "BYTES",
        "Room for the compiled rules; a change starts anew"
    ),
    key!(
        region.takeover_timeout,
        "DURATION",
        "Time to take over from a running meshd; 0s gives up at once"
    ),
    key!(
        server.address,
        "ADDRESS",
        "Address of the gRPC and the HTTP port"
    ),
    key!(
        server.grpc_port,
        "PORT",
        "Port of the Rate Limit Service; 0 picks a free one"
    ),
    key!(
        server.grpc_socket,
        "PATH",
        "Unix socket with the same service"
    ),
    key!(
        server.grpc_socket_mode,
        "MODE",
        "Who may connect to that socket, in octal"
    ),
    key!(
        server.tls_cert_file,
        "PATH",
        "Certificate of the gRPC port, PEM; with it, the port speaks TLS alone"
    ),
    key!(server.tls_key_file, "PATH", "Key of that certificate, PEM"),
    key!(
        server.tls_client_ca_file,
        "PATH",
        "Authorities of client certificates, PEM; with it, clients must have one"
    ),
    key!(
        server.tls_client_san,
        "NAME",
        "DNS name or URI that a client certificate must carry"
    ),
    key!(
        server.max_connection_age,
        "DURATION",
        "How old a gRPC connection gets, give or take a tenth; 0s is no limit"
    ),
    key!(
        server.max_connection_age_grace,
        "DURATION",
        "Time for calls in flight on a connection that is too old"
    ),
    key!(
        server.keepalive_interval,
        "DURATION",
        "Silence after which a gRPC peer is asked whether it is there; 0s is never"
    ),
    key!(
        server.keepalive_timeout,
        "DURATION",
        "Time for the answer to that"
    ),
    key!(
        server.max_connections,
        "NUMBER",
        "Most connections to the gRPC port, and to the Unix socket"
    ),
    key!(
        server.max_http_connections,
        "NUMBER",
        "Most connections to each of the HTTP, admin and metrics ports"
    ),
    key!(
        server.header_timeout,
        "DURATION",
        "Time for a client's HTTP/2 preface, or the head of a request"
    ),
    key!(
        server.body_timeout,
        "DURATION",
        "Time for the body of a request"
    ),
    key!(
        server.write_timeout,
        "DURATION",
        "Time in which a client has to read something of its answer"
    ),
    key!(
        server.max_connection_bytes,
        "BYTES",
        "Most bytes of requests and answers buffered for one connection"
    ),
    key!(
        server.max_buffered_bytes,
        "BYTES",
        "Most bytes buffered for all connections together"
    ),
    key!(
        server.reflection,
        "BOOLEAN",
        "Whether gRPC clients may ask which services there are"
    ),
    key!(
        server.http_port,
        "PORT",
        "Port of the HTTP endpoints; 0 picks a free one"
    ),
    key!(
        server.http_address,
        "ADDRESS",
        "Address of the HTTP port [default: server.address]"
    ),
    key!(
        server.allowed_hosts,
        "NAME,…",
        "Names the HTTP ports may be asked under, besides this host's and its network's"
    ),
    key!(
        server.workers,
        "NUMBER",
        "Threads that serve gRPC; 0 is one a core"
    ),
    key!(
        server.shutdown_delay,
        "DURATION",
        "Time at a stop in which meshd says it is not ready and serves as ever"
    ),
    key!(
        server.drain_timeout,
        "DURATION",
        "Time for calls in flight to finish at a stop"
    ),
    key!(admin.address, "ADDRESS", "Address of the admin port"),
    key!(admin.port, "PORT", "Port for operators; 0 picks a free one"),
    key!(
        admin.reset,
        "BOOLEAN",
        "Whether whoever reaches the admin port may reset counters"
    ),
    key!(
        admin.log_level,
        "BOOLEAN",
        "Whether whoever reaches the admin port may change the log level"
    ),
    key!(
        rate_limiting.source,
        "SOURCE",
        "Where rules come from: file, or xds for a management server"
    ),
    key!(
        rate_limiting.config_path,
        "PATH",
        "A rules file, or a directory of them"
    ),
    key!(
        rate_limiting.merge_domain_config,
        "BOOLEAN",
        "Whether several files may hold rules of one domain"
    ),
    key!(
        rate_limiting.request_limits,
        "BOOLEAN",
        "Whether a per-request override takes the place of the configured one"
    ),
    key!(
        rate_limiting.count_denied,
        "BOOLEAN",
        "Whether limits that do not say so count requests that are refused"
    ),
    key!(
        rate_limiting.shadow_mode,
        "BOOLEAN",
        "Whether requests that are over their limits pass all the same"
    ),
    key!(
        rate_limiting.quota_mode,
        "BOOLEAN",
        "Whether a request is refused only when all of its descriptors are over"
    ),
    key!(
        rate_limiting.response_headers,
        "BOOLEAN",
        "Whether answers ask for response headers about the limit"
    ),
    key!(
        rate_limiting.limit_header,
        "NAME",
        "Name of the response header with the hits allowed"
    ),
    key!(
        rate_limiting.remaining_header,
        "NAME",
        "Name of the response header with the hits left"
    ),
    key!(
        rate_limiting.reset_header,
        "NAME",
        "Name of the response header with the seconds until there are more"
    ),
    key!(
        rate_limiting.response_dynamic_metadata,
        "BOOLEAN",
        "Whether answers carry dynamic metadata"
    ),
    key!(
        rate_limiting.require_initial_config,
        "BOOL",
        "Whether to be ready only once the management server has sent rules"
    ),
    key!(
        xds.server,
        "HOST:PORT",
        "The management server, where rate_limiting.source is xds"
    ),
    key!(
        xds.node_id,
        "ID",
        "What this host calls itself at the management server"
    ),
    key!(
        xds.node_metadata,
        "NAME=VALUE,...",
        "What else the management server may choose rules by"
    ),
    key!(
        xds.headers,
        "NAME=VALUE,...",
        "Headers sent to the management server"
    ),
    key!(
        xds.tls,
        "BOOL",
        "Whether to talk TLS to the management server"
    ),
    key!(
        xds.tls_ca_file,
        "PATH",
        "Certificates the server's is signed by [default: the system's]"
    ),
    key!(
        xds.tls_cert_file,
        "PATH",
        "Certificate to show to the management server"
    ),
    key!(xds.tls_key_file, "PATH", "Key of that certificate"),
    key!(
        xds.tls_server_name,
        "NAME",
        "Name in the server's certificate [default: its host]"
    ),
    key!(
        xds.connect_timeout,
        "DURATION",
        "How long connecting to the management server may take"
    ),
    key!(
        xds.keepalive_interval,
        "DURATION",
        "How often a quiet connection is probed"
    ),
    key!(
        xds.backoff_initial,
        "DURATION",
        "Longest wait before connecting again at first; doubles each time"
    ),
    key!(
        xds.backoff_max,
        "DURATION",
        "Longest wait before connecting again at last"
    ),
    key!(
        xds.max_message_bytes,
        "BYTES",
        "Largest set of rules that is taken"
    ),
    key!(
        metrics.bind,
        "ADDRESS:PORT",
        "Serves /metrics here as well, beside the HTTP port and the admin port"
    ),
    key!(
        metrics.ratelimit_compat,
        "BOOLEAN",
        "Whether /metrics has the names of envoyproxy/ratelimit as well"
    ),
    key!(
        metrics.near_limit_ratio,
        "RATIO",
        "The share of a limit above which hits count as near it"
    ),
    key!(
        metrics.max_series,
        "NUMBER",
        "Most series by request value; 0 for none"
    ),
    key!(
        mesh.cluster,
        "NAME",
        "The cluster's name; only hosts of one cluster share counts"
    ),
    key!(mesh.bind, "ADDRESS:PORT", "UDP address peers talk to"),
    key!(
        mesh.advertise,
        "ADDRESS:PORT",
        "Address peers reach this host at"
    ),
    key!(mesh.bootstrap_peers, "PEER,…", "Peers to begin with"),
    key!(mesh.key_file, "PATH", "The keys datagrams are sealed with"),
    key!(
        mesh.insecure,
        "BOOLEAN",
        "Whether unsealed datagrams may leave the host"
    ),
    key!(
        mesh.preset,
        "PRESET",
        "How far apart the hosts are: lan or wan"
    ),
    key!(
        mesh.tick,
        "DURATION",
        "How often changed counters are looked at"
    ),
    key!(
        mesh.max_staleness,
        "DURATION",
        "The longest a changed count waits to be sent"
    ),
    key!(
        mesh.epsilon,
        "RATIO",
        "The share of what is left of a limit that may go unsent"
    ),
    key!(
        mesh.max_datagram_bytes,
        "BYTES",
        "Largest datagram that is sent"
    ),
    key!(
        mesh.max_send_bytes_per_s,
        "BYTES",
        "Bytes of counts sent in a second at most, to all peers together"
    ),
    key!(
        mesh.snapshot_timeout,
        "DURATION",
        "How long a start waits for the counts of peers"
    ),
    key!(
        mesh.rules_grace,
        "DURATION",
        "How long rules may differ from those of a peer before that is a fault"
    ),
    key!(
        mesh.receive_buffer_bytes,
        "BYTES",
        "Size of the UDP socket's receive buffer"
    ),
    key!(
        mesh.send_buffer_bytes,
        "BYTES",
        "Size of the UDP socket's send buffer"
    ),
    key!(
        log.level,
        "LEVEL",
        "Least important lines to log: off, error, warn, info, debug, trace"
    ),
    key!(log.format, "FORMAT", "How log lines look: text or json"),
];

/// The key of this path, `region.max_keys` for example.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path() == path)
}

/// The sections, in order.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.chunk_by(|one, next| one.section == next.section)
        .map(|keys| keys[0].section)
}

/// The keys of a section, in order.
pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}
