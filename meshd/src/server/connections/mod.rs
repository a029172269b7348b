//! All open connections: how many there may be, how long they may take, and what they may hold.
//!
//! Every port has a bound of its own, so that none can take what another needs. Where there is no room, the
//! connection that is idle for longest gives its place up ([`port`]). What each is doing is noted where it
//! is served ([`member`], [`body`], [`io`], [`other_protocol`]); a task looks a few times a second which ones are overdue.

pub mod body;
mod cause;
mod held;
pub mod io;
mod limits;
mod member;
mod other_protocol;
mod port;
pub mod until_leaving;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hivemind_shared::sync::AtomicWord;
use tracing::{debug, warn};

pub use self::cause::{Cause, Refusal};
pub use self::held::Held;
pub use self::limits::{Limits, PortName};
pub use self::member::Member;
pub use self::other_protocol::OtherProtocol;
use self::port::{Port, Room};
use crate::telemetry::throttle::SharedThrottle;

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    /// In the order of [`PortName::ALL`].
    ports: [Port; PortName::ALL.len()],
    next: AtomicWord,
    /// Bytes buffered for all of them, but for less than a unit of each.
    bytes: AtomicUsize,
    warnings: [SharedThrottle; Cause::ALL.len()],
    /// Of each port, and each of [`OtherProtocol::ALL`].
    protocol_warnings: [[SharedThrottle; OtherProtocol::ALL.len()]; PortName::ALL.len()],
}

/// A connection's place among the open ones; dropping it gives the place up.
#[derive(Debug)]
pub struct Place(Arc<Member>);

impl Place {
    /// The connection.
    pub const fn member(&self) -> &Arc<Member> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.all().port(self.0.port).remove(&self.0);
    }
}

/// The numbers of one port.
#[derive(Clone, Copy, Debug)]
pub struct PortNumbers {
    /// Which.
    pub name: PortName,
    /// Connections it may have.
    pub bound: usize,
    /// Connections that are open.
    pub open: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections closed or refused since the start, by cause.
    pub closed: [(Cause, u64); Cause::ALL.len()],
    /// Requests refused since the start, by cause.
    pub refused: [(Refusal, u64); Refusal::ALL.len()],
    /// Connections since the start whose client spoke another protocol, by which.
    pub other_protocols: [(OtherProtocol, u64); 2],
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            ports: limits.connections.map(Port::new),
            next: AtomicWord::new(1),
            bytes: AtomicUsize::new(0),
            warnings: Default::default(),
            protocol_warnings: Default::default(),
        })
    }

    /// What they may take.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    const fn port(&self, name: PortName) -> &Port {
        &self.ports[name as usize]
    }

    /// Gives a new connection a place. `None` when there is no room, and every other connection is in use.
    /// One task asks for places of a port.
    pub async fn admit(self: &Arc<Self>, name: PortName) -> Option<Place> {
        let port = self.port(name);
        loop {
            match port.room() {
                Room::Yes => break,
                Room::No => {
                    port.closed.add(Cause::Full as usize);
                    self.warn(name, Cause::Full);
                    return None;
                }
                Room::Soon => port.released().await,
            }
        }
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let member = Arc::new(Member::new(Arc::clone(self), name, sequence));
        port.add(Arc::clone(&member));
        Some(Place(member))
    }

    /// Closes what is overdue, for ever.
    pub async fn close_overdue(self: Arc<Self>) {
        let Limits {
            header_timeout,
            write_timeout,
            ..
        } = self.limits;
        let shortest = header_timeout.min(write_timeout);
        let pause = (shortest / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        loop {
            tokio::time::sleep(pause).await;
            for port in &self.ports {
                port.close_overdue(ms(header_timeout), ms(write_timeout));
            }
        }
    }

    /// Counts a request that was refused.
    fn refused(&self, name: PortName, refusal: Refusal) {
        self.port(name).refused.add(refusal as usize);
    }

    /// Counts a client that speaks another protocol, and says so once a minute for each of a port.
    fn speaks(&self, name: PortName, protocol: OtherProtocol, peer: Option<SocketAddr>) {
        self.port(name).other_protocols.add(protocol as usize);
        let peer = peer.map(tracing::field::display);
        let (port, advice) = (name.name(), protocol.advice(name));
        let throttle = &self.protocol_warnings[name as usize][protocol as usize];
        let protocol = protocol.name();
        match throttle.next() {
            Some(suppressed) => warn!(
                peer,
                port,
                protocol,
                suppressed,
                "a client speaks another protocol than this port: {advice}"
            ),
            None => debug!(
                peer,
                port, protocol, "a client speaks another protocol than this port"
            ),
        }
    }

    /// So many more bytes are buffered for `whose`. Beyond the bound, the connection with buffered bytes that
    /// was active the longest ago has to go.
    fn take_bytes(&self, bytes: usize, whose: &Member) {
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut excess = (all.saturating_add(bytes)).saturating_sub(self.limits.total_bytes);
        while excess > 0 {
            let ports = self.ports.iter();
            let least_active = ports
                .filter_map(|port| port.least_active_with_bytes(whose.sequence))
                .min_by_key(|member| member.active_ms());
            let Some(member) = least_active else { return };
            excess = excess.saturating_sub(member.bytes());
            self.port(member.port).close(&member, Cause::BufferedBytes);
            self.warn(member.port, Cause::BufferedBytes);
        }
    }

    fn give_bytes(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Says that connections are closed for want of room, once a minute for each cause.
    fn warn(&self, name: PortName, cause: Cause) {
        let Some(suppressed) = self.warnings[cause as usize].next() else {
            return;
        };
        let (port, bound) = (name.name(), self.port(name).bound);
        match cause {
            Cause::Full => warn!(
                port,
                bound,
                suppressed,
                "connection refused: the port has as many as it may, and all are in use"
            ),
            Cause::BufferedBytes => warn!(
                port,
                bound = self.limits.total_bytes,
                suppressed,
                "connection closed: too many bytes are buffered for all connections"
            ),
            _ => {}
        }
    }

    /// Bytes buffered for all of them, but for less than 16 KiB of each.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The numbers of each port that there is.
    pub fn numbers(&self) -> impl Iterator<Item = PortNumbers> {
        let ports = PortName::ALL.into_iter().zip(&self.ports);
        ports
            .filter(|(_, port)| port.bound > 0)
            .map(|(name, port)| PortNumbers {
                name,
                bound: port.bound,
                open: port.open(),
                accepted: port.accepted.load(Ordering::Relaxed),
                closed: Cause::ALL.map(|cause| (cause, port.closed.get(cause as usize))),
                refused: Refusal::ALL.map(|cause| (cause, port.refused.get(cause as usize))),
                other_protocols: OtherProtocol::at(name)
                    .map(|protocol| (protocol, port.other_protocols.get(protocol as usize))),
            })
    }
}
