//! Looking for peers: resolves the bootstrap names, now and again, and tells the mesh where they lead.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::alone::Found;
use super::handle::{Command, MeshHandle};
use super::reach::Reach;
use super::resolver::Resolver;
use crate::config::Peer;

/// How soon names are looked up again while no peer is there: at first a hello or its answer may just
/// have been lost, or the peer is only starting. Doubles every time.
const INTERVAL_ALONE_MIN: Duration = Duration::from_millis(250);

/// How often names are looked up while no peer is there, at the latest.
const INTERVAL_ALONE_MAX: Duration = Duration::from_secs(10);

/// From this interval on, while no peer is there, it is found out whether anything listens where one should.
const INTERVAL_ALONE_SUSPICIOUS: Duration = Duration::from_secs(1);

/// How often otherwise: it brings halves of a cluster together that have lost each other.
const INTERVAL: Duration = Duration::from_secs(30);

/// Ends the search when it is dropped.
#[derive(Debug)]
pub(super) struct Search {
    _stop: mpsc::Sender<()>,
}

/// Starts the search for `peers`, which goes on until the result is dropped. Its thread is not waited
/// for: a name server may keep it for long.
///
/// # Errors
///
/// When the operating system has no more threads.
pub(super) fn start(peers: Vec<Peer>, mesh: MeshHandle) -> io::Result<Search> {
    let (stop, stopped) = mpsc::channel();
    std::thread::Builder::new()
        .name("bootstrap".to_owned())
        .spawn(move || search(peers, &mesh, &stopped))?;
    Ok(Search { _stop: stop })
}

fn search(peers: Vec<Peer>, mesh: &MeshHandle, stopped: &mpsc::Receiver<()>) {
    let mut resolver = Resolver::new(peers);
    let mut alone = INTERVAL_ALONE_MIN;
    let mut reach = Reach::default();
    loop {
        let found = Found {
            addresses: resolver.resolve(),
            failures: resolver.failures(),
            unreachable: reach.unreachable(),
        };
        let addresses = found.addresses.clone();
        if !mesh.tell(Command::Found(found)) {
            return;
        }
        let interval = if mesh.is_alone() {
            // The first hellos may just have been lost.
            if alone >= INTERVAL_ALONE_SUSPICIOUS {
                reach.ask(&addresses);
            }
            let after = alone.saturating_mul(2).min(INTERVAL_ALONE_MAX);
            std::mem::replace(&mut alone, after)
        } else {
            reach.clear();
            alone = INTERVAL_ALONE_MIN;
            INTERVAL
        };
        if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// An address of some peer, within `timeout`: to learn by which of its own addresses this host would
/// talk to it.
pub(super) fn first_address(peers: &[Peer], timeout: Duration) -> Option<SocketAddr> {
    let literal = peers.iter().find_map(|peer| match peer {
        Peer::Host { host, port } => {
            let ip: IpAddr = host.parse().ok()?;
            Some(SocketAddr::new(ip, *port))
        }
        Peer::Service(_) => None,
    });
    if literal.is_some() || peers.is_empty() {
        return literal;
    }
    let (found, first) = mpsc::channel();
    let mut resolver = Resolver::new(peers.to_vec());
    let started = std::thread::Builder::new()
        .name("bootstrap".to_owned())
        .spawn(move || found.send(resolver.resolve()));
    started.ok()?;
    first.recv_timeout(timeout).ok()?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_written_down_needs_no_name_server() {
        let peer = |host: &str| Peer::Host {
            host: host.to_owned(),
            port: 9,
        };
        let peers = [peer("peer.invalid"), peer("192.0.2.1")];
        let first = first_address(&peers, Duration::ZERO);
        assert_eq!(first, Some(([192, 0, 2, 1], 9).into()));
        assert_eq!(first_address(&[], Duration::ZERO), None);
    }

    #[test]
    fn what_is_found_is_told_to_the_mesh_and_soon_again_until_it_ends() {
        let (handle, inbox) = MeshHandle::new().unwrap();
        let peers = vec![Peer::Host {
            host: "127.0.0.1".to_owned(),
            port: 9,
        }];
        let search = start(peers, handle).unwrap();
        let deadline = std::time::Instant::now() + INTERVAL_ALONE_MAX * 9 / 10;
        for _ in 0..2 {
            let told = loop {
                match inbox.next() {
                    Some(command) => break command,
                    None => assert!(std::time::Instant::now() < deadline, "nothing was told"),
                }
                std::thread::yield_now();
            };
            let Command::Found(found) = told else {
                panic!("{told:?}");
            };
            assert_eq!(found.addresses, [([127, 0, 0, 1], 9).into()]);
        }
        drop(search);
        while !matches!(inbox.next(), Some(Command::Stop)) {
            assert!(std::time::Instant::now() < deadline, "the search goes on");
            std::thread::yield_now();
        }
    }
}
