//! Whether anything listens where a peer is expected: what the kernel hears of a datagram that was not delivered.
//!
//! The mesh's own socket talks to many, so the kernel tells it nothing of such things. A socket that is connected
//! to one address is told. It sends an empty datagram, which whoever listens drops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that are tried at a time.
const ADDRESSES_MAX: usize = 8;

/// Datagrams that were sent and may come back as an error.
#[derive(Debug, Default)]
pub(super) struct Reach {
    sent: Vec<(SocketAddr, UdpSocket)>,
    unreachable: Vec<(SocketAddr, String)>,
}

impl Reach {
    /// Sends to these addresses, a few of them at most; [`Self::unreachable`] says what came of it.
    pub(super) fn ask(&mut self, addresses: &[SocketAddr]) {
        self.unreachable.clear();
        self.sent.clear();
        for &address in addresses.iter().take(ADDRESSES_MAX) {
            match send(address) {
                Ok(socket) => self.sent.push((address, socket)),
                Err(error) => self.unreachable.push((address, error.to_string())),
            }
        }
    }

    /// What the kernel says of the last datagrams by now, by address; nothing of those that were delivered, or
    /// of which nobody knows.
    pub(super) fn unreachable(&mut self) -> Vec<(SocketAddr, String)> {
        self.sent
            .retain(|(address, socket)| match socket.take_error() {
                Ok(Some(error)) | Err(error) => {
                    self.unreachable.push((*address, error.to_string()));
                    false
                }
                Ok(None) => true,
            });
        self.unreachable.clone()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.sent.clear();
        self.unreachable.clear();
    }
}

fn send(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    socket.send(&[])?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_port_that_nobody_listens_on_is_told_from_one_that_somebody_does() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let closed = gone.local_addr().unwrap();
        drop(gone);
        let mut reach = Reach::default();
        reach.ask(&[open, closed]);
        let deadline = Instant::now() + Duration::from_secs(10);
        let found = loop {
            let found = reach.unreachable();
            if !found.is_empty() {
                break found;
            }
            assert!(Instant::now() < deadline, "the kernel says nothing");
            std::thread::yield_now();
        };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, closed);
        assert!(found[0].1.contains("refused"), "{found:?}");
        assert_eq!(reach.unreachable(), found, "it stays until the next try");
        reach.clear();
        assert!(reach.unreachable().is_empty());
    }
}
