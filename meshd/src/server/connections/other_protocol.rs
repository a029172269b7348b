//! Clients that speak another protocol than the port they have connected to.

use super::PortName;
use super::io::Protocol;

/// What a client speaks in the place of what its port understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherProtocol {
    /// TLS.
    Tls,
    /// HTTP/1.
    Http1,
    /// HTTP/2, and so most often gRPC.
    Http2,
}

/// What every connection of HTTP/2 begins with, as far as nothing else does.
const HTTP2_BEGINNING: &[u8] = b"PRI * HTTP/2.0";

/// The longest method of HTTP/1 that is taken for one.
const METHOD_BYTES_MAX: usize = 8;

impl OtherProtocol {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Tls, Self::Http1, Self::Http2];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }

    /// What a connection speaks that begins with these bytes; `None` when that is what is `expected`, or nothing that
    /// is known here.
    pub(super) fn of(first: &[u8], expected: Protocol) -> Option<Self> {
        let is_tls = match first {
            // A record with a handshake, and the major version of all that are in use.
            [0x16] => true,
            [0x16, version, ..] => *version == 3,
            _ => false,
        };
        if is_tls {
            return Some(Self::Tls);
        }
        match expected {
            Protocol::Http1 => first.starts_with(HTTP2_BEGINNING).then_some(Self::Http2),
            Protocol::Http2 => {
                let method_end = first.iter().position(|byte| *byte == b' ')?;
                let method = first.get(..method_end)?;
                let is_method = (3..=METHOD_BYTES_MAX).contains(&method.len())
                    && method.iter().all(u8::is_ascii_uppercase);
                (is_method && method != b"PRI").then_some(Self::Http1)
            }
        }
    }

    /// Those that a port can meet.
    pub(super) const fn at(port: PortName) -> [Self; 2] {
        match port {
            PortName::Grpc | PortName::GrpcSocket => [Self::Tls, Self::Http1],
            PortName::Http | PortName::Admin | PortName::Metrics => [Self::Tls, Self::Http2],
        }
    }

    /// What to do about it.
    pub(super) const fn advice(self, port: PortName) -> &'static str {
        match (self, port) {
            (Self::Tls, PortName::Grpc) => {
                "set server.tls_cert_file and server.tls_key_file, or have the client connect without TLS"
            }
            (Self::Tls, _) => "there is no TLS here: have the client connect without it",
            (Self::Http1, _) => {
                "the Rate Limit Service is gRPC, over HTTP/2 alone (in Envoy, http2_protocol_options of the \
                 cluster); HTTP endpoints are at server.http_port"
            }
            (Self::Http2, _) => {
                "this port speaks HTTP/1; the Rate Limit Service is at server.grpc_port"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_begins_with_says_what_it_speaks() {
        use OtherProtocol::{Http1, Http2, Tls};
        let hello = b"\x16\x03\x01\x02\0\x01";
        for (first, on_http1, on_http2) in [
            (&hello[..], Some(Tls), Some(Tls)),
            (b"\x16", Some(Tls), Some(Tls)),
            (b"\x16\x05", None, None),
            (b"GET / HTTP/1.1\r\n", None, Some(Http1)),
            (b"POST /json HTTP/1.1\r\n", None, Some(Http1)),
            (b"OPTIONS * HTTP/1.0\r\n", None, Some(Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Http2), None),
            // Too little to tell, or none of them.
            (b"PRI ", None, None),
            (b"P", None, None),
            (b"SSH-2.0-OpenSSH 9\r\n", None, None),
            (b"a b", None, None),
            (b" ", None, None),
            (b"", None, None),
        ] {
            let found = [Protocol::Http1, Protocol::Http2].map(|it| OtherProtocol::of(first, it));
            assert_eq!(found, [on_http1, on_http2], "{}", first.escape_ascii());
        }
    }

    #[test]
    fn protocols_are_in_their_own_places() {
        for (place, protocol) in OtherProtocol::ALL.into_iter().enumerate() {
            assert_eq!(protocol as usize, place);
        }
    }
}
