//! How many connections each port may have, and what each of them may take.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config;

/// A port, or the Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortName {
    /// The Rate Limit Service.
    Grpc,
    /// The same on the Unix socket.
    GrpcSocket,
    /// The HTTP endpoints beside it.
    Http,
    /// For operators.
    Admin,
    /// For scrapers alone.
    Metrics,
}

impl PortName {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Grpc,
        Self::GrpcSocket,
        Self::Http,
        Self::Admin,
        Self::Metrics,
    ];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcSocket => "grpc_socket",
            Self::Http => "http",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }
}

/// The bounds of connections and of what they may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of each port, in the order of [`PortName::ALL`].
    pub connections: [usize; PortName::ALL.len()],
    /// Bytes buffered for one connection.
    pub connection_bytes: usize,
    /// Bytes buffered for all connections together.
    pub total_bytes: usize,
    /// Time for the beginning of HTTP/2 and for the head of a request.
    pub header_timeout: Duration,
    /// Time for the body of a request.
    pub body_timeout: Duration,
    /// Time for a peer to read more of an answer.
    pub write_timeout: Duration,
}

/// Connections that may be closing while others have taken their places already, for each port.
pub(super) const CLOSING_MAX: usize = 32;

/// Fewest connections of a port, however few descriptors there are.
const CONNECTIONS_MIN: usize = 4;

impl Limits {
    /// Those of the configuration, where there are `descriptors` for connections. When that is less than
    /// all ports may have together, each has the same share of what is configured; `true` then.
    pub fn new(
        server: &config::Server,
        has_metrics_port: bool,
        descriptors: usize,
    ) -> (Self, bool) {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let bound = |bound: NonZeroU32| usize::try_from(bound.get()).unwrap_or(usize::MAX);
        let unless_absent =
            |is_there: bool, most: NonZeroU32| if is_there { bound(most) } else { 0 };
        let wanted = [
            bound(server.max_connections),
            unless_absent(server.grpc_socket.is_some(), server.max_connections),
            bound(server.max_http_connections),
            bound(server.max_http_connections),
            unless_absent(has_metrics_port, server.max_http_connections),
        ];
        let (connections, are_fewer) = shares(wanted, descriptors);
        let limits = Self {
            connections,
            connection_bytes: bytes(server.max_connection_bytes),
            total_bytes: bytes(server.max_buffered_bytes),
            header_timeout: server.header_timeout,
            body_timeout: server.body_timeout,
            write_timeout: server.write_timeout,
        };
        (limits, are_fewer)
    }
}

/// What each port gets of `available` descriptors, and whether that is less than it wants.
fn shares<const N: usize>(wanted: [usize; N], available: usize) -> ([usize; N], bool) {
    let ports = wanted.iter().filter(|bound| **bound > 0).count();
    // One more for each port: a connection that is accepted and has no place yet.
    let available = available.saturating_sub(ports * (CLOSING_MAX + 1));
    let sum: usize = wanted.iter().sum();
    if sum <= available {
        return (wanted, false);
    }
    let share = |bound: usize| {
        let share =
            u128::from(bound as u64) * u128::from(available as u64) / u128::from(sum as u64);
        usize::try_from(share)
            .unwrap_or(bound)
            .max(CONNECTIONS_MIN)
            .min(bound)
    };
    (wanted.map(share), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_the_same_share_of_too_few_descriptors() {
        assert_eq!(shares([100, 0, 10], 1_000), ([100, 0, 10], false));
        let left = 55;
        let (bounds, are_fewer) = shares([100, 0, 10], left + 2 * (CLOSING_MAX + 1));
        assert_eq!((bounds, are_fewer), ([50, 0, 5], true));
        assert_eq!(
            shares([100, 2, 10], 0).0,
            [CONNECTIONS_MIN, 2, CONNECTIONS_MIN]
        );
    }
}
