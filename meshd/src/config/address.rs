//! Addresses of this host, by number or by name.
//!
//! A name is resolved when the configuration is read, once: what is listened on does not change while meshd runs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use super::setting::{Setting, Value, quoted};

const EXPECTED: &str =
    "an IP address such as 127.0.0.1 or ::1, or a name of this host such as localhost";

const EXPECTED_WITH_PORT: &str = "an address and port such as 192.0.2.1:7946 or [::1]:7946, or a name of this \
                                  host and a port";

/// Longest host name there is.
const NAME_BYTES_MAX: usize = 253;

impl Setting for IpAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value, EXPECTED)?;
        match text.parse() {
            Ok(address) => Ok(address),
            Err(_) if is_name(text) => resolve(text),
            Err(_) => Err(format!("expected {EXPECTED}, not {text:?}")),
        }
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value, EXPECTED_WITH_PORT)?;
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let parts = text
            .rsplit_once(':')
            .filter(|(name, _)| is_name(name))
            .and_then(|(name, port)| Some((name, port.parse().ok()?)));
        match parts {
            Some((name, port)) => Ok(Self::new(resolve(name)?, port)),
            None => Err(format!("expected {EXPECTED_WITH_PORT}, not {text:?}")),
        }
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

fn text_of<'a>(value: &'a Value, expected: &str) -> Result<&'a str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::List(_) => Err(format!("expected {expected}, not a list")),
    }
}

/// Whether this may be the name of a host. Numbers alone are none: resolvers read `10.1` as an address that nobody
/// meant.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= NAME_BYTES_MAX
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && !last.to_ascii_lowercase().starts_with("0x")
}

/// The address of a name, an IPv4 one where there is one.
fn resolve(name: &str) -> Result<IpAddr, String> {
    // The same everywhere, also where there is nobody to ask.
    if name.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let addresses = (name, 0).to_socket_addrs();
    let addresses = addresses.map(|addresses| addresses.map(|address| address.ip()).collect());
    let first = addresses.and_then(|addresses: Vec<IpAddr>| {
        let first = addresses.iter().find(|address| address.is_ipv4());
        let first = first.or_else(|| addresses.first()).copied();
        first.ok_or_else(|| io::Error::other("it has no address"))
    });
    first.map_err(|error| format!("{name:?} is no IP address, and has none as a name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn addresses_are_numbers_or_names() {
        for (written, read) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("localhost", "127.0.0.1"),
            ("LOCALHOST.", "127.0.0.1"),
        ] {
            let address = IpAddr::read(&text(written)).unwrap();
            assert_eq!(address.to_string(), read, "{written}");
        }
        for (written, read) in [
            ("192.0.2.1:7946", "192.0.2.1:7946"),
            ("[::1]:1", "[::1]:1"),
            ("localhost:9090", "127.0.0.1:9090"),
        ] {
            let address = SocketAddr::read(&text(written)).unwrap();
            assert_eq!(address.to_string(), read, "{written}");
        }
    }

    #[test]
    fn what_is_neither_is_no_question_to_a_name_server() {
        for wrong in [
            "",
            ".",
            "10.1",
            "256.0.0.1",
            "1",
            "0x7f000001",
            "a b",
            "a..b",
            "a:1",
            "[::1]",
            "http://a",
            "-\n",
        ] {
            let error = IpAddr::read(&text(wrong)).unwrap_err();
            assert!(
                error.starts_with("expected an IP address"),
                "{wrong:?}: {error}"
            );
        }
        for wrong in [
            "",
            "localhost",
            "localhost:",
            "localhost:65536",
            "::1:5",
            "10.1:5",
            ":5",
        ] {
            let error = SocketAddr::read(&text(wrong)).unwrap_err();
            assert!(
                error.starts_with("expected an address"),
                "{wrong:?}: {error}"
            );
        }
        assert!(IpAddr::read(&Value::List(Vec::new())).is_err());
    }

    #[test]
    fn names_may_begin_with_a_digit_as_those_of_containers_do() {
        for name in ["3f2a9c51d0e4", "1.example", "a.b_c.", "x"] {
            assert!(is_name(name), "{name}");
        }
    }

    #[test]
    fn a_name_without_an_address_says_so() {
        let error = IpAddr::read(&text("no-such-host.invalid")).unwrap_err();
        assert!(
            error.contains("\"no-such-host.invalid\" is no IP address"),
            "{error}"
        );
    }
}
