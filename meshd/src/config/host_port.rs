//! A host and port to connect to.

use std::fmt;
use std::net::Ipv6Addr;

use super::setting::FromText;

/// Longest host name there is.
const HOST_BYTES_MAX: usize = 253;

/// A host name or address with a port, `gateway:18001` or `[::1]:18001`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl FromText for HostPort {
    fn expected() -> String {
        "a host and port such as gateway.example:18001 or [::1]:18001".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(address) => {
                let address: Ipv6Addr = address?.parse().ok()?;
                address.to_string()
            }
            None => {
                let is_name = (1..=HOST_BYTES_MAX).contains(&host.len())
                    && host
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
                is_name.then(|| host.to_owned())?
            }
        };
        Some(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for text in [
            "a:1",
            "envoy-gateway.ns.svc:18001",
            "127.0.0.1:5",
            "[::1]:65535",
        ] {
            assert_eq!(HostPort::from_text(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "::1:5",
            "[::1]",
            "[a]:1",
            "[::1:5",
            "http://a:1",
            "a b:1",
        ] {
            assert_eq!(HostPort::from_text(wrong), None, "{wrong:?} was taken");
        }
    }
}
