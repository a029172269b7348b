//! The way to the management server.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hivemind_shared::bounded_file::{self, Bounds, Deadline, ReadError};
use hivemind_shared::yaml::{Problem, Problems};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::config::{HostPort, Xds};
use crate::reload::READ_TIME_MAX;

/// How long a probe of a quiet connection may stay unanswered at most.
const KEEPALIVE_TIMEOUT_MAX: Duration = Duration::from_secs(20);

/// When and how often the kernel probes a quiet connection: servers do not mind these.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_RETRIES: u32 = 3;

/// Most bytes of a certificate or key file that are read.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Why there is no way to the management server.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("cannot read {path}: {source}", path = .path.display())]
    Unreadable {
        key: &'static str,
        path: PathBuf,
        source: ReadError,
    },
    #[error("there is no {what} (PEM) in {path}", path = .path.display())]
    NoPem {
        key: &'static str,
        path: PathBuf,
        what: &'static str,
    },
    #[error("{}", chain(.0))]
    Refused(tonic::transport::Error),
}

impl EndpointError {
    /// The setting that is wrong.
    const fn key(&self) -> &'static str {
        match self {
            Self::Unreadable { key, .. } | Self::NoPem { key, .. } => key,
            Self::Refused(_) => "xds.tls",
        }
    }
}

/// Looks whether there is a way to the server by the configuration; nothing is opened.
///
/// # Errors
///
/// What is wrong with the certificates or the key.
pub fn check(xds: &Xds, server: &HostPort) -> Result<(), Problems> {
    endpoint(xds, server).map(drop).map_err(|error| {
        Problem::with_file(error.key(), error.to_string())
            .with_hint("the management server is reached with TLS because of xds.tls")
            .into()
    })
}

/// The server as it is connected to. Certificates and key are read anew, for they are renewed.
///
/// # Errors
///
/// What is wrong with the certificates or the key.
pub(super) fn endpoint(xds: &Xds, server: &HostPort) -> Result<Endpoint, EndpointError> {
    let scheme = if xds.tls { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{server}"))
        .map_err(EndpointError::Refused)?
        .connect_timeout(xds.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL))
        .tcp_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES))
        .http2_keep_alive_interval(xds.keepalive_interval)
        .keep_alive_timeout(xds.keepalive_interval.min(KEEPALIVE_TIMEOUT_MAX));
    if xds.tls {
        endpoint
            .tls_config(tls(xds, server)?)
            .map_err(EndpointError::Refused)
    } else {
        Ok(endpoint)
    }
}

fn tls(xds: &Xds, server: &HostPort) -> Result<ClientTlsConfig, EndpointError> {
    const CERTIFICATE: &str = "certificate";
    let name = xds.tls_server_name.as_ref().unwrap_or(&server.host);
    let mut tls = ClientTlsConfig::new().domain_name(name);
    tls = match &xds.tls_ca_file {
        Some(path) => {
            let pem = read_pem("xds.tls_ca_file", path, CERTIFICATE)?;
            tls.ca_certificate(Certificate::from_pem(pem))
        }
        None => tls.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&xds.tls_cert_file, &xds.tls_key_file) {
        let certificate = read_pem("xds.tls_cert_file", certificate, CERTIFICATE)?;
        let key = read_pem("xds.tls_key_file", key, "private key")?;
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Ok(tls)
}

/// A PEM file with at least one section of this kind.
fn read_pem(key: &'static str, path: &Path, what: &'static str) -> Result<Vec<u8>, EndpointError> {
    let bounds = Bounds {
        bytes_max: PEM_BYTES_MAX,
        deadline: Deadline::after(READ_TIME_MAX),
        streams: false,
    };
    let (pem, _) =
        bounded_file::read(path, bounds).map_err(|source| EndpointError::Unreadable {
            key,
            path: path.to_owned(),
            source,
        })?;
    // `BEGIN CERTIFICATE`, `BEGIN EC PRIVATE KEY`.
    let label = format!("{}-----", what.to_ascii_uppercase());
    if !String::from_utf8_lossy(&pem).contains(&label) {
        return Err(EndpointError::NoPem {
            key,
            path: path.to_owned(),
            what,
        });
    }
    Ok(pem)
}

/// An error and everything that caused it, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    // Says nothing its source does not.
    if let Some(cause) = source.filter(|_| out == "transport error") {
        out = cause.to_string();
        source = cause.source();
    }
    while let Some(error) = source {
        let text = error.to_string();
        // Some say what their source says, and more.
        if !out.contains(&text) {
            let _ = write!(out, ": {text}");
        }
        source = error.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn problem(change: impl FnOnce(&mut Xds)) -> String {
        let mut xds = Xds {
            tls: true,
            ..Xds::default()
        };
        change(&mut xds);
        let server = HostPort {
            host: "gateway".to_owned(),
            port: 1,
        };
        check(&xds, &server).expect_err("it is wrong").to_string()
    }

    #[test]
    fn files_that_are_no_certificates_are_named_with_their_setting() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "nothing").unwrap();
        let missing = problem(|xds| xds.tls_ca_file = Some(dir.path().join("missing.pem")));
        assert!(
            missing.starts_with("xds.tls_ca_file: cannot read "),
            "{missing}"
        );
        let device = problem(|xds| xds.tls_ca_file = Some("/dev/zero".into()));
        assert!(device.contains("/dev/zero: not a file"), "{device}");
        let none = problem(|xds| xds.tls_ca_file = Some(empty.clone()));
        assert!(
            none.starts_with("xds.tls_ca_file: there is no certificate (PEM) in"),
            "{none}"
        );
        let broken = dir.path().join("broken.pem");
        let text = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n\
                    -----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n";
        fs::write(&broken, text).unwrap();
        let unusable = problem(|xds| {
            xds.tls_cert_file = Some(broken.clone());
            xds.tls_key_file = Some(broken);
        });
        assert!(unusable.starts_with("xds.tls: "), "{unusable}");
    }
}
