//! What the ports say of their connections.

use std::fmt;

use super::families::{Families, UNLABELLED};
use crate::server::connections::Connections;

pub(super) fn encode(connections: &Connections, families: &mut Families<'_>) -> fmt::Result {
    let ports: Vec<_> = connections.numbers().collect();
    families.gauge(
        "hivemind_connections_open",
        "Connections that are open, by port.",
        ports
            .iter()
            .map(|port| ([("port", port.name.name())], port.open as u64)),
    )?;
    families.gauge(
        "hivemind_connections_max",
        "Connections that a port may have.",
        ports
            .iter()
            .map(|port| ([("port", port.name.name())], port.bound as u64)),
    )?;
    families.counter(
        "hivemind_connections_accepted",
        "Connections accepted, by port.",
        ports
            .iter()
            .map(|port| ([("port", port.name.name())], port.accepted)),
    )?;
    families.counter(
        "hivemind_connections_closed",
        "Connections that were closed or refused by meshd to protect it, by cause.",
        ports.iter().flat_map(|port| {
            let name = port.name.name();
            let closed = port.closed.iter();
            closed.map(move |(cause, count)| ([("port", name), ("cause", cause.name())], *count))
        }),
    )?;
    families.counter(
        "hivemind_requests_refused",
        "Requests that were refused before they were read, by cause.",
        ports.iter().flat_map(|port| {
            let name = port.name.name();
            let refused = port.refused.iter();
            refused.map(move |(cause, count)| ([("port", name), ("cause", cause.name())], *count))
        }),
    )?;
    families.counter(
        "hivemind_connections_other_protocol",
        "Connections whose client spoke another protocol than the port, by which.",
        ports.iter().flat_map(|port| {
            let name = port.name.name();
            let others = port.other_protocols.iter();
            others.map(move |(other, count)| ([("port", name), ("protocol", other.name())], *count))
        }),
    )?;
    families.gauge(
        "hivemind_connections_buffered_bytes",
        "Bytes of requests and answers that are buffered for connections.",
        [(UNLABELLED, connections.buffered_bytes() as u64)],
    )
}
