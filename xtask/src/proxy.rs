//! A running Envoy.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::bootstrap::{Bootstrap, BootstrapError};
use crate::http::{self, HttpError};
use crate::process::{Process, ProcessError};
use crate::wait::PATIENCE;

/// The environment variable that tells Envoy where to look for modules.
pub const MODULE_PATH_VARIABLE: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";

/// How to run an Envoy.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is called in messages and file names; different for two in one directory.
    pub name: String,
    /// The Envoy to run.
    pub binary: PathBuf,
    /// What it is to do.
    pub bootstrap: Bootstrap,
    /// Worker threads.
    pub workers: usize,
    /// The directory with the modules that the bootstrap names.
    pub module_dir: Option<PathBuf>,
    /// A program and its arguments to run Envoy under, valgrind for example.
    pub under: Vec<OsString>,
    /// How long it may take to start and to stop.
    pub patience: Duration,
}

impl Plan {
    /// An Envoy with one worker.
    pub fn new(name: impl Into<String>, binary: impl Into<PathBuf>, bootstrap: Bootstrap) -> Self {
        Self {
            name: name.into(),
            binary: binary.into(),
            bootstrap,
            workers: 1,
            module_dir: None,
            under: Vec::new(),
            patience: PATIENCE,
        }
    }
}

/// Something about a running Envoy went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Its bootstrap could not be written.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// It did not start, or ended.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its admin endpoint does not answer.
    #[error("Envoy's admin endpoint: {0}")]
    Admin(#[from] HttpError),
    /// Its admin endpoint answers something else than expected.
    #[error("Envoy's admin endpoint answers {path} with: {body}")]
    Answer {
        /// What was asked.
        path: String,
        /// What came back.
        body: String,
    },
    /// The bootstrap has no such listener.
    #[error("Envoy has no listener {0}")]
    NoListener(String),
}

/// An Envoy that serves, killed when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
    patience: Duration,
}

impl Proxy {
    /// Starts an Envoy with its files in `dir`, and waits until it serves.
    ///
    /// # Errors
    ///
    /// [`ProxyError`], with the end of Envoy's log when it ended or did not become ready in time.
    pub async fn start(plan: &Plan, dir: &Path) -> Result<Self, ProxyError> {
        let bootstrap_file = dir.join(format!("{}.json", plan.name));
        plan.bootstrap.write(&bootstrap_file)?;
        let admin_file = dir.join(format!("{}.admin", plan.name));
        forget(&admin_file).map_err(|source| ProcessError::Control {
            name: plan.name.clone(),
            source,
        })?;

        let log = dir.join(format!("{}.log", plan.name));
        let mut command = plan.command(&bootstrap_file, &admin_file);
        let mut process = Process::start(&plan.name, &mut command, log)?;

        let admin = process
            .until("its admin endpoint", plan.patience, async || {
                fs::read_to_string(&admin_file)
                    .ok()?
                    .trim()
                    .parse::<SocketAddr>()
                    .ok()
            })
            .await?;
        process
            .until("it to serve", plan.patience, async || {
                http::get(admin, "/ready")
                    .await
                    .ok()
                    .filter(|it| it.status.is_success())
            })
            .await?;
        let listeners = listeners(admin).await?;
        Ok(Self {
            process,
            admin,
            listeners,
            patience: plan.patience,
        })
    }

    /// Where a listener of the bootstrap listens.
    ///
    /// # Errors
    ///
    /// [`ProxyError::NoListener`].
    pub fn listener(&self, name: &str) -> Result<SocketAddr, ProxyError> {
        self.listeners
            .get(name)
            .copied()
            .ok_or_else(|| ProxyError::NoListener(name.to_owned()))
    }

    /// Where the admin endpoint listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The counters and gauges whose name contains a match of this regular expression.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when the admin endpoint does not tell.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>, ProxyError> {
        let path = format!("/stats?format=json&filter={filter}");
        let stats: Stats = ask(self.admin, &path).await?;
        let values = stats
            .stats
            .into_iter()
            .filter_map(|stat| Some((stat.name?, stat.value?)));
        Ok(values.collect())
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything Envoy has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Asks Envoy to end and waits until it has.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when it does not.
    pub async fn stop(mut self) -> Result<(), ProxyError> {
        self.process.terminate(self.patience).await?;
        Ok(())
    }
}

impl Plan {
    fn command(&self, bootstrap_file: &Path, admin_file: &Path) -> Command {
        let mut words = self
            .under
            .iter()
            .cloned()
            .chain([self.binary.clone().into_os_string()]);
        // The binary is always there, so there is a first word.
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.arg("--config-path").arg(bootstrap_file);
        command.arg("--admin-address-path").arg(admin_file);
        command.arg("--concurrency").arg(self.workers.to_string());
        // Hot restart would put all Envoys of this host into one family.
        command.args(["--disable-hot-restart", "--log-level", "info"]);
        if let Some(dir) = &self.module_dir {
            command.env(MODULE_PATH_VARIABLE, dir);
        }
        command
    }
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Stat>,
}

/// Histograms come without a name and a value.
#[derive(Deserialize)]
struct Stat {
    name: Option<String>,
    value: Option<u64>,
}

#[derive(Deserialize)]
struct Listeners {
    #[serde(default)]
    listener_statuses: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    name: String,
    local_address: Address,
}

#[derive(Deserialize)]
struct Address {
    socket_address: SocketAddress,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: std::net::IpAddr,
    port_value: u16,
}

async fn listeners(admin: SocketAddr) -> Result<BTreeMap<String, SocketAddr>, ProxyError> {
    let answer: Listeners = ask(admin, "/listeners?format=json").await?;
    let address =
        |it: Address| SocketAddr::new(it.socket_address.address, it.socket_address.port_value);
    let listeners = answer.listener_statuses.into_iter();
    Ok(listeners
        .map(|it| (it.name, address(it.local_address)))
        .collect())
}

async fn ask<T: for<'a> Deserialize<'a>>(admin: SocketAddr, path: &str) -> Result<T, ProxyError> {
    let answer = http::get(admin, path).await?;
    serde_json::from_slice(&answer.body).map_err(|_| ProxyError::Answer {
        path: path.to_owned(),
        body: answer.text(),
    })
}

fn forget(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
