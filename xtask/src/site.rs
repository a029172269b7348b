//! A host in small: one region, its meshd, a service to protect, and any number of Envoys.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use hivemind_shared::clock::{Clock as _, CoarseClock};
use hivemind_shared::region::{AttachError, RegionView};
use serde_json::{Value, json};

use crate::artifacts::{self, Binaries, BuildError, Profile};
use crate::bootstrap::{Bootstrap, BootstrapError};
use crate::envoy::{self, EnvoyError};
use crate::meshd::{self, Meshd};
use crate::process::ProcessError;
use crate::proxy::{self, Proxy, ProxyError};
use crate::scratch::Scratch;
use crate::upstream::Upstream;
use crate::wait::PATIENCE;

/// The listener of `envoy/*.yaml` that decides in the module.
pub const MODULE: &str = "module";

/// The listener of `envoy/*.yaml` that asks meshd.
pub const RLS: &str = "rls";

/// How long Envoy waits for meshd here. A busy test machine may need longer than anyone would want
/// in production, and a call given up is a request let through, which spoils a count.
const RLS_TIMEOUT: &str = "30s";

/// The programs a site runs.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Ours.
    pub binaries: Binaries,
    /// The Envoy.
    pub envoy: PathBuf,
}

impl Tools {
    /// Builds our programs and fetches Envoy, as far as they are not there and current.
    ///
    /// # Errors
    ///
    /// [`SiteError::Build`] and [`SiteError::Envoy`].
    pub fn prepare(profile: Profile) -> Result<Self, SiteError> {
        let binaries = artifacts::binaries(profile)?;
        Ok(Self {
            binaries,
            envoy: envoy::binary(envoy::VERSION)?,
        })
    }
}

/// Something about a site went wrong.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Our own programs could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no Envoy.
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
    /// The bootstrap does not fit.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// An Envoy did not start, or ended.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// meshd did not start, or ended.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The region cannot be read.
    #[error(transparent)]
    Region(#[from] AttachError),
    /// The system refused a file or a socket.
    #[error("a site needs files and sockets of its own: {0}")]
    System(#[from] io::Error),
    /// The site's meshd was to do something while there is none.
    #[error("this site's meshd is not running")]
    NoMeshd,
}

/// The host. What it started ends when it is dropped.
#[derive(Debug)]
pub struct Site {
    // Dropped in this order: processes before the files they use.
    meshd: Option<Meshd>,
    upstream: Upstream,
    tools: Tools,
    meshd_plan: meshd::Plan,
    scratch: Scratch,
}

impl Site {
    /// A host with these rules on which meshd has not been started yet.
    ///
    /// # Errors
    ///
    /// [`SiteError::System`].
    pub async fn new(tools: &Tools, rules: &str) -> Result<Self, SiteError> {
        let scratch = Scratch::new()?;
        let rules_file = scratch.file("ratelimit.yaml");
        let meshd_plan = meshd::Plan::new(&tools.binaries.meshd, scratch.region(), rules_file);
        let upstream = Upstream::start().await?;
        let site = Self {
            meshd: None,
            upstream,
            tools: tools.clone(),
            meshd_plan,
            scratch,
        };
        site.write_rules(rules)?;
        Ok(site)
    }

    /// A host with these rules, meshd running.
    ///
    /// # Errors
    ///
    /// [`SiteError`], with meshd's own words when it did not start.
    pub async fn start(tools: &Tools, rules: &str) -> Result<Self, SiteError> {
        let mut site = Self::new(tools, rules).await?;
        site.start_meshd().await?;
        Ok(site)
    }

    /// Starts meshd; after a kill, on the same ports, so that the Envoys find it again.
    ///
    /// # Errors
    ///
    /// [`SiteError::Process`], with meshd's own words.
    pub async fn start_meshd(&mut self) -> Result<(), SiteError> {
        let meshd = Meshd::start(&self.meshd_plan, self.scratch.dir()).await?;
        self.meshd_plan.grpc_port = meshd.grpc().port();
        self.meshd = Some(meshd);
        Ok(())
    }

    /// The running meshd.
    ///
    /// # Errors
    ///
    /// [`SiteError::NoMeshd`] when it was not started, or was killed.
    pub fn meshd(&mut self) -> Result<&mut Meshd, SiteError> {
        self.meshd.as_mut().ok_or(SiteError::NoMeshd)
    }

    /// Kills meshd with SIGKILL.
    ///
    /// # Errors
    ///
    /// [`SiteError::NoMeshd`], or when the system refuses.
    pub fn kill_meshd(&mut self) -> Result<(), SiteError> {
        let mut meshd = self.meshd.take().ok_or(SiteError::NoMeshd)?;
        meshd.process().kill()?;
        Ok(())
    }

    /// Asks meshd to end, with SIGTERM, and waits until it has.
    ///
    /// # Errors
    ///
    /// [`SiteError::NoMeshd`], or when it goes on; it is killed then.
    pub async fn stop_meshd(&mut self) -> Result<ExitStatus, SiteError> {
        let mut meshd = self.meshd.take().ok_or(SiteError::NoMeshd)?;
        Ok(meshd.process().terminate(PATIENCE).await?)
    }

    /// Starts another meshd beside the running one, to take over from it, and waits until that one has
    /// ended.
    ///
    /// # Errors
    ///
    /// [`SiteError::NoMeshd`], or [`SiteError::Process`] when the new one does not start or the old one does
    /// not end.
    pub async fn replace_meshd(&mut self) -> Result<ExitStatus, SiteError> {
        let mut before = self.meshd.take().ok_or(SiteError::NoMeshd)?;
        let mut plan = self.meshd_plan.clone();
        // Files of its own: the running one writes its log.
        plan.name = format!("{}-after-{}", plan.name, before.process().pid());
        self.meshd = Some(Meshd::start(&plan, self.scratch.dir()).await?);
        Ok(before.process().end(PATIENCE).await?)
    }

    /// What the service file of meshd says under `mesh`, from its next start on.
    pub fn set_mesh(&mut self, section: Value) {
        self.meshd_plan.mesh = section;
    }

    /// Counters may be reset, and the log level changed, from the next start of meshd on.
    pub fn allow_changes(&mut self) {
        self.meshd_plan.changes = true;
    }

    /// How this site's meshd is started.
    pub fn meshd_plan(&self) -> &meshd::Plan {
        &self.meshd_plan
    }

    /// Replaces the rules, in one step, so that nobody reads half of them.
    ///
    /// # Errors
    ///
    /// [`SiteError::System`].
    pub fn write_rules(&self, rules: &str) -> Result<(), SiteError> {
        let draft = self.scratch.file("ratelimit.yaml.draft");
        fs::write(&draft, rules)?;
        fs::rename(draft, &self.meshd_plan.rules)?;
        Ok(())
    }

    /// A bootstrap of the repository, set up for this site.
    ///
    /// One that asks meshd needs a meshd that was started before, because of its port.
    ///
    /// # Errors
    ///
    /// [`SiteError::Bootstrap`] when it is not one of ours.
    pub fn bootstrap(&self, name: &str) -> Result<Bootstrap, SiteError> {
        let mut bootstrap = Bootstrap::shipped(name)?
            .with_free_ports()?
            .with_endpoint("upstream", self.upstream.address())?;
        if bootstrap.has_listener(MODULE) {
            bootstrap.module_config()?["region"] = json!(self.region());
        }
        if bootstrap.has_listener(RLS) {
            let grpc = ([127, 0, 0, 1], self.meshd_plan.grpc_port).into();
            bootstrap = bootstrap.with_endpoint("meshd", grpc)?;
            bootstrap.filter(RLS, "envoy.filters.http.ratelimit")?["timeout"] = json!(RLS_TIMEOUT);
        }
        Ok(bootstrap)
    }

    /// How an Envoy of this site is started.
    pub fn proxy_plan(&self, name: &str, bootstrap: Bootstrap) -> proxy::Plan {
        let mut plan = proxy::Plan::new(name, &self.tools.envoy, bootstrap);
        plan.module_dir = Some(self.tools.binaries.module_dir.clone());
        plan
    }

    /// Starts an Envoy with both listeners and this many workers.
    ///
    /// # Errors
    ///
    /// [`SiteError::Proxy`], with Envoy's own words when it did not start.
    pub async fn proxy(&self, name: &str, workers: usize) -> Result<Proxy, SiteError> {
        let mut plan = self.proxy_plan(name, self.bootstrap("both.yaml")?);
        plan.workers = workers;
        self.start_proxy(&plan).await
    }

    /// Starts an Envoy with its files in this site's directory.
    ///
    /// # Errors
    ///
    /// [`SiteError::Proxy`], with Envoy's own words when it did not start.
    pub async fn start_proxy(&self, plan: &proxy::Plan) -> Result<Proxy, SiteError> {
        Ok(Proxy::start(plan, self.scratch.dir()).await?)
    }

    /// The hits counted on this host, in the current window, for the descriptor of this one entry.
    ///
    /// # Errors
    ///
    /// [`SiteError::Region`] when there is no region, or none that can be read.
    pub fn counted(&self, key: &str, value: &str) -> Result<u64, SiteError> {
        let view = RegionView::open(&self.region())?;
        let is_it = |entries: &[(String, String)]| matches!(entries, [(its_key, its_value)] if its_key == key && its_value == value);
        let counters = view.counters(CoarseClock.now_s());
        let its = counters.filter(|it| it.label.as_ref().is_some_and(|it| is_it(&it.entries)));
        Ok(its.map(|counter| counter.local).sum())
    }

    /// Where the region is, or belongs.
    pub fn region(&self) -> PathBuf {
        self.scratch.region()
    }

    /// Where this site keeps its files.
    pub fn dir(&self) -> &Path {
        self.scratch.dir()
    }

    /// The service behind the Envoys.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The programs this site runs.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }
}
