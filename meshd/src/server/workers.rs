//! The threads that serve gRPC: one runtime each, and every connection stays on the one it was
//! dealt to.
//!
//! An Envoy worker keeps one connection for as long as it lives, so a connection dealt badly is
//! dealt badly for days: they are handed out by number, not by chance.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::connection::{Connection, ConnectionSettings, OpenCount, Stream};
use super::connections::Place;
use super::grpc::Services;
use super::health::{Health, State};
use crate::panics::PanicNotice;
use crate::shutdown::{Phase, StopSignal};

/// All workers.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    /// Where the search for the least loaded one begins, so that ties go round.
    next: AtomicUsize,
}

/// One worker, seen from the outside.
#[derive(Debug)]
struct Worker {
    connections: mpsc::UnboundedSender<Connection>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts as many workers as there are `services`; each gets its own.
    ///
    /// # Errors
    ///
    /// When the operating system has no more threads or file descriptors.
    pub fn start(
        services: impl IntoIterator<Item = Services>,
        settings: &Arc<ConnectionSettings>,
        stop: &StopSignal,
        health: &Health,
    ) -> io::Result<Self> {
        let alive = Arc::default();
        let workers = services
            .into_iter()
            .enumerate()
            .map(|(index, services)| {
                Worker::start(
                    index,
                    services,
                    Arc::clone(settings),
                    stop.clone(),
                    &alive,
                    health,
                )
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            workers,
            next: AtomicUsize::new(0),
        })
    }

    /// Deals a connection to the worker with the fewest open ones.
    pub(super) fn deal(&self, stream: Stream, place: Place) {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.workers.len();
        let least = (0..count)
            .map(|step| &self.workers[first.wrapping_add(step) % count])
            // One whose thread has died would look idle for ever.
            .filter(|worker| !worker.connections.is_closed())
            .min_by_key(|worker| worker.open.load(Ordering::Relaxed));
        let Some(worker) = least else { return };
        let connection = Connection {
            stream,
            open: OpenCount::add(&worker.open),
            place,
        };
        if worker.connections.send(connection).is_err() {
            // Only a worker that stopped or died; a stop closes the listeners as well.
            warn!(
                thread = worker.thread.thread().name(),
                "connection refused: its worker is gone"
            );
        }
    }

    /// Open connections of every worker.
    pub fn open_connections(&self) -> Vec<usize> {
        self.workers
            .iter()
            .map(|worker| worker.open.load(Ordering::Relaxed))
            .collect()
    }

    /// Waits for the threads to end, which they do once the stop has come to [`Phase::Ended`].
    pub fn join(self) {
        for worker in self.workers {
            drop(worker.connections);
            let name = worker.thread.thread().name().unwrap_or_default().to_owned();
            if worker.thread.join().is_err() {
                error!(
                    thread = name,
                    "worker died of a panic: this is a bug in meshd"
                );
            }
        }
    }
}

impl Worker {
    fn start(
        index: usize,
        services: Services,
        settings: Arc<ConnectionSettings>,
        stop: StopSignal,
        alive: &Arc<AtomicUsize>,
        health: &Health,
    ) -> io::Result<Self> {
        let (connections, dealt) = mpsc::unbounded_channel();
        alive.fetch_add(1, Ordering::Relaxed);
        let notice = death_notice(index, Arc::clone(alive), health.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name(format!("grpc-{index}"))
            .spawn(move || {
                let _notice = notice;
                run(&runtime, dealt, &services, &settings, stop);
            })?;
        Ok(Self {
            connections,
            open: Arc::default(),
            thread,
        })
    }
}

/// Says in health when a worker dies. The others get the connections that would have been its own.
fn death_notice(index: usize, alive: Arc<AtomicUsize>, health: Health) -> PanicNotice {
    PanicNotice::new(move || {
        // Relaxed: one of them sees that it is the last, whatever the order.
        let others = alive.fetch_sub(1, Ordering::Relaxed) - 1;
        health.update(|components| {
            if others == 0 {
                components.server = State::Down("every worker died: restart meshd".to_owned());
            } else if !matches!(components.server, State::Down(_)) {
                components.server =
                    State::Degraded(format!("worker grpc-{index} died: restart meshd"));
            }
        });
    })
}

/// The life of a worker's thread.
fn run(
    runtime: &Runtime,
    mut dealt: mpsc::UnboundedReceiver<Connection>,
    services: &Services,
    settings: &Arc<ConnectionSettings>,
    mut stop: StopSignal,
) {
    runtime.block_on(async move {
        let mut served = JoinSet::new();
        let serving = stop.clone();
        let serve = |connection: Connection| {
            let (services, stop) = (services.clone(), serving.clone());
            let settings = Arc::clone(settings);
            async move { connection.serve(services, &settings, stop).await }
        };
        loop {
            tokio::select! {
                Some(connection) = dealt.recv() => {
                    served.spawn(serve(connection));
                }
                // Reaps what has ended, so that the set does not grow for ever.
                Some(_) = served.join_next() => {}
                () = stop.reached(Phase::Draining) => break,
            }
        }
        // Connections in the queue were accepted: they are served what they have asked for by now.
        dealt.close();
        while let Some(connection) = dealt.recv().await {
            served.spawn(serve(connection));
        }
        tokio::select! {
            () = async { while served.join_next().await.is_some() {} } => {}
            () = stop.reached(Phase::Ended) => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use hivemind_shared::clock::CoarseClock;
    use hivemind_shared::decision::Limiter;
    use hivemind_shared::region::{Region, RegionOptions};
    use tonic_health::server::{HealthReporter, HealthService};

    use super::super::connections::{Connections, Limits, PortName};
    use super::super::{Decider, RateLimit, ServiceSettings};
    use super::*;
    use crate::config::Config;
    use crate::panics::die_with;
    use crate::shutdown::StopSwitch;

    fn services(config: &Config) -> Services {
        let options = RegionOptions {
            max_keys: 64,
            ..RegionOptions::default()
        };
        let region = Region::anonymous(&options).unwrap();
        let limiter = Limiter::new(Arc::clone(region.region()), CoarseClock);
        let settings = Arc::new(ServiceSettings::of(&config.rate_limiting));
        let health = HealthService::from_health_reporter(HealthReporter::new());
        let counts = Arc::default();
        let rate_limit = RateLimit::new(Decider::new(limiter), settings, counts);
        Services::new(rate_limit, health, None)
    }

    #[test]
    fn a_worker_that_dies_degrades_the_server_and_the_last_one_takes_it_down() {
        let health = Health::starting();
        let alive = Arc::new(AtomicUsize::new(2));
        let die = |index| {
            die_with(death_notice(index, Arc::clone(&alive), health.clone()));
            health.now().server
        };
        health.update(|components| components.server = State::Up);
        assert!(matches!(die(0), State::Degraded(what) if what.contains("grpc-0")));
        assert!(matches!(die(1), State::Down(_)));
    }

    #[test]
    fn a_worker_that_dies_makes_a_stopping_meshd_no_ready_one() {
        let health = Health::starting();
        let stopping = State::Down("stopping".to_owned());
        health.update(|components| components.server = stopping.clone());
        die_with(death_notice(
            0,
            Arc::new(AtomicUsize::new(2)),
            health.clone(),
        ));
        assert_eq!(health.now().server, stopping);
    }

    #[tokio::test]
    async fn a_connection_that_was_dealt_before_the_stop_is_served_all_the_same() {
        let config = Config::with_node_name("test".to_owned());
        let stop = StopSwitch::new();
        let settings = Arc::new(ConnectionSettings::new(&config.server, None));
        let workers = Workers::start(
            [services(&config)],
            &settings,
            &stop.signal(),
            &Health::starting(),
        )
        .unwrap();
        let (limits, _) = Limits::new(&config.server, false, usize::MAX);
        let connections = Connections::new(limits);
        // So many that the worker meets the stop before it has taken them all.
        let mut clients = Vec::new();
        for _ in 0..200 {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            ours.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .unwrap();
            let place = connections.admit(PortName::Grpc).await.unwrap();
            workers.deal(Stream::Unix(theirs), place);
            clients.push(ours);
        }
        stop.advance(Phase::Draining);
        for client in &mut clients {
            client
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            // The head of the server's first frame.
            client.read_exact(&mut [0; 9]).unwrap();
        }
        stop.advance(Phase::Ended);
        workers.join();
    }
}
