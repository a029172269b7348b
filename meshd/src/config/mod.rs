//! The service configuration: what it holds, and how the service file, the environment and the
//! flags are put together into it.
//!
//! Every key exists once, in [`schema`]; the layers, the printed configuration and the flags all
//! come from there.

mod address;
mod checks;
mod environment;
mod file;
mod host_pattern;
mod host_port;
mod load;
mod log_filter;
mod mesh;
mod origin;
mod pairs;
mod peer;
mod print;
mod ratelimit_env;
pub mod schema;
mod setting;
mod types;
mod xds;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hivemind_shared::region::{DEFAULT_PATH, RegionOptions};
use hivemind_shared::rules::source::Options as RulesOptions;
use hivemind_shared::rules::{Modes, NearLimitRatio};

pub use self::host_pattern::HostPattern;
pub use self::host_port::HostPort;
pub use self::load::{Loaded, Sources, load, load_what_is_right};
pub use self::log_filter::LogFilter;
pub use self::mesh::{Mesh, MeshMode};
pub use self::origin::Origin;
pub use self::pairs::{Headers, Pairs};
pub use self::peer::Peer;
pub use self::print::print;
pub use self::setting::duration;
pub use self::types::{FileMode, LogFormat, LogLevel, MeshPreset, Ratio, RulesSource};
pub use self::xds::Xds;

/// Everything meshd is configured by, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This host.
    pub node: Node,
    /// The file all counters live in.
    pub region: Region,
    /// The Rate Limit Service and the HTTP port beside it.
    pub server: Server,
    /// What operators look at.
    pub admin: Admin,
    /// The rules.
    pub rate_limiting: RateLimiting,
    /// The management server rules come from, if they do.
    pub xds: Xds,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Exchange of counts with peers.
    pub mesh: Mesh,
    /// What is logged, and how.
    pub log: Log,
}

/// `node`: this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in logs and for its peers.
    pub name: String,
}

/// `region`: the file all counters live in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it is.
    pub path: PathBuf,
    /// How many counters fit; changing it starts a new region.
    pub max_keys: NonZeroU32,
    /// Who may open it.
    pub mode: FileMode,
    /// Bytes of readable key kept beside each counter; changing it starts a new region.
    pub label_bytes: u64,
    /// Room for the compiled rules; changing it starts a new region.
    pub rules_bytes: u64,
    /// How long a starting meshd waits for the one that owns the region to hand over; zero is not at all.
    pub takeover_timeout: Duration,
}

impl From<&Region> for RegionOptions {
    fn from(region: &Region) -> Self {
        Self {
            max_keys: region.max_keys.get(),
            mode: region.mode.bits(),
            label_bytes: region.label_bytes,
            rules_bytes: region.rules_bytes,
            // The mesh's, which peers agree on; without a mesh a region draws its own.
            hash_key: None,
        }
    }
}

/// `server`: the Rate Limit Service and the HTTP port beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Address both ports listen on.
    pub address: IpAddr,
    /// Address the HTTP port listens on, where it is another one.
    pub http_address: Option<IpAddr>,
    /// Port of the Rate Limit Service (gRPC); 0 picks a free one.
    pub grpc_port: u16,
    /// Unix socket with the same service; none by default.
    pub grpc_socket: Option<PathBuf>,
    /// Who may connect to it.
    pub grpc_socket_mode: FileMode,
    /// The certificate of the gRPC port, with those that lead to its authority, in PEM; with it, the
    /// port speaks TLS and nothing else.
    pub tls_cert_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub tls_key_file: Option<PathBuf>,
    /// The authorities of client certificates, in PEM; with them, a client must have a certificate.
    pub tls_client_ca_file: Option<PathBuf>,
    /// The DNS name or URI that a client's certificate must carry.
    pub tls_client_san: Option<String>,
    /// How old a gRPC connection gets, give or take a tenth, before its client is asked to open
    /// another one; zero is no limit.
    pub max_connection_age: Duration,
    /// How long calls in flight may take on a connection that is too old.
    pub max_connection_age_grace: Duration,
    /// How long a gRPC peer may be silent before it is asked whether it is still there; zero is for
    /// ever.
    pub keepalive_interval: Duration,
    /// How long the answer to that may take.
    pub keepalive_timeout: Duration,
    /// Most connections to the gRPC port, and as many to the Unix socket.
    pub max_connections: NonZeroU32,
    /// Most connections to the HTTP port, and as many to the admin port and to the port for metrics.
    pub max_http_connections: NonZeroU32,
    /// How long a client may take for the preface of HTTP/2, or for the head of a request.
    pub header_timeout: Duration,
    /// How long it may take for the body of a request.
    pub body_timeout: Duration,
    /// How long it may read nothing of an answer.
    pub write_timeout: Duration,
    /// Most bytes of requests and answers buffered for one connection.
    pub max_connection_bytes: u64,
    /// Most bytes buffered for all connections together.
    pub max_buffered_bytes: u64,
    /// Whether gRPC clients may ask which services and messages there are.
    pub reflection: bool,
    /// Port of `/healthcheck`, `/ready`, `/json` and `/metrics`; 0 picks a free one.
    pub http_port: u16,
    /// Names under which the HTTP, admin and metrics ports may be asked, besides those of this host and
    /// its network.
    pub allowed_hosts: Vec<HostPattern>,
    /// Threads that serve gRPC; 0 is one a core.
    pub workers: u16,
    /// How long meshd says that it is not ready, and serves as ever, before it stops.
    pub shutdown_delay: Duration,
    /// How long calls in flight may take to finish when meshd stops.
    pub drain_timeout: Duration,
}

impl Server {
    /// Where the Rate Limit Service listens.
    pub fn grpc_bind(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.grpc_port)
    }

    /// Where the HTTP endpoints beside it are.
    pub fn http_bind(&self) -> SocketAddr {
        SocketAddr::new(self.http_address.unwrap_or(self.address), self.http_port)
    }
}

/// `admin`: what operators look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address it listens on.
    pub address: IpAddr,
    /// Its port; 0 picks a free one.
    pub port: u16,
    /// Whether whoever reaches it may reset counters.
    pub reset: bool,
    /// Whether whoever reaches it may change the log level.
    pub log_level: bool,
}

/// `rate_limiting`: the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimiting {
    /// Where rules come from.
    pub source: RulesSource,
    /// A rules file, or a directory of them.
    pub config_path: PathBuf,
    /// Whether several files, or resources of the management server, may hold rules of one domain.
    pub merge_domain_config: bool,
    /// Whether a per-request override takes the place of the configured one.
    pub request_limits: bool,
    /// Whether limits that do not say `count_denied` count requests that are refused.
    pub count_denied: bool,
    /// Whether requests that are over their limits pass all the same.
    pub shadow_mode: bool,
    /// Whether every descriptor is a quota: a request is refused only when all of its are used up.
    pub quota_mode: bool,
    /// Whether answers ask for response headers about the limit.
    pub response_headers: bool,
    /// The name of the header with the number of hits allowed.
    pub limit_header: String,
    /// The name of the one with the hits left.
    pub remaining_header: String,
    /// The name of the one with the seconds until there are more.
    pub reset_header: String,
    /// Whether answers carry dynamic metadata.
    pub response_dynamic_metadata: bool,
    /// Whether meshd is ready only once the management server has sent rules.
    pub require_initial_config: bool,
}

/// `metrics`: what `/metrics` shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Where `/metrics` is served besides the HTTP port and the admin port; nowhere by default.
    pub bind: Option<SocketAddr>,
    /// Whether numbers of rules are shown under the names of envoyproxy/ratelimit as well.
    pub ratelimit_compat: bool,
    /// The share of a limit above which hits count as near it.
    pub near_limit_ratio: NearLimitRatio,
    /// Most series by request value, of rules that ask for them; 0 for none at all.
    pub max_series: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            bind: None,
            ratelimit_compat: false,
            near_limit_ratio: NearLimitRatio::default(),
            max_series: 10_000,
        }
    }
}

/// `log`: what is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

impl Config {
    /// How the rules are to be read.
    pub fn rules_options(&self) -> RulesOptions {
        let rules = &self.rate_limiting;
        RulesOptions {
            merge_domains: rules.merge_domain_config,
            modes: Modes {
                shadow: rules.shadow_mode,
                quota: rules.quota_mode,
                denied_uncounted: !rules.count_denied,
            },
            near_limit_ratio: self.metrics.near_limit_ratio,
        }
    }

    /// The defaults, for a host of this name.
    pub fn with_node_name(name: String) -> Self {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let region = RegionOptions::default();
        Self {
            node: Node { name },
            region: Region {
                path: PathBuf::from(DEFAULT_PATH),
                max_keys: NonZeroU32::new(region.max_keys).unwrap_or(NonZeroU32::MIN),
                mode: FileMode::OWNER_ONLY,
                label_bytes: region.label_bytes,
                rules_bytes: region.rules_bytes,
                takeover_timeout: Duration::from_secs(30),
            },
            server: Server {
                address: any,
                http_address: None,
                grpc_port: 8081,
                grpc_socket: None,
                grpc_socket_mode: FileMode::OWNER_ONLY,
                tls_cert_file: None,
                tls_key_file: None,
                tls_client_ca_file: None,
                tls_client_san: None,
                max_connection_age: Duration::from_secs(24 * 3_600),
                max_connection_age_grace: Duration::from_secs(3_600),
                keepalive_interval: Duration::from_secs(60),
                keepalive_timeout: Duration::from_secs(20),
                max_connections: const { NonZeroU32::new(10_000).unwrap() },
                max_http_connections: const { NonZeroU32::new(1_000).unwrap() },
                header_timeout: Duration::from_secs(10),
                body_timeout: Duration::from_secs(10),
                write_timeout: Duration::from_secs(10),
                max_connection_bytes: 16 << 20,
                max_buffered_bytes: 256 << 20,
                reflection: true,
                http_port: 8080,
                allowed_hosts: Vec::new(),
                workers: 0,
                shutdown_delay: Duration::ZERO,
                drain_timeout: Duration::from_secs(10),
            },
            admin: Admin {
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                port: 6070,
                reset: false,
                log_level: false,
            },
            rate_limiting: RateLimiting {
                source: RulesSource::File,
                config_path: PathBuf::from("config/ratelimit.yaml"),
                merge_domain_config: false,
                shadow_mode: false,
                quota_mode: false,
                response_headers: false,
                limit_header: "RateLimit-Limit".to_owned(),
                remaining_header: "RateLimit-Remaining".to_owned(),
                reset_header: "RateLimit-Reset".to_owned(),
                response_dynamic_metadata: false,
                require_initial_config: true,
                request_limits: true,
                count_denied: true,
            },
            xds: Xds::default(),
            metrics: Metrics::default(),
            mesh: Mesh::default(),
            log: Log {
                level: LogLevel::Info,
                format: LogFormat::Text,
            },
        }
    }
}
