//! Sending: many datagrams a system call, and what becomes of those the system refuses.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use hivemind_mesh::outbox::Outbox;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use tracing::warn;

use super::socket::MeshSocket;
use crate::telemetry::throttle::Throttle;

/// Datagrams that are sent with one system call at most.
const SEND_BATCH: usize = 64;

/// Causes that are told apart in the log; the kernel knows few for UDP.
const CAUSES_MAX: usize = 16;

/// Sends what is in outboxes.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// What the system said.
    causes: Vec<(Cause, Throttle)>,
}

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The system refused it.
    System(Errno),
    /// The socket is of IPv4 and the receiver of IPv6.
    OtherFamily,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System(errno) => write!(f, "{errno}"),
            Self::OtherFamily => {
                f.write_str("mesh.bind is an IPv4 address and the peer's is IPv6; [::] has both")
            }
        }
    }
}

impl Sender {
    /// Sends everything in `outbox`, and returns how many datagrams could not be sent. A full socket
    /// is waited for until `deadline`; without one, what does not fit is given up: the mesh sends it
    /// again, from newer counts.
    pub(super) fn send(
        &mut self,
        socket: &MeshSocket,
        outbox: &Outbox,
        deadline: Option<Instant>,
    ) -> u64 {
        let mut unsent = 0;
        let mut wanted = outbox
            .datagrams()
            .flat_map(|(bytes, to)| to.iter().map(move |to| (bytes, *to)));
        let mut batch: Vec<(&[u8], SocketAddr)> = Vec::with_capacity(SEND_BATCH);
        loop {
            batch.clear();
            for (bytes, to) in wanted.by_ref() {
                match socket.reachable(to) {
                    Some(to) => batch.push((bytes, to)),
                    None => {
                        unsent += 1;
                        self.note(Cause::OtherFamily, to);
                    }
                }
                if batch.len() == SEND_BATCH {
                    break;
                }
            }
            if batch.is_empty() {
                return unsent;
            }
            unsent += self.send_batch(socket, &batch, deadline);
        }
    }

    /// Sends up to [`SEND_BATCH`] datagrams; returns how many were given up.
    fn send_batch(
        &mut self,
        socket: &MeshSocket,
        mut batch: &[(&[u8], SocketAddr)],
        deadline: Option<Instant>,
    ) -> u64 {
        let mut unsent = 0;
        while let Some(&(_, first)) = batch.first() {
            match send_some(socket, batch) {
                Ok(sent) => batch = batch.get(sent.max(1)..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if await_room(socket, deadline) => {}
                Err(errno @ (Errno::AGAIN | Errno::NOBUFS)) => {
                    // There is no room for the others either.
                    self.note(Cause::System(errno), first);
                    return unsent + batch.len() as u64;
                }
                Err(errno) => {
                    // About the first alone, or about an earlier one; the others have their own try.
                    self.note(Cause::System(errno), first);
                    unsent += 1;
                    batch = &batch[1..];
                }
            }
        }
        unsent
    }

    /// Logs a cause, unless it was logged just now.
    fn note(&mut self, cause: Cause, to: SocketAddr) {
        let known = self.causes.iter().position(|(known, _)| *known == cause);
        let place = known.unwrap_or_else(|| {
            self.causes.truncate(CAUSES_MAX - 1);
            self.causes.insert(0, (cause, Throttle::default()));
            0
        });
        let throttle = self.causes.get_mut(place).map(|(_, throttle)| throttle);
        if let Some(unsaid) = throttle.and_then(|throttle| throttle.next(Instant::now())) {
            warn!(%to, %cause, unsaid, "a datagram to a peer could not be sent");
        }
    }
}

/// One system call; returns how many of the first were sent.
fn send_some(socket: &MeshSocket, batch: &[(&[u8], SocketAddr)]) -> Result<usize, Errno> {
    // rustix and not nix, which looks at the addresses of headers that only were sent with: nobody has
    // written there.
    let addresses: Vec<SocketAddrAny> = batch.iter().map(|(_, to)| (*to).into()).collect();
    let slices: Vec<[IoSlice<'_>; 1]> = batch
        .iter()
        .map(|(bytes, _)| [IoSlice::new(bytes)])
        .collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = Vec::new();
    controls.resize_with(batch.len(), SendAncillaryBuffer::default);
    let mut messages: Vec<MMsgHdr<'_>> = addresses
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control))
        .collect();
    sendmmsg(socket.as_fd(), &mut messages, SendFlags::DONTWAIT)
}

/// Waits until the socket takes more; false when that takes too long.
fn await_room(socket: &MeshSocket, deadline: Option<Instant>) -> bool {
    let Some(left) = deadline.and_then(|deadline| deadline.checked_duration_since(Instant::now()))
    else {
        return false;
    };
    let Ok(timeout) = Timespec::try_from(left) else {
        return false;
    };
    let mut wanted = [PollFd::new(socket, PollFlags::OUT)];
    // An interrupted wait is tried again by the caller, until there is no time left.
    !matches!(poll(&mut wanted, Some(&timeout)), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::super::socket::Receiver;
    use super::*;
    use crate::config::Mesh;
    use std::time::Duration;

    fn bound(address: &str) -> MeshSocket {
        MeshSocket::bind(&Mesh {
            bind: address.parse().unwrap(),
            ..Mesh::default()
        })
        .unwrap()
    }

    fn push(outbox: &mut Outbox, to: &[SocketAddr], bytes: &[u8]) {
        outbox
            .push(to.iter().copied(), |buffer| {
                buffer.extend_from_slice(bytes);
                Ok::<(), ()>(())
            })
            .unwrap();
    }

    /// Receives until there are so many datagrams.
    fn receive(socket: &MeshSocket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut receiver = Receiver::new();
        let mut all = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while all.len() < count {
            assert!(Instant::now() < deadline, "only {} of {count}", all.len());
            let mut wanted = [PollFd::new(socket, PollFlags::IN)];
            let timeout = Timespec::try_from(Duration::from_secs(1)).unwrap();
            poll(&mut wanted, Some(&timeout)).unwrap();
            receiver.receive(socket).unwrap();
            all.extend(
                receiver
                    .datagrams()
                    .map(|(from, bytes)| (from, bytes.to_vec())),
            );
        }
        all
    }

    #[test]
    fn many_datagrams_go_to_several_receivers_in_batches() {
        let [one, two, three] = [(); 3].map(|()| bound("127.0.0.1:0"));
        let to = [two.local_address(), three.local_address()];
        let mut outbox = Outbox::new();
        for number in 0..100_u8 {
            push(&mut outbox, &to, &vec![number; usize::from(number) * 80]);
        }
        assert_eq!(Sender::default().send(&one, &outbox, None), 0);
        for receiver in [&two, &three] {
            let received = receive(receiver, 100);
            for (number, (from, bytes)) in (0..).zip(received) {
                assert_eq!(from, one.local_address());
                assert_eq!(bytes, vec![number; usize::from(number) * 80]);
            }
        }
    }

    #[test]
    fn an_unspecified_ipv6_socket_talks_to_both_families() {
        let both = bound("[::]:0");
        let port = both.local_address().port();
        for other in ["127.0.0.1:0", "[::1]:0"] {
            let other = bound(other);
            let reached = SocketAddr::new(other.local_address().ip(), port);
            let mut outbox = Outbox::new();
            push(&mut outbox, &[reached], b"there");
            assert_eq!(Sender::default().send(&other, &outbox, None), 0);
            let (from, bytes) = receive(&both, 1).remove(0);
            assert_eq!((from, &*bytes), (other.local_address(), &b"there"[..]));

            outbox.clear();
            push(&mut outbox, &[from], b"and back");
            assert_eq!(Sender::default().send(&both, &outbox, None), 0);
            assert_eq!(receive(&other, 1), [(reached, b"and back".to_vec())]);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_holds_up_nothing_else() {
        let [one, two] = [(); 2].map(|()| bound("127.0.0.1:0"));
        let good = two.local_address();
        let other_family = "[::1]:9".parse().unwrap();
        // Beyond loopback from a loopback address: the kernel has no route.
        let unreachable = "192.0.2.1:9".parse().unwrap();
        let mut outbox = Outbox::new();
        push(&mut outbox, &[other_family, good, unreachable, good], b"x");
        // Larger than any datagram can be.
        push(&mut outbox, &[good], &vec![0; 70_000]);
        push(&mut outbox, &[good], b"last");
        let mut sender = Sender::default();
        assert_eq!(sender.send(&one, &outbox, None), 3);
        let received = receive(&two, 3);
        assert_eq!(received[2].1, b"last");
        sender.send(&one, &outbox, None);
        assert_eq!(sender.causes.len(), 3, "{:?}", sender.causes);
    }
}
