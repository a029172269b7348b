//! The mesh's way into the world: the protocol itself knows no socket, clock or file.
//!
//! One thread, [`worker`], has the mesh and its socket; everything else talks to it through a
//! [`MeshHandle`]. Beside it, one thread looks for peers ([`bootstrap`]), and one watches the key file
//! ([`key_file`]).

mod advertise;
mod alone;
mod bootstrap;
mod clock;
mod handle;
pub mod key_file;
mod peer_log;
mod reach;
mod resolver;
mod rules_watch;
mod sender;
mod skew;
pub mod socket;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{error, info, warn};

use self::handle::{Command, Inbox};
pub use self::handle::{MeshHandle, NotForgiven};
use self::key_file::{KeyReloader, Keys};
use self::socket::MeshSocket;
use self::worker::{Parts, Worker};
use crate::config::{Config, Peer};
use crate::handover::Estate;
use crate::panics::PanicNotice;
use crate::region_owner::RegionOwner;
use crate::reload::{Follower, ReloadStatus};
use crate::rules_source::RulesState;
use crate::server::health::{Health, State};

/// How long the address to tell peers may wait for a name server.
const ADVERTISE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the mesh has for its goodbye.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The running mesh.
#[derive(Debug)]
pub struct MeshService {
    handle: MeshHandle,
    address: SocketAddr,
    thread: JoinHandle<()>,
    /// Disconnects when the thread has ended.
    ended: mpsc::Receiver<()>,
    _search: Option<bootstrap::Search>,
    keys: Option<KeyWatch>,
}

/// Whoever follows the key file.
#[derive(Debug)]
struct KeyWatch {
    follower: Follower,
    status: Arc<ReloadStatus>,
}

impl MeshService {
    /// Starts the mesh of the owner's region on a bound socket. With what an earlier mesh knew, it goes on
    /// where that one stopped, if it is of the same cluster; in a new region, without its counts.
    ///
    /// # Errors
    ///
    /// When the operating system has no more threads, file descriptors or random numbers.
    pub fn start(
        config: &Config,
        socket: MeshSocket,
        keys: Keys,
        owner: &RegionOwner,
        rules: Arc<RulesState>,
        health: &Health,
        before: Estate,
    ) -> io::Result<Self> {
        let mesh = &config.mesh;
        let bound = socket.local_address();
        let before = before.of_use_in(&mesh.cluster, owner.is_resumed());
        let towards = if mesh.advertise.is_none() && bound.ip().is_unspecified() {
            some_peer(&mesh.bootstrap_peers, &before)
        } else {
            None
        };
        let address = advertise::address(mesh.advertise, bound, towards);
        info!(
            %bound,
            %address,
            cluster = mesh.cluster,
            sealed = keys.ring.is_secret(),
            bootstrap_peers = mesh.bootstrap_peers.len(),
            "the mesh starts"
        );

        let (handle, inbox) = MeshHandle::new()?;
        let follower = handle.clone();
        let run = owner.follow(move |run| {
            follower.tell(Command::MoveTo(run));
        });
        let parts = Parts {
            settings: mesh.settings(config.region.max_keys.get()),
            name: config.node.name.clone(),
            address,
            keys: keys.ring.clone(),
            is_first: mesh.bootstrap_peers.is_empty() && before.peers.is_empty(),
            is_joined: before.is_joined,
            run,
            rules,
            rules_grace: mesh.rules_grace,
            bootstrap_peers: mesh.bootstrap_peers.iter().map(Peer::to_string).collect(),
            health: health.clone(),
        };
        health.update(|components| {
            components.mesh = if before.is_joined {
                State::Up
            } else {
                State::Down("waiting for a snapshot from peers".to_owned())
            };
        });
        let (thread, ended) = spawn(socket, inbox, parts)?;
        if !before.peers.is_empty() {
            handle.tell(Command::Join(before.peers));
        }

        let search = (!mesh.bootstrap_peers.is_empty())
            .then(|| bootstrap::start(mesh.bootstrap_peers.clone(), handle.clone()))
            .transpose()?;
        let keys = mesh
            .key_file
            .as_ref()
            .map(|path| watch_keys(KeyReloader::new(path.clone(), keys, handle.clone())))
            .transpose()?;
        Ok(Self {
            handle,
            address,
            thread,
            ended,
            _search: search,
            keys,
        })
    }

    /// The way to the mesh for those who ask about it.
    pub fn handle(&self) -> MeshHandle {
        self.handle.clone()
    }

    /// Where peers reach this host.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How reloads of the key file go; `None` without one.
    pub fn key_reloads(&self) -> Option<Arc<ReloadStatus>> {
        self.keys.as_ref().map(|keys| Arc::clone(&keys.status))
    }

    /// Reads the key file again at once.
    pub fn reload_keys(&self) {
        if let Some(keys) = &self.keys
            && !keys.follower.reload()
        {
            error!("keys cannot be reloaded: their thread is gone, restart meshd");
        }
    }

    /// Sends the last counts, and then nothing more: another meshd is about to go on under the same name
    /// and address. Should it not come to that, [`RegionOwner::go_on`] wakes the mesh up.
    pub fn rest(&self) -> Estate {
        let (answer, told) = mpsc::channel();
        self.handle.tell(Command::Rest(answer));
        told.recv_timeout(STOP_TIMEOUT).unwrap_or_else(|_| {
            warn!("the mesh does not rest; the next one will find its peers by itself");
            Estate::default()
        })
    }

    /// Says goodbye to the peers with the last counts, and ends. One that rests just ends.
    pub fn stop(self) {
        drop(self.keys);
        self.handle.tell(Command::Stop);
        match self.ended.recv_timeout(STOP_TIMEOUT) {
            Err(RecvTimeoutError::Timeout) => {
                warn!("the mesh does not end; peers will notice that this host is gone");
            }
            // Its death was reported when it happened.
            _ => drop(self.thread.join()),
        }
    }
}

/// Where some peer is. A known one is not looked for: after a hand-over nobody speaks for this host
/// meanwhile, and peers would take it for dead.
fn some_peer(bootstrap_peers: &[Peer], before: &Estate) -> Option<SocketAddr> {
    let known = before.peers.first().copied();
    known.or_else(|| bootstrap::first_address(bootstrap_peers, ADVERTISE_TIMEOUT))
}

/// Says in health when the mesh's own thread dies.
fn death_notice(health: Health) -> PanicNotice {
    PanicNotice::new(move || {
        health.update(|components| {
            components.mesh = State::Down("its thread died: restart meshd".to_owned());
        });
    })
}

/// Starts the mesh's own thread.
fn spawn(
    socket: MeshSocket,
    inbox: Inbox,
    parts: Parts,
) -> io::Result<(JoinHandle<()>, mpsc::Receiver<()>)> {
    let (ending, ended) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("mesh".to_owned())
        .spawn(move || {
            let _ending = ending;
            let health = parts.health.clone();
            let _notice = death_notice(health.clone());
            match Worker::new(socket, inbox, parts) {
                Ok(worker) => worker.run(),
                Err(failure) => {
                    error!(error = %failure, "the mesh cannot begin");
                    health.update(|components| {
                        components.mesh = State::Down(format!("cannot begin: {failure}"));
                    });
                }
            }
        })?;
    Ok((thread, ended))
}

fn watch_keys(reloader: KeyReloader) -> io::Result<KeyWatch> {
    let status = reloader.status();
    let follower = Follower::start(reloader)?;
    Ok(KeyWatch { follower, status })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics::die_with;

    #[test]
    fn a_thread_that_dies_takes_the_mesh_down() {
        let health = Health::starting();
        die_with(death_notice(health.clone()));
        let State::Down(why) = health.now().mesh else {
            panic!("{:?}", health.now());
        };
        assert!(why.contains("died"), "{why}");
    }

    #[test]
    fn a_peer_that_is_known_is_not_looked_for() {
        let named = [Peer::Host {
            host: "192.0.2.1".to_owned(),
            port: 9,
        }];
        let found = some_peer(&named, &Estate::default());
        assert_eq!(found, Some(([192, 0, 2, 1], 9).into()));
        let before = Estate {
            peers: vec![([192, 0, 2, 2], 9).into()],
            ..Estate::default()
        };
        let known = some_peer(&named, &before);
        assert_eq!(known, before.peers.first().copied());
    }
}
