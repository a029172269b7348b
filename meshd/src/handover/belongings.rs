//! What one meshd leaves to the next: handles on sockets and on the region's lock, each with a label.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::net::{SocketType, sockopt};
use serde::{Deserialize, Serialize};

/// What something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The right to own the region.
    RegionLock,
    /// Where newcomers knock.
    Door,
    /// The Rate Limit Service.
    Grpc,
    /// The same on a Unix socket.
    GrpcSocket,
    /// The HTTP endpoints beside it.
    Http,
    /// For operators.
    Admin,
    /// For scrapers alone.
    Metrics,
    /// For peers.
    Mesh,
    /// Something of another version, of which this one knows nothing.
    #[serde(other)]
    Unknown,
}

impl Role {
    /// Whether it is a port of a network.
    const fn is_port(self) -> bool {
        matches!(
            self,
            Self::Grpc | Self::Http | Self::Admin | Self::Metrics | Self::Mesh
        )
    }
}

/// The network this process is in: the kernel's name of its namespace. `None` where it is not told.
pub(super) fn network() -> Option<String> {
    let name = std::fs::read_link("/proc/self/ns/net").ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// What is told of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What it is for.
    pub role: Role,
    /// The path of a Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Things of one meshd, each a handle of its own.
#[derive(Debug, Default)]
pub struct Belongings(Vec<(Label, OwnedFd)>);

impl Belongings {
    /// Those of an offer; handles and labels without each other are dropped.
    pub(super) fn new(labels: Vec<Label>, handles: Vec<OwnedFd>) -> Self {
        Self(labels.into_iter().zip(handles).collect())
    }

    /// Adds a handle on `thing`.
    ///
    /// # Errors
    ///
    /// When there are no more file descriptors.
    pub fn add(&mut self, role: Role, thing: impl AsFd) -> io::Result<()> {
        self.add_labelled(Label { role, path: None }, thing)
    }

    /// Adds a handle on the Unix socket at `path`.
    ///
    /// # Errors
    ///
    /// When there are no more file descriptors.
    pub fn add_unix(&mut self, role: Role, path: &Path, socket: impl AsFd) -> io::Result<()> {
        let path = Some(in_full(path));
        self.add_labelled(Label { role, path }, socket)
    }

    fn add_labelled(&mut self, label: Label, thing: impl AsFd) -> io::Result<()> {
        let handle = thing.as_fd().try_clone_to_owned()?;
        self.0.push((label, handle));
        Ok(())
    }

    /// The labels and handles, to be sent.
    pub(super) fn parts(&self) -> (Vec<Label>, Vec<BorrowedFd<'_>>) {
        let parts = self.0.iter();
        parts
            .map(|(label, handle)| (label.clone(), handle.as_fd()))
            .unzip()
    }

    /// Takes out what has this role.
    pub fn take(&mut self, role: Role) -> Option<OwnedFd> {
        self.take_if(|label, _| label.role == role)
    }

    /// Takes out the TCP socket that listens on `address`; for port 0, the one of this role on any port.
    pub fn take_tcp(&mut self, role: Role, address: SocketAddr) -> Option<TcpListener> {
        let is_wanted = |label: &Label, handle: &OwnedFd| {
            let is_listening = sockopt::socket_acceptconn(handle).unwrap_or(false);
            is_listening && is_at(handle, address, label.role == role)
        };
        self.take_if(is_wanted).map(TcpListener::from)
    }

    /// Takes out the UDP socket of this role that is bound to `address`; port 0 is any port.
    pub fn take_udp(&mut self, role: Role, address: SocketAddr) -> Option<UdpSocket> {
        let is_wanted = |label: &Label, handle: &OwnedFd| {
            let is_udp = sockopt::socket_type(handle) == Ok(SocketType::DGRAM);
            is_udp && label.role == role && is_at(handle, address, true)
        };
        self.take_if(is_wanted).map(UdpSocket::from)
    }

    /// Takes out the Unix socket of this role that listens on `path`.
    pub fn take_unix(&mut self, role: Role, path: &Path) -> Option<UnixListener> {
        let path = in_full(path);
        let is_wanted = |label: &Label, handle: &OwnedFd| {
            let is_listening = sockopt::socket_acceptconn(handle).unwrap_or(false);
            is_listening && label.role == role && label.path.as_ref() == Some(&path)
        };
        self.take_if(is_wanted).map(UnixListener::from)
    }

    /// Drops the ports of another network than this process is in: nobody who looks for it here finds them,
    /// and they end with the container they are of.
    pub(super) fn drop_ports_elsewhere(&mut self, network: Option<&str>, here: Option<&str>) {
        if let (Some(network), Some(here)) = (network, here)
            && network != here
        {
            self.0.retain(|(label, _)| !label.role.is_port());
        }
    }

    fn take_if(&mut self, is_wanted: impl Fn(&Label, &OwnedFd) -> bool) -> Option<OwnedFd> {
        let mut all = self.0.iter();
        let index = all.position(|(label, handle)| is_wanted(label, handle))?;
        Some(self.0.swap_remove(index).1)
    }
}

/// Whether a socket is bound to `address`. Port 0 is any port, where that is enough.
fn is_at(socket: &OwnedFd, address: SocketAddr, any_port_will_do: bool) -> bool {
    let bound = rustix::net::getsockname(socket)
        .ok()
        .and_then(|bound| SocketAddr::try_from(bound).ok());
    bound.is_some_and(|bound| {
        let is_port = bound.port() == address.port() || address.port() == 0 && any_port_will_do;
        bound.ip() == address.ip() && is_port
    })
}

/// A path that means the same to a process in another directory.
fn in_full(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn listeners() -> (Belongings, [SocketAddr; 2]) {
        let mut belongings = Belongings::default();
        let addresses = [Role::Grpc, Role::Http].map(|role| {
            let listener = TcpListener::bind(ANY).unwrap();
            belongings.add(role, &listener).unwrap();
            listener.local_addr().unwrap()
        });
        (belongings, addresses)
    }

    #[test]
    fn a_port_is_known_by_its_address_whatever_it_was_for() {
        let (mut belongings, [grpc, http]) = listeners();
        let taken = belongings.take_tcp(Role::Grpc, http).unwrap();
        assert_eq!(taken.local_addr().unwrap(), http);
        assert!(belongings.take_tcp(Role::Grpc, http).is_none(), "only once");
        let elsewhere = SocketAddr::new([127, 0, 0, 2].into(), grpc.port());
        assert!(belongings.take_tcp(Role::Grpc, elsewhere).is_none());
    }

    #[test]
    fn port_0_is_the_port_of_that_role() {
        let (mut belongings, [_, http]) = listeners();
        let taken = belongings.take_tcp(Role::Http, ANY).unwrap();
        assert_eq!(taken.local_addr().unwrap(), http);
        assert!(belongings.take_tcp(Role::Http, ANY).is_none());
        assert!(belongings.take_tcp(Role::Admin, ANY).is_none());
    }

    #[test]
    fn ports_of_another_network_are_not_used() {
        let here = network().unwrap();
        for (network, is_used) in [(Some(&*here), true), (None, true), (Some("net:[1]"), false)] {
            let (mut belongings, [grpc, _]) = listeners();
            belongings.drop_ports_elsewhere(network, Some(&here));
            assert_eq!(belongings.take_tcp(Role::Grpc, grpc).is_some(), is_used);
        }
    }

    #[test]
    fn a_handle_of_another_kind_is_left_alone() {
        let mut belongings = Belongings::default();
        let udp = UdpSocket::bind(ANY).unwrap();
        let address = udp.local_addr().unwrap();
        belongings.add(Role::Grpc, &udp).unwrap();
        belongings
            .add(Role::Mesh, tempfile::tempfile().unwrap())
            .unwrap();
        assert!(belongings.take_tcp(Role::Grpc, address).is_none());
        assert!(belongings.take_udp(Role::Mesh, ANY).is_none());
        belongings.add(Role::Mesh, &udp).unwrap();
        assert!(belongings.take_udp(Role::Mesh, ANY).is_some());
    }

    #[test]
    fn a_unix_socket_is_known_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rls.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut belongings = Belongings::default();
        belongings
            .add_unix(Role::GrpcSocket, &path, &listener)
            .unwrap();
        let other = dir.path().join("other.sock");
        assert!(belongings.take_unix(Role::GrpcSocket, &other).is_none());
        assert!(belongings.take_unix(Role::GrpcSocket, &path).is_some());
    }
}
