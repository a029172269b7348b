//! A running meshd.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http;
use crate::process::{Process, ProcessError};
use crate::wait::PATIENCE;

/// How to run a meshd. Everything listens on loopback, but for what `mesh` says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is called in messages and file names; different for two in one directory.
    pub name: String,
    /// The meshd to run.
    pub binary: PathBuf,
    /// The region it owns.
    pub region: PathBuf,
    /// How many counters the region has room for.
    pub max_keys: u32,
    /// The rules: a file or a directory.
    pub rules: PathBuf,
    /// Whether several files of rules may be for one domain.
    pub merge_domains: bool,
    /// Further keys of the section `rate_limiting` of the service file.
    pub rate_limiting: serde_json::Map<String, Value>,
    /// The port of the Rate Limit Service; 0 for a free one.
    pub grpc_port: u16,
    /// The section `mesh` of the service file.
    pub mesh: Value,
    /// Whether counters may be reset, and the log level changed.
    pub changes: bool,
}

impl Plan {
    /// A meshd on free ports, with a region of moderate size.
    pub fn new(
        binary: impl Into<PathBuf>,
        region: impl Into<PathBuf>,
        rules: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: "meshd".to_owned(),
            binary: binary.into(),
            region: region.into(),
            max_keys: 16_384,
            rules: rules.into(),
            merge_domains: false,
            rate_limiting: serde_json::Map::new(),
            grpc_port: 0,
            mesh: json!({"bind": "127.0.0.1:0"}),
            changes: false,
        }
    }

    /// Writes the service file and hands back what starts meshd on it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written to `dir`.
    pub fn command(&self, dir: &Path) -> io::Result<Command> {
        let config_file = dir.join(format!("{}.yaml", self.name));
        let mut rate_limiting = self.rate_limiting.clone();
        rate_limiting.insert("config_path".to_owned(), json!(self.rules));
        rate_limiting.insert("merge_domain_config".to_owned(), json!(self.merge_domains));
        // JSON is YAML.
        let config = json!({
            "region": {"path": self.region, "max_keys": self.max_keys},
            "server": {"address": "127.0.0.1", "grpc_port": self.grpc_port, "http_port": 0},
            "admin": {"address": "127.0.0.1", "port": 0, "reset": self.changes, "log_level": self.changes},
            "rate_limiting": rate_limiting,
            "mesh": self.mesh,
        });
        fs::write(&config_file, format!("{config:#}\n"))?;
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(config_file);
        command.arg("--ports-file").arg(self.ports_file(dir));
        Ok(command)
    }

    fn ports_file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.ports", self.name))
    }
}

/// The ports a meshd chose.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Ports {
    grpc: u16,
    http: u16,
    admin: u16,
}

/// A meshd that serves, killed when this is dropped.
#[derive(Debug)]
pub struct Meshd {
    process: Process,
    ports: Ports,
}

impl Meshd {
    /// Starts a meshd with its files in `dir`, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`ProcessError`], with the end of its log when it ended or did not become ready in time.
    pub async fn start(plan: &Plan, dir: &Path) -> Result<Self, ProcessError> {
        let ports_file = plan.ports_file(dir);
        // A file of an earlier run would name ports nobody listens on any more.
        let _ = fs::remove_file(&ports_file);
        let unwritten = |source| ProcessError::Start {
            name: plan.name.clone(),
            source,
        };
        let mut command = plan.command(dir).map_err(unwritten)?;
        let log = dir.join(format!("{}.log", plan.name));
        let mut process = Process::start(&plan.name, &mut command, log)?;
        let ports: Ports = process
            .until("its ports file", PATIENCE, async || {
                serde_json::from_slice(&fs::read(&ports_file).ok()?).ok()
            })
            .await?;
        process
            .until("it to be ready", PATIENCE, async || {
                http::get(loopback(ports.http), "/ready")
                    .await
                    .ok()
                    .filter(|answer| answer.status.is_success())
            })
            .await?;
        Ok(Self { process, ports })
    }

    /// Where the Rate Limit Service listens.
    pub fn grpc(&self) -> SocketAddr {
        loopback(self.ports.grpc)
    }

    /// Where the HTTP port listens.
    pub fn http(&self) -> SocketAddr {
        loopback(self.ports.http)
    }

    /// Where the admin port listens.
    pub fn admin(&self) -> SocketAddr {
        loopback(self.ports.admin)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything meshd has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
