//! The address without its port.

use std::ops::Range;

/// Where in `address` the IP address is, when `address` is one with a port, as Envoy writes them:
/// `192.0.2.1:80` or `[2001:db8::1]:80`. `None` for anything else: a Unix socket, an internal listener.
#[inline]
pub(crate) fn ip_part(address: &[u8]) -> Option<Range<usize>> {
    let colon = address.iter().rposition(|byte| *byte == b':')?;
    let ip = match address.first()? {
        b'[' => {
            let end = colon
                .checked_sub(1)
                .filter(|end| address.get(*end) == Some(&b']'))?;
            1..end
        }
        _ => 0..colon,
    };
    let bytes = address.get(ip.clone()).filter(|bytes| !bytes.is_empty())?;
    let belongs: fn(&u8) -> bool = if ip.start == 0 {
        |byte| byte.is_ascii_digit() || *byte == b'.'
    } else {
        // A scope may follow the address, as in `fe80::1%eth0`.
        |byte| byte.is_ascii_graphic() && *byte != b'/'
    };
    bytes.iter().all(belongs).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(address: &str) -> Option<&str> {
        ip_part(address.as_bytes()).map(|part| &address[part])
    }

    #[test]
    fn the_port_is_left_out() {
        assert_eq!(ip("192.0.2.1:80"), Some("192.0.2.1"));
        assert_eq!(ip("192.0.2.1:0"), Some("192.0.2.1"));
        assert_eq!(ip("[2001:db8::1]:443"), Some("2001:db8::1"));
        assert_eq!(ip("[::1]:0"), Some("::1"));
        assert_eq!(ip("[fe80::1%eth0]:1"), Some("fe80::1%eth0"));
    }

    #[test]
    fn what_is_no_ip_address_has_none() {
        for address in [
            "",
            ":80",
            "[]:80",
            "[::1",
            "[::1]",
            "/run/app.sock",
            "/run/1.2.3.4:80",
            "@abstract",
            "envoy://internal/id",
            "envoy://internal:80",
            "192.0.2.1",
        ] {
            assert_eq!(ip(address), None, "{address}");
        }
    }
}
