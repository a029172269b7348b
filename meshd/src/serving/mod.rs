//! The running daemon between its start and its end: serves, until it is told to stop or another meshd
//! has taken over.

mod parts;

use std::future::pending;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until};
use tonic_health::server::{HealthReporter, HealthService};
use tracing::{error, info, warn};

use crate::config::{Loaded, Server, print};
use crate::descriptors;
use crate::failure::Failure;
use crate::handover::belongings::Role;
use crate::handover::successor::{Household, Successor};
use crate::mesh::MeshService;
use crate::panics::PanicNotice;
use crate::server::accept::GrpcListeners;
use crate::server::admin::Admin;
use crate::server::calls::{CallCounts, Calls};
use crate::server::connection::ConnectionSettings;
use crate::server::connections::{Connections, Limits, PortName};
use crate::server::counters::Counters;
use crate::server::health::{Health, State};
use crate::server::host_names::HostNames;
use crate::server::listen::{self, SocketFile, UnixSocket};
use crate::server::log_level::LogLevels;
use crate::server::metrics::{self, Metrics};
use crate::server::one_at_a_time::OneAtATime;
use crate::server::reset::Resets;
use crate::server::web_guard::WebGuard;
use crate::server::workers::Workers;
use crate::server::{
    RateLimit, Reflection, ServiceSettings, Services, admin, grpc_health, http, http_port,
    readiness,
};
use crate::shutdown::{OsSignals, Phase, Request, StopSwitch};
use crate::sockets::Sockets;

pub(crate) use self::parts::{Parts, share};

/// How often a stopping meshd says what it waits for.
const DRAIN_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How serving ends.
enum End {
    /// This signal asked for it.
    Stop(&'static str),
    /// Another meshd serves.
    HandedOver(Successor),
}

/// Serves until a stop is asked for or another meshd serves, and through the stop.
pub(crate) fn serve(
    loaded: &Loaded,
    ports_file: Option<&Path>,
    sockets: Sockets,
    parts: &mut Parts,
) -> Result<(), Failure> {
    let server = &loaded.config.server;
    let stop = StopSwitch::new();
    let reporter = HealthReporter::new();
    let service = Arc::new(ServiceSettings::of(&loaded.config.rate_limiting));
    let reflection = server.reflection.then(reflection).flatten();
    let calls = Arc::new(Calls::of_workers(worker_count(server.workers)));
    let services = |counts: &Arc<CallCounts>| {
        let health = HealthService::from_health_reporter(reporter.clone());
        let decider = parts.owner.decider();
        let rate_limit = RateLimit::new(decider, Arc::clone(&service), Arc::clone(counts));
        Services::new(rate_limit, health, reflection.clone())
    };
    let settings = Arc::new(ConnectionSettings::new(server, parts.tls.clone()));
    let services: Vec<_> = calls.grpc().iter().map(services).collect();
    let workers = Arc::new(
        Workers::start(services, &settings, &stop.signal(), &parts.health)
            .map_err(Failure::system("threads for workers"))?,
    );
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("a runtime"))?;

    let served = runtime.block_on(async {
        // Before anyone can be told that meshd runs: from then on it may be told to stop.
        let mut signals = OsSignals::install().map_err(Failure::system("signal handlers"))?;
        let ports = parts.ports;
        let admin_address = sockets.admin.local_addr().ok();
        let Open {
            grpc,
            mut socket_file,
            http,
            admin,
            metrics: metrics_port,
        } = Open::of(sockets, server).map_err(Failure::system("file descriptors"))?;
        let connections = bounded_connections(server, metrics_port.is_some());
        let metrics = Metrics {
            ratelimit_compat: loaded.config.metrics.ratelimit_compat,
            health: parts.health.clone(),
            owner: Arc::clone(&parts.owner),
            rules: Arc::clone(&parts.rules),
            values: parts.background.as_ref().and_then(|it| it.values()),
            mesh: parts.mesh.as_ref().map(MeshService::handle),
            key_reloads: parts.mesh.as_ref().and_then(MeshService::key_reloads),
            calls: Arc::clone(&calls),
            connections: Arc::clone(&connections),
            tls: parts.tls.clone(),
            scrapes: OneAtATime::default(),
        };
        let endpoints = Admin {
            config: print(loaded).into(),
            rules: Arc::clone(&parts.rules),
            workers: Arc::clone(&workers),
            counters: Counters {
                owner: Arc::clone(&parts.owner),
                path: loaded.config.region.path.clone(),
                listings: OneAtATime::default(),
            },
            resets: Resets {
                is_on: loaded.config.admin.reset,
                owner: Arc::clone(&parts.owner),
                rules: Arc::clone(&parts.rules),
                mesh: parts.mesh.as_ref().map(MeshService::handle),
                values: metrics.values.clone(),
            },
            log_levels: LogLevels {
                is_on: loaded.config.admin.log_level,
                log: parts.log.clone(),
            },
            metrics: metrics.clone(),
        };
        let json = RateLimit::new(parts.owner.decider(), service, Arc::clone(calls.json()));
        let http_router = http::router(parts.health.clone(), json, metrics.clone());
        let metrics_port =
            metrics_port.map(|port| (PortName::Metrics, port, metrics::router(metrics)));

        let health = parts.health.clone();
        parts.owner.set_admin_address(admin_address);
        health.update(|components| components.server = State::Up);
        grpc_health::report(&health, &reporter).await;
        tokio::spawn(grpc_health::follow(health.clone(), reporter.clone()));
        // The ports are open, if not yet looked after. From here on nothing can fail any more, so that a
        // meshd before this one goes on if something has.
        if let Some(path) = ports_file {
            ports.write(path)?;
        }
        let left = StopSwitch::new();
        let overdue = Arc::clone(&connections).close_overdue();
        tokio::spawn(watched("gRPC", health.clone(), overdue));
        let accepting = grpc.accept(
            Arc::clone(&workers),
            Arc::clone(&connections),
            stop.signal(),
            left.signal(),
        );
        let accepting = tokio::spawn(watched("gRPC", health.clone(), accepting));
        let ports_of_http = [
            (PortName::Http, http, http_router),
            (PortName::Admin, admin, admin::router(endpoints)),
        ];
        let guard = WebGuard::new(HostNames::of(&loaded.config));
        for (name, port, router) in ports_of_http.into_iter().chain(metrics_port) {
            let router = guard.protect(router);
            let connections = Arc::clone(&connections);
            let serving = http_port::serve(name, port, router, connections, left.signal());
            tokio::spawn(watched("HTTP", health.clone(), serving));
        }
        info!(
            grpc = ports.grpc,
            http = ports.http,
            admin = ports.admin,
            metrics = ports.metrics,
            mesh = ports.mesh,
            "meshd serves"
        );
        let readiness = tokio::spawn(readiness::follow(health.clone()));
        parts.relieve_predecessor(socket_file.as_mut());

        let end = until_the_end(&mut signals, parts, server.shutdown_delay, || {
            // What follows is no loss of readiness, and has lines of its own.
            readiness.abort();
        })
        .await;
        match end {
            End::Stop(signal) => {
                info!(signal, "meshd stops");
                grpc_health::report(&health, &reporter).await;
                if parts.owner.rests() {
                    // A newcomer is about to serve, and has these.
                    leave_file(socket_file.as_mut());
                    leave_file(parts.door.as_mut().map(|door| &mut door.file));
                }
                // Nobody is kept waiting at ports that are not looked after.
                parts.close();
                drop(socket_file);
                stop.advance(Phase::Draining);
                let stopped = stop.all_stopped();
                drain(stopped, &mut signals, 1, &workers, server.drain_timeout).await;
            }
            End::HandedOver(Successor { pid, kept }) => {
                info!(
                    successor = pid,
                    "handed over: this meshd finishes the calls it has"
                );
                if kept.contains(&Role::GrpcSocket) {
                    leave_file(socket_file.as_mut());
                }
                drop(socket_file);
                left.advance(Phase::Draining);
                // What was accepted is served: workers have it before they hear of the end.
                let _ = accepting.await;
                parts.leave();
                stop.advance(Phase::Draining);
                let stopped = async { tokio::join!(stop.all_stopped(), left.all_stopped()) };
                // Whoever starts the next one by hand may well stop this one by hand.
                drain(stopped, &mut signals, 2, &workers, server.drain_timeout).await;
            }
        }
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

/// The sockets of the server, bound to the runtime.
struct Open {
    grpc: GrpcListeners,
    /// Of the Unix socket among them.
    socket_file: Option<SocketFile>,
    http: tokio::net::TcpListener,
    admin: tokio::net::TcpListener,
    metrics: Option<tokio::net::TcpListener>,
}

impl Open {
    fn of(sockets: Sockets, server: &Server) -> io::Result<Self> {
        let always = [&sockets.grpc, &sockets.http, &sockets.admin];
        for listener in always.into_iter().chain(&sockets.metrics) {
            listen::prepare(
                listener,
                server.keepalive_interval,
                server.keepalive_timeout,
            )?;
        }
        let (socket_file, unix) = sockets
            .grpc_socket
            .map(|UnixSocket { file, listener }| (file, listener))
            .unzip();
        Ok(Self {
            grpc: GrpcListeners::new(sockets.grpc, unix)?,
            socket_file,
            http: tokio::net::TcpListener::from_std(sockets.http)?,
            admin: tokio::net::TcpListener::from_std(sockets.admin)?,
            metrics: sockets
                .metrics
                .map(tokio::net::TcpListener::from_std)
                .transpose()?,
        })
    }
}

/// The connections there may be, with as many descriptors as are left now.
fn bounded_connections(server: &Server, has_metrics_port: bool) -> Arc<Connections> {
    let descriptors = descriptors::available();
    let (limits, are_fewer) = Limits::new(server, has_metrics_port, descriptors);
    if are_fewer {
        let [grpc, grpc_socket, http, admin, metrics] = limits.connections;
        warn!(
            descriptors,
            grpc,
            grpc_socket,
            http,
            admin,
            metrics,
            "the limit of file descriptors allows fewer connections than server.max_connections and \
             server.max_http_connections: raise it (LimitNOFILE, ulimit -n)"
        );
    }
    Connections::new(limits)
}

/// What clients may ask about the services, if it can be told.
fn reflection() -> Option<Reflection> {
    Reflection::new()
        .inspect_err(|error| error!(%error, "there is no reflection: this is a bug in meshd"))
        .ok()
}

/// The same task, which says in health when it dies of a panic.
fn watched<T>(
    what: &'static str,
    health: Health,
    task: impl Future<Output = T>,
) -> impl Future<Output = T> {
    let notice = PanicNotice::new(move || {
        health.update(|components| {
            let detail = format!("the task of a {what} port died: restart meshd");
            components.server = State::Down(detail);
        });
    });
    async move {
        let _notice = notice;
        task.await
    }
}

/// How many workers there are for a configured number.
fn worker_count(configured: u16) -> usize {
    if configured > 0 {
        return configured.into();
    }
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn leave_file(file: Option<&mut SocketFile>) {
    if let Some(file) = file {
        file.leave();
    }
}

/// Waits for a signal to stop or another meshd to serve, and follows the other signals. A stop is `announced` in
/// health at once, and begins after `delay`, or with the next signal to stop: until then, another meshd may take over
/// as ever.
async fn until_the_end(
    signals: &mut OsSignals,
    parts: &Parts,
    delay: Duration,
    announced: impl Fn(),
) -> End {
    let household = Household {
        owner: &parts.owner,
        mesh: parts.mesh.as_ref(),
        belongings: &parts.belongings,
        succession: &parts.succession,
    };
    // One for all signals: a conversation goes on over a reload.
    let mut handed_over = pin!(household.handed_over(parts.door.as_ref()));
    let mut stopping: Option<(&'static str, Instant)> = None;
    loop {
        let delayed = async {
            match stopping {
                Some((_, until)) => sleep_until(until).await,
                None => pending().await,
            }
        };
        let request = tokio::select! {
            request = signals.next() => request,
            successor = handed_over.as_mut() => {
                announced();
                return End::HandedOver(successor);
            }
            () = delayed => Request::Stop("server.shutdown_delay"),
        };
        match (request, stopping) {
            (Request::Stop(_), Some((signal, _))) => return End::Stop(signal),
            (Request::Stop(signal), None) => {
                announced();
                let down = State::Down("stopping".to_owned());
                parts.health.update(|components| components.server = down);
                if delay.is_zero() {
                    return End::Stop(signal);
                }
                info!(
                    signal,
                    ?delay,
                    "meshd is not ready any more, and serves for server.shutdown_delay; asked once more, it \
                     stops at once"
                );
                stopping = Some((signal, Instant::now() + delay));
            }
            (Request::Reload, _) => {
                if let Some(background) = &parts.background {
                    background.reload_rules();
                    background.reload_tls();
                }
                if let Some(mesh) = &parts.mesh {
                    mesh.reload_keys();
                }
            }
        }
    }
}

/// Waits until everything has `stopped`, but not for longer than `timeout` or until one signal too many,
/// of which it takes `signals_max`.
async fn drain(
    stopped: impl Future,
    signals: &mut OsSignals,
    signals_max: u32,
    workers: &Workers,
    timeout: Duration,
) {
    let drained = async { tokio::time::timeout(timeout, stopped).await.is_ok() };
    let one_too_many = async {
        for left in (0..signals_max).rev() {
            while signals.next().await == Request::Reload {}
            if left > 0 {
                info!("this meshd stops already; asked once more, it cuts calls in flight off");
            }
        }
    };
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
        () = one_too_many => warn!("asked again to stop: calls in flight are cut off"),
        () = report => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_whose_task_dies_takes_the_server_down() {
        let health = Health::starting();
        health.update(|components| components.server = State::Up);
        let task = watched("gRPC", health.clone(), async { panic!("as a bug would") });
        assert!(tokio::spawn(task).await.is_err());
        let State::Down(why) = health.now().server else {
            panic!("{:?}", health.now());
        };
        assert!(why.contains("gRPC"), "{why}");
    }
}
