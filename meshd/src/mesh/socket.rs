//! The UDP socket peers talk over: many datagrams a system call, in both directions.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::sockopt;
use tracing::warn;

use crate::config;
use crate::server::listen::ListenError;

/// Datagrams that are received with one system call at most.
const RECEIVE_BATCH: usize = 32;

/// Room for one datagram; none of ours is larger, whatever a peer is configured to send.
const DATAGRAM_BYTES_MAX: usize = 9_000;

/// The socket.
#[derive(Debug)]
pub struct MeshSocket {
    socket: UdpSocket,
    local: SocketAddr,
}

impl MeshSocket {
    /// Binds the socket and sizes its buffers; smaller ones than wanted are logged.
    ///
    /// # Errors
    ///
    /// When the port is taken, may not be used, or the address is not one of this host.
    pub fn bind(config: &config::Mesh) -> Result<Self, ListenError> {
        Self::open(UdpSocket::bind(config.bind), config)
    }

    /// The same with a socket that is bound already. What peers have sent to it is not lost.
    ///
    /// # Errors
    ///
    /// When the system refuses to say where it is bound, which it never does.
    pub fn of_bound(socket: UdpSocket, config: &config::Mesh) -> Result<Self, ListenError> {
        Self::open(Ok(socket), config)
    }

    /// Whether [`Self::bind`] could bind. The port is free again at once.
    ///
    /// # Errors
    ///
    /// As it would be.
    pub fn examine(config: &config::Mesh) -> Result<(), ListenError> {
        let address = config.bind;
        match UdpSocket::bind(address) {
            Ok(_) => Ok(()),
            Err(source) => Err(ListenError::Udp { address, source }),
        }
    }

    fn open(socket: io::Result<UdpSocket>, config: &config::Mesh) -> Result<Self, ListenError> {
        let opened = socket.and_then(|socket| {
            socket.set_nonblocking(true)?;
            let local = socket.local_addr()?;
            Ok(Self { socket, local })
        });
        let opened = opened.map_err(|source| ListenError::Udp {
            address: config.bind,
            source,
        })?;
        opened.size_buffers(config);
        Ok(opened)
    }

    /// The address it is bound to, with the port that was chosen.
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Asks for buffers of the configured sizes. What the kernel gives is enough to run on.
    fn size_buffers(&self, config: &config::Mesh) {
        let wanted = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let receive = wanted(config.receive_buffer_bytes);
        let granted = sockopt::set_socket_recv_buffer_size(&self.socket, receive)
            .and_then(|()| sockopt::socket_recv_buffer_size(&self.socket));
        warn_if_small("mesh.receive_buffer_bytes", "rmem_max", receive, granted);
        let send = wanted(config.send_buffer_bytes);
        let granted = sockopt::set_socket_send_buffer_size(&self.socket, send)
            .and_then(|()| sockopt::socket_send_buffer_size(&self.socket));
        warn_if_small("mesh.send_buffer_bytes", "wmem_max", send, granted);
    }

    /// An address as this socket can send to it; `None` when it is of the other family.
    pub(super) fn reachable(&self, address: SocketAddr) -> Option<SocketAddr> {
        match (self.local, address) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => {
                Some(address)
            }
            // A socket of IPv6 knows IPv4 by its mapped form.
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                Some((v4.ip().to_ipv6_mapped(), v4.port()).into())
            }
            (SocketAddr::V4(_), SocketAddr::V6(_)) => None,
        }
    }
}

impl AsFd for MeshSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Warns when the kernel gave less than was asked for.
fn warn_if_small(
    key: &'static str,
    maximum: &'static str,
    wanted: usize,
    granted: rustix::io::Result<usize>,
) {
    // The kernel doubles what it gives, for its own bookkeeping, and tells the double.
    match granted.map(|bytes| bytes / 2) {
        Ok(granted) if granted < wanted => warn!(
            key,
            wanted,
            granted,
            "the kernel gave a smaller buffer: bursts may be lost; raise net.core.{maximum}"
        ),
        Ok(_) => {}
        Err(error) => warn!(key, %error, "the buffer's size could not be set"),
    }
}

/// Takes datagrams off a socket, into the same memory again and again.
#[derive(Debug)]
pub struct Receiver {
    headers: MultiHeaders<SockaddrStorage>,
    memory: Box<[u8]>,
    /// Length and sender of each datagram of the last batch; no sender, not one of ours.
    received: Vec<(usize, Option<SocketAddr>)>,
}

impl Receiver {
    /// Room for one batch.
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(RECEIVE_BATCH, None),
            memory: vec![0; RECEIVE_BATCH * DATAGRAM_BYTES_MAX].into_boxed_slice(),
            received: Vec::with_capacity(RECEIVE_BATCH),
        }
    }

    /// Receives what is there, a batch at most, and says how much that was; 0 when nothing is.
    ///
    /// # Errors
    ///
    /// What the system says about an earlier datagram that could not be delivered, or about the socket.
    pub fn receive(&mut self, socket: &MeshSocket) -> io::Result<usize> {
        self.received.clear();
        let mut chunks = self.memory.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let mut slices: [[IoSliceMut<'_>; 1]; RECEIVE_BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let batch = recvmmsg(
            socket.as_fd().as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        match batch {
            Ok(messages) => {
                let received =
                    messages.map(|message| (message.bytes, message.address.and_then(address)));
                self.received.extend(received);
                Ok(self.received.len())
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The datagrams of the last batch with their senders.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.memory
            .chunks_exact_mut(DATAGRAM_BYTES_MAX)
            .zip(&self.received)
            .filter_map(|(chunk, &(bytes, from))| Some((from?, chunk.get_mut(..bytes)?)))
    }

    /// Datagrams of a full batch; fewer mean that the socket is empty.
    pub const fn batch_size() -> usize {
        RECEIVE_BATCH
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

/// The sender of a datagram in the one form peers are known by: IPv4 is never mapped.
fn address(storage: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = storage.as_sockaddr_in6()?;
    Some(match v6.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), v6.port()),
        IpAddr::V6(ip) => {
            std::net::SocketAddrV6::new(ip, v6.port(), 0, scope(ip, v6.scope_id())).into()
        }
    })
}

/// The scope of an address, which only link-local ones have.
const fn scope(ip: Ipv6Addr, id: u32) -> u32 {
    if ip.is_unicast_link_local() { id } else { 0 }
}
