//! `xds`: rules from a management server.

use std::path::PathBuf;
use std::time::Duration;

use super::host_port::HostPort;
use super::pairs::{Headers, Pairs};

/// `xds`: rules from a management server, where `rate_limiting.source` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xds {
    /// The management server.
    pub server: Option<HostPort>,
    /// What this host calls itself there; the server chooses by it what it sends.
    pub node_id: String,
    /// Anything else the server may choose by.
    pub node_metadata: Pairs,
    /// Headers sent along when the stream is opened.
    pub headers: Headers,
    /// Whether to talk TLS.
    pub tls: bool,
    /// Certificates (PEM) the server's has to be signed by; those of the system if unset.
    pub tls_ca_file: Option<PathBuf>,
    /// Certificate (PEM) this host shows.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key_file: Option<PathBuf>,
    /// The name the server's certificate has to be for; its host if unset.
    pub tls_server_name: Option<String>,
    /// How long a connection may take to come about, TLS included.
    pub connect_timeout: Duration,
    /// How often a quiet connection is probed.
    pub keepalive_interval: Duration,
    /// Longest wait before the second attempt to connect; it doubles with each.
    pub backoff_initial: Duration,
    /// Longest wait before any attempt to connect.
    pub backoff_max: Duration,
    /// Largest set of rules that is taken, 1,024 to 1,073,741,824 bytes.
    pub max_message_bytes: u64,
}

impl Default for Xds {
    fn default() -> Self {
        Self {
            server: None,
            node_id: "default".to_owned(),
            node_metadata: Pairs::default(),
            headers: Headers::default(),
            tls: false,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            tls_server_name: None,
            connect_timeout: Duration::from_secs(10),
            // Servers on grpc-go cut off clients that probe more often than every five minutes.
            keepalive_interval: Duration::from_secs(360),
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            max_message_bytes: 16 * 1024 * 1024,
        }
    }
}
