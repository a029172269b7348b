//! `meshd healthcheck`: asks the meshd that runs on this host how it is, for probes in images without a shell.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hivemind_shared::yaml::Problems;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::config::{self, Sources};
use crate::ports_file::Ports;

/// Bytes of an answer, a few hundred in practice.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes of a ports file, a hundred in practice.
const PORTS_FILE_BYTES_MAX: u64 = 4_096;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Whether meshd is ready.
    Ready,
    /// Whether it runs and answers.
    Live,
}

impl Asked {
    const fn path(self) -> &'static str {
        match self {
            Self::Ready => "/ready",
            Self::Live => "/live",
        }
    }
}

/// One question to a running meshd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is asked.
    pub asked: Asked,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Where meshd has written the ports it has chosen, if it did.
    pub ports_file: Option<PathBuf>,
}

/// Why meshd is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// It answers, and is not ready: why, by component.
    #[error("not ready: {0}")]
    NotReady(String),
    /// Flags are wrong.
    #[error("{0}wrong arguments")]
    Flags(Problems),
    /// `server.http_port` is 0, and there is no ports file.
    #[error("server.http_port is 0: name the ports file of meshd (--ports-file)")]
    NoPort,
    /// The ports file cannot be read.
    #[error("cannot read the ports file {}: {source}", path.display())]
    PortsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Nobody answers as meshd does.
    #[error("no meshd answers at {address}: {source}")]
    NoAnswer {
        /// Where it was asked.
        address: SocketAddr,
        /// What happened.
        source: NoAnswer,
    },
}

/// What came in the place of an answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] io::Error),
    /// Not HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// An answer that is cut off or too long.
    #[error(transparent)]
    Body(#[from] axum::Error),
    /// Another status than those of meshd.
    #[error("it answers with status {0}")]
    Status(StatusCode),
    /// Nothing, in time.
    #[error("nothing within {0:?}")]
    Timeout(Duration),
}

impl HealthcheckError {
    /// The exit status.
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::NotReady(_) => 1,
            Self::Flags(_) | Self::NoPort => 64,
            Self::PortsFile { .. } | Self::NoAnswer { .. } => 69,
        }
    }
}

impl Healthcheck {
    /// Asks the meshd that was started with this configuration, and says on the standard output that all is well.
    ///
    /// # Errors
    ///
    /// [`HealthcheckError`]: it is not ready, or does not answer.
    pub fn run(&self, sources: Sources) -> Result<(), HealthcheckError> {
        let (loaded, problems) = config::load_what_is_right(sources);
        // The others were right when meshd was started, or it would not run.
        if problems
            .iter()
            .any(|problem| problem.file.starts_with("--"))
        {
            return Err(HealthcheckError::Flags(problems));
        }
        let bind = loaded.config.server.http_bind();
        let port = match &self.ports_file {
            Some(path) => port_of(path)?,
            None => bind.port(),
        };
        if port == 0 {
            return Err(HealthcheckError::NoPort);
        }
        let address = SocketAddr::new(reachable(bind.ip()), port);
        let no_answer = |source| HealthcheckError::NoAnswer { address, source };
        let runtime = Builder::new_current_thread().enable_all().build();
        let asked = runtime
            .map_err(|error| no_answer(error.into()))?
            .block_on(async {
                tokio::time::timeout(self.timeout, ask(address, self.asked.path()))
                    .await
                    .unwrap_or(Err(NoAnswer::Timeout(self.timeout)))
            });
        let (status, body) = asked.map_err(no_answer)?;
        let mut out = io::stdout().lock();
        // A probe that nobody reads is none the worse.
        let _ = match (status, self.asked) {
            (StatusCode::OK, Asked::Live) => writeln!(out, "running"),
            (StatusCode::OK, Asked::Ready) => writeln!(out, "ready{}", Degraded(&body)),
            (StatusCode::SERVICE_UNAVAILABLE, Asked::Ready) => {
                return Err(HealthcheckError::NotReady(in_state(&body, "down")));
            }
            (status, _) => return Err(no_answer(NoAnswer::Status(status))),
        };
        Ok(())
    }
}

/// The HTTP port that meshd has chosen.
fn port_of(path: &Path) -> Result<u16, HealthcheckError> {
    let failed = |source| HealthcheckError::PortsFile {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PORTS_FILE_BYTES_MAX).read_to_end(&mut text))
        .map_err(failed)?;
    let ports: Ports = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    Ok(ports.http)
}

/// Where a socket of this address is reached from this host.
const fn reachable(bound: IpAddr) -> IpAddr {
    match bound {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

/// One request: the status of its answer, and the body.
async fn ask(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), NoAnswer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    let host = address.to_string().parse().map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, host);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await?;
    connection.abort();
    Ok((status, body))
}

/// What of an answer is degraded, to follow what is well.
struct Degraded<'a>(&'a [u8]);

impl fmt::Display for Degraded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match in_state(self.0, "degraded") {
            degraded if degraded.is_empty() => Ok(()),
            degraded => write!(f, "; degraded: {degraded}"),
        }
    }
}

/// The components that an answer of `/ready` shows in this state, each with its detail.
fn in_state(answer: &[u8], state: &str) -> String {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let components = answer["components"].as_object();
    let found = components.into_iter().flatten().filter_map(|(name, it)| {
        let detail = it["detail"].as_str().unwrap_or_default();
        (it["state"] == state).then(|| format!("{name}: {}", detail.replace(char::is_control, " ")))
    });
    found.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_named_with_their_cause() {
        let answer = br#"{"ready": false, "components": {"region": {"state": "up"},
            "server": {"state": "down", "detail": "stopping"}, "tls": {"state": "degraded", "detail": "old\n"}}}"#;
        assert_eq!(in_state(answer, "down"), "server: stopping");
        assert_eq!(Degraded(answer).to_string(), "; degraded: tls: old ");
        for other in ["", "[]", "{\"components\": 5}"] {
            assert_eq!(in_state(other.as_bytes(), "down"), "", "{other}");
        }
    }

    #[test]
    fn a_socket_of_every_address_is_reached_over_loopback() {
        for (bound, reached) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), reached);
        }
    }
}
