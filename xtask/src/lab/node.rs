//! A host with a meshd of its own, and Envoys if need be.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use hivemind_mesh::status::Status;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::host::Host;
use super::worker::Worker;
use crate::http::{self, HttpError, Response};
use crate::load::{Load, Running};
use crate::proxy::Proxy;
use crate::site::{Site, SiteError, Tools};

/// The port that daemons talk to each other on.
const MESH_PORT: u16 = 7946;

/// Which of meshd's HTTP ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `/ready` and `/json`.
    Http,
    /// For operators.
    Admin,
}

/// Something about a node went wrong.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A process, a file or the region.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// No answer from meshd.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The admin port answers something else than expected.
    #[error("meshd answers {path} with {status}: {body}")]
    Answer {
        /// What was asked.
        path: String,
        /// The status of the answer.
        status: u16,
        /// Its body.
        body: String,
    },
}

/// A host in the lab with a region, a meshd, a service to protect, and its scratch directory.
///
/// Everything it starts ends when it is dropped.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order: processes before the namespace they live in.
    site: Arc<Mutex<Site>>,
    region: PathBuf,
    dir: PathBuf,
    host: Host,
}

impl Node {
    /// Prepares a host; its meshd is not started yet, and will have no peers unless it is told.
    pub(super) async fn new(host: Host, tools: &Tools, rules: &str) -> Result<Self, NodeError> {
        let (tools, rules) = (tools.clone(), rules.to_owned());
        let site = host
            .run_async(async move || Site::new(&tools, &rules).await)
            .await?;
        let node = Self {
            region: site.region(),
            dir: site.dir().to_owned(),
            site: Arc::new(Mutex::new(site)),
            host,
        };
        node.set_mesh(json!({})).await;
        Ok(node)
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where its region is, or belongs.
    pub fn region(&self) -> &Path {
        &self.region
    }

    /// Its directory for ordinary files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where peers reach its meshd, unless `bind` was set to something else.
    pub fn mesh_address(&self) -> SocketAddr {
        (IpAddr::V4(self.host.address()), MESH_PORT).into()
    }

    /// What the service file says under `mesh`, from meshd's next start on. `bind` is put in
    /// where it is missing.
    pub async fn set_mesh(&self, mut section: Value) {
        if section.get("bind").is_none() {
            section["bind"] = json!(self.mesh_address());
        }
        self.site.lock().await.set_mesh(section);
    }

    /// Starts meshd, after an end on the same ports and the same region, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`], with meshd's own words.
    pub async fn start(&self) -> Result<(), NodeError> {
        let site = Arc::clone(&self.site);
        let start = async move || site.lock().await.start_meshd().await;
        Ok(self.host.run_async(start).await?)
    }

    /// Kills meshd with SIGKILL.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`] when it does not run.
    pub async fn kill(&self) -> Result<(), NodeError> {
        Ok(self.site.lock().await.kill_meshd()?)
    }

    /// Asks meshd to end, with SIGTERM, and waits until it has.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`] when it does not run, or goes on.
    pub async fn stop(&self) -> Result<ExitStatus, NodeError> {
        Ok(self.site.lock().await.stop_meshd().await?)
    }

    /// Freezes meshd with SIGSTOP: it does nothing, and its sockets stay open.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`] when it does not run.
    pub async fn freeze(&self) -> Result<(), NodeError> {
        self.signal(Signal::STOP).await
    }

    /// Lets a frozen meshd go on, with SIGCONT.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`] when it does not run.
    pub async fn thaw(&self) -> Result<(), NodeError> {
        self.signal(Signal::CONT).await
    }

    /// Makes meshd read its files again, with SIGHUP.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`] when it does not run.
    pub async fn reload(&self) -> Result<(), NodeError> {
        self.signal(Signal::HUP).await
    }

    /// Everything that the running meshd has logged.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`] when it does not run.
    pub async fn log(&self) -> Result<String, NodeError> {
        Ok(self.site.lock().await.meshd()?.log())
    }

    /// Asks meshd for a page, from this host.
    ///
    /// # Errors
    ///
    /// [`NodeError`] when it does not run or does not answer; a status that means failure is an answer.
    pub async fn get(&self, port: Port, path: &str) -> Result<Response, NodeError> {
        let address = {
            let mut site = self.site.lock().await;
            let meshd = site.meshd()?;
            match port {
                Port::Http => meshd.http(),
                Port::Admin => meshd.admin(),
            }
        };
        let path = path.to_owned();
        let get = async move || http::get(address, &path).await;
        Ok(self.host.run_async(get).await?)
    }

    /// Whether `/ready` says so.
    ///
    /// # Errors
    ///
    /// [`NodeError`] when there is no answer.
    pub async fn is_ready(&self) -> Result<bool, NodeError> {
        Ok(self.get(Port::Http, "/ready").await?.status.is_success())
    }

    /// What meshd says about its peers.
    ///
    /// # Errors
    ///
    /// [`NodeError`] when there is no answer, or not this one.
    pub async fn peers(&self) -> Result<Status, NodeError> {
        const PATH: &str = "/peers";
        let answer = self.get(Port::Admin, PATH).await?;
        serde_json::from_slice(&answer.body).map_err(|_| NodeError::Answer {
            path: PATH.to_owned(),
            status: answer.status.as_u16(),
            body: answer.text(),
        })
    }

    /// A worker that counts in this host's region.
    pub fn worker(&self) -> Worker {
        Worker::new(&self.region)
    }

    /// Starts an Envoy on this host, with both listeners and this many workers. meshd has to run.
    ///
    /// # Errors
    ///
    /// [`NodeError::Site`], with Envoy's own words.
    pub async fn proxy(&self, name: &str, workers: usize) -> Result<Proxy, NodeError> {
        let (site, name) = (Arc::clone(&self.site), name.to_owned());
        let start = async move || site.lock().await.proxy(&name, workers).await;
        Ok(self.host.run_async(start).await?)
    }

    /// Begins to send a load from this host; [`Running`] may be waited for from anywhere.
    pub async fn load(&self, load: Load, requests: usize) -> Running {
        self.host
            .run_async(async move || load.start(requests))
            .await
    }

    async fn signal(&self, signal: Signal) -> Result<(), NodeError> {
        let mut site = self.site.lock().await;
        let signalled = site.meshd()?.process().signal(signal);
        Ok(signalled.map_err(SiteError::from)?)
    }
}
