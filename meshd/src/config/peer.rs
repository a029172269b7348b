//! Peers of the mesh as they are configured.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::setting::FromText;

/// A peer as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A host and its UDP port.
    Host {
        /// A DNS name or an IP address; a name may have several addresses, each of them a peer.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// The name of SRV records, which name hosts and ports: `_hivemind._udp.example`.
    Service(String),
}

impl Peer {
    /// The port of a host that names none.
    pub const DEFAULT_PORT: u16 = 7946;
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Service(name) => f.write_str(name),
        }
    }
}

impl FromText for Peer {
    fn expected() -> String {
        "a host name or address with an optional port, such as peer.example:7946 or [::1]:7946, or \
         the name of SRV records without one, such as _hivemind._udp.example"
            .to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        // An IPv6 address has colons of its own: a port then needs the brackets.
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Host {
                host: address.to_string(),
                port: Self::DEFAULT_PORT,
            });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0).then(|| Self::Host {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        if text.starts_with('_') {
            // Its port is in the records: one written here would have no meaning.
            return is_name(text).then(|| Self::Service(text.to_owned()));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (text, Self::DEFAULT_PORT),
        };
        is_name(host).then(|| Self::Host {
            host: host.to_owned(),
            port,
        })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_names_or_addresses_with_an_optional_port() {
        for (written, shown) in [
            ("peer", "peer:7946"),
            ("hive.default.svc:9000", "hive.default.svc:9000"),
            ("192.0.2.1", "192.0.2.1:7946"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("::1", "[::1]:7946"),
            ("[::1]:9", "[::1]:9"),
            ("_hivemind._udp.example", "_hivemind._udp.example"),
        ] {
            assert_eq!(Peer::from_text(written).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            ":7946",
            "peer:",
            "peer:0",
            "peer:65536",
            "a b",
            "[::1]",
            "pe/er",
            "_hivemind._udp.example:7946",
        ] {
            assert_eq!(Peer::from_text(wrong), None, "{wrong:?} was taken");
        }
    }

    #[test]
    fn names_that_begin_with_an_underscore_are_services() {
        let service = Peer::from_text("_hivemind._udp.example").unwrap();
        assert!(matches!(service, Peer::Service(_)));
        assert!(matches!(Peer::from_text("a_b").unwrap(), Peer::Host { .. }));
    }
}
