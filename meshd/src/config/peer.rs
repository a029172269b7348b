//! Peers of the mesh as they are configured.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::setting::FromText;

/// A peer as it is configured: a host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    host: String,
    port: u16,
}

impl Peer {
    /// The port of a peer that names none.
    pub const DEFAULT_PORT: u16 = 7946;

    /// A DNS name or an IP address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port, never 0.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromText for Peer {
    fn expected() -> String {
        "a host name or address with an optional port, such as peer.example:7946 or [::1]:7946"
            .to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        // An IPv6 address has colons of its own: a port then needs the brackets.
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self {
                host: address.to_string(),
                port: Self::DEFAULT_PORT,
            });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0).then(|| Self {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (text, Self::DEFAULT_PORT),
        };
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        is_name.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
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
        ] {
            assert_eq!(Peer::from_text(wrong), None, "{wrong:?} was taken");
        }
    }
}
