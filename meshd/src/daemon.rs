//! The running daemon: starts the parts in order, waits to be asked to stop, and stops them in order.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hivemind_shared::yaml::Problems;
use tokio::runtime::Builder;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::{error, info, warn};

use crate::background::Background;
use crate::config::{Config, Loaded, print};
use crate::failure::Failure;
use crate::mesh::MeshService;
use crate::mesh::key_file::{self, Keys};
use crate::mesh::socket::MeshSocket;
use crate::ports_file::Ports;
use crate::region_owner::RegionOwner;
use crate::rules_source;
use crate::server::accept::GrpcListeners;
use crate::server::admin::Admin;
use crate::server::connection::ConnectionSettings;
use crate::server::health::{Health, State};
use crate::server::metrics::{self, Metrics};
use crate::server::tls::{self, Tls};
use crate::server::workers::Workers;
use crate::server::{Extras, RateLimit, Reflection, Services, admin, grpc_health, http};
use crate::shutdown::{OsSignals, Phase, Request, StopSwitch};
use crate::sockets::Sockets;
use crate::telemetry::log;

/// How often a stopping meshd says what it waits for.
const DRAIN_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the daemon until a signal stops it.
///
/// # Errors
///
/// [`Failure`] when it could not start. Once it runs, it ends by being asked to.
pub fn run(loaded: &Loaded, ports_file: Option<&Path>) -> Result<(), Failure> {
    let config = &loaded.config;
    // Before anything is opened: wrong keys and rules leave no trace.
    let keys = key_file::load(&config.mesh).map_err(Failure::Config)?;
    let tls = tls::load(&config.server).map_err(Failure::Config)?;
    let (rules, rule_warnings) = rules_source::first(config)?;
    log::init(config.log);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.node.name,
        "meshd starts"
    );
    let mut warnings = loaded.warnings.clone();
    warnings.extend(tls.iter().flat_map(|tls| tls.warnings()));
    warn_of(config, &warnings, keys.as_ref(), &rule_warnings);

    let health = Health::starting();
    let owner = Arc::new(RegionOwner::open(
        &config.region,
        keys.as_ref().map(|keys| keys.ring.hash_key()),
        rules.rules().cloned(),
        health.clone(),
    )?);
    let background = Background::start(config, &owner, rules, tls.as_ref(), &health)
        .map_err(Failure::system("a thread"))?;
    let mut sockets = Sockets::open(config)?;
    let ports = sockets
        .ports()
        .map_err(Failure::system("its own addresses"))?;
    let mesh = start_mesh(
        config,
        sockets.mesh.take().zip(keys),
        &owner,
        &background,
        &health,
    )
    .map_err(Failure::system("threads for the mesh"))?;
    let parts = Parts {
        owner: &owner,
        background: &background,
        mesh: mesh.as_ref(),
        tls: tls.as_ref(),
        health: &health,
    };
    let served = serve(loaded, ports_file, sockets, ports, &parts);
    owner.set_admin_address(None);
    // After the server, so that its last counts go along; before the region they are in.
    if let Some(mesh) = mesh {
        mesh.stop();
    }
    background.stop();
    if served.is_ok() {
        info!("meshd has stopped");
    }
    served
}

/// Starts the mesh, or says why there is none.
fn start_mesh(
    config: &Config,
    on: Option<(MeshSocket, Keys)>,
    owner: &RegionOwner,
    background: &Background,
    health: &Health,
) -> io::Result<Option<MeshService>> {
    if let Some((socket, keys)) = on {
        let rules = background.rules();
        return MeshService::start(config, socket, keys, owner, rules, health).map(Some);
    }
    info!(
        "the mesh is off: there is nobody to share counts with. To share them, give every host the \
         same mesh.key_file (`hivectl keygen` makes one), and name some of them in \
         mesh.bootstrap_peers"
    );
    health.update(|components| components.mesh = State::Up);
    Ok(None)
}

/// What runs beside the server.
struct Parts<'a> {
    owner: &'a Arc<RegionOwner>,
    background: &'a Background,
    mesh: Option<&'a MeshService>,
    tls: Option<&'a Arc<Tls>>,
    health: &'a Health,
}

/// Logs what is odd but no reason to stop.
fn warn_of(config: &Config, warnings: &[String], keys: Option<&Keys>, rule_warnings: &Problems) {
    let key_warning = keys.and_then(|keys| keys.warning.as_ref());
    for warning in warnings.iter().chain(key_warning) {
        warn!("{warning}");
    }
    rules_source::log_problems(rule_warnings);
    if config.mesh.is_open_to_others() {
        warn!(
            bind = %config.mesh.bind,
            "mesh.insecure is set and there is no mesh.key_file: whoever reaches this port can read \
             and change counts"
        );
    }
}

/// Serves until a stop is asked for, and through the stop.
fn serve(
    loaded: &Loaded,
    ports_file: Option<&Path>,
    sockets: Sockets,
    ports: Ports,
    parts: &Parts<'_>,
) -> Result<(), Failure> {
    let Parts {
        owner,
        background,
        mesh,
        tls,
        health,
    } = *parts;
    let server = &loaded.config.server;
    let stop = StopSwitch::new();
    let reporter = HealthReporter::new();
    let reflection = server
        .reflection
        .then(Reflection::new)
        .transpose()
        .unwrap_or_else(|error| {
            error!(%error, "there is no reflection: this is a bug in meshd");
            None
        });
    let extras = Arc::new(Extras::of(&loaded.config.rate_limiting));
    let services = || {
        let health = HealthService::from_health_reporter(reporter.clone());
        let rate_limit = RateLimit::new(owner.decider(), Arc::clone(&extras));
        Services::new(rate_limit, health, reflection.clone())
    };
    let connections = Arc::new(ConnectionSettings::new(server, tls.cloned()));
    let workers = worker_count(server.workers);
    let workers = (0..workers).map(|_| services());
    let workers = Arc::new(
        Workers::start(workers, &connections, &stop.signal())
            .map_err(Failure::system("threads for workers"))?,
    );
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("a runtime"))?;

    let served = runtime.block_on(async {
        // Before anyone can be told that meshd runs: from then on it may be told to stop.
        let mut signals = OsSignals::install().map_err(Failure::system("signal handlers"))?;
        let metrics = Metrics {
            ratelimit_compat: loaded.config.metrics.ratelimit_compat,
            owner: Arc::clone(owner),
            rules: background.rules(),
            mesh: mesh.map(MeshService::handle),
            tls: tls.cloned(),
        };
        let admin_address = sockets.admin.local_addr().ok();
        let endpoints = Admin {
            config: print(loaded).into(),
            rules: background.rules(),
            workers: Arc::clone(&workers),
            metrics: metrics.clone(),
        };
        let grpc = GrpcListeners::new(sockets.grpc, sockets.grpc_socket)
            .map_err(Failure::system("file descriptors"))?;
        tokio::spawn(grpc.accept(Arc::clone(&workers), stop.signal()));
        spawn_http(
            sockets.http,
            http::router(
                health.clone(),
                RateLimit::new(owner.decider(), extras),
                metrics.clone(),
            ),
        )?;
        if let Some(listener) = sockets.metrics {
            spawn_http(listener, metrics::router(metrics))?;
        }
        spawn_http(sockets.admin, admin::router(endpoints))?;
        owner.set_admin_address(admin_address);

        health.update(|components| components.server = State::Up);
        grpc_health::report(health, &reporter).await;
        tokio::spawn(grpc_health::follow(health.clone(), reporter.clone()));
        info!(
            grpc = ports.grpc,
            http = ports.http,
            admin = ports.admin,
            metrics = ports.metrics,
            mesh = ports.mesh,
            "meshd is ready"
        );
        if let Some(path) = ports_file {
            ports.write(path)?;
        }

        until_stop(&mut signals, background, mesh).await;
        health.update(|components| components.server = State::Down("stopping".to_owned()));
        grpc_health::report(health, &reporter).await;
        drain(&stop, &mut signals, &workers, server.drain_timeout).await;
        Ok(())
    });
    stop.advance(Phase::Ended);
    // Ends the HTTP servers; what they do takes no time.
    drop(runtime);
    if let Some(workers) = Arc::into_inner(workers) {
        workers.join();
    }
    served
}

/// How many workers there are for a configured number.
fn worker_count(configured: u16) -> usize {
    if configured > 0 {
        return configured.into();
    }
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Serves HTTP in a task of its own, for ever.
fn spawn_http(listener: TcpListener, router: Router) -> Result<(), Failure> {
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(Failure::system("file descriptors"))?;
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(())
}

/// Waits for a signal to stop, and follows the others.
async fn until_stop(signals: &mut OsSignals, background: &Background, mesh: Option<&MeshService>) {
    loop {
        match signals.next().await {
            Request::Stop(signal) => return info!(signal, "meshd stops"),
            Request::Reload => {
                background.reload_rules();
                background.reload_tls();
                if let Some(mesh) = mesh {
                    mesh.reload_keys();
                }
            }
        }
    }
}

/// Lets calls in flight finish, but not for longer than `timeout` or until a second signal.
async fn drain(stop: &StopSwitch, signals: &mut OsSignals, workers: &Workers, timeout: Duration) {
    stop.advance(Phase::Draining);
    let drained = within(timeout, stop.all_stopped());
    let second_signal = async { while signals.next().await == Request::Reload {} };
    let report = async {
        loop {
            tokio::time::sleep(DRAIN_REPORT_INTERVAL).await;
            let connections: usize = workers.open_connections().iter().sum();
            info!(connections, "waiting for calls in flight");
        }
    };
    tokio::select! {
        drained = drained => if !drained {
            warn!(?timeout, "calls still in flight are cut off");
        },
        () = second_signal => warn!("asked again to stop: calls in flight are cut off"),
        () = report => {}
    }
}

/// Whether `work` is done within `timeout`.
async fn within(timeout: Duration, work: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(timeout, work).await.is_ok()
}
