//! The address peers reach this host at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;

/// What is told to peers: the configured address; else the one the socket is bound to; and when that is
/// every address of the host, the one it would talk to `towards` from, else that of an interface, else
/// loopback.
pub(super) fn address(
    configured: Option<SocketAddr>,
    bound: SocketAddr,
    towards: Option<SocketAddr>,
) -> SocketAddr {
    if let Some(configured) = configured {
        return configured;
    }
    if !bound.ip().is_unspecified() {
        return SocketAddr::new(bound.ip().to_canonical(), bound.port());
    }
    let loopback = match bound {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let is_usable = |ip: &IpAddr| bound.is_ipv6() || ip.is_ipv4();
    let ip = towards
        .and_then(source_towards)
        .filter(is_usable)
        .or_else(|| of_an_interface(is_usable))
        .unwrap_or(loopback);
    SocketAddr::new(ip, bound.port())
}

/// The address the kernel would send from to reach `peer`. Nothing is sent.
fn source_towards(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    let ip = socket.local_addr().ok()?.ip().to_canonical();
    (!ip.is_unspecified()).then_some(ip)
}

/// The first address of an interface that others may reach; IPv4 before IPv6.
fn of_an_interface(is_usable: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let interfaces = getifaddrs().ok()?;
    let mut addresses: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
        })
        .filter(|ip| !ip.is_loopback() && !is_link_local(ip) && is_usable(ip))
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().copied()
}

/// Such an address means nothing without the link it is on.
const fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn what_is_configured_wins_and_then_what_is_bound() {
        let (one, two) = (parse("192.0.2.1:1"), parse("192.0.2.2:2"));
        assert_eq!(address(Some(one), two, None), one);
        assert_eq!(address(None, two, Some(one)), two);
    }

    #[test]
    fn an_unspecified_address_becomes_the_one_peers_are_talked_to_from() {
        let any = parse("0.0.0.0:7946");
        let towards = Some(parse("127.0.0.1:9"));
        assert_eq!(address(None, any, towards), parse("127.0.0.1:7946"));
        let any = parse("[::]:7946");
        assert_eq!(
            address(None, any, Some(parse("[::1]:9"))),
            parse("[::1]:7946")
        );
        assert_eq!(address(None, any, towards), parse("127.0.0.1:7946"));
    }

    #[test]
    fn without_peers_it_is_some_address_of_the_family_that_is_bound() {
        let found = address(None, parse("0.0.0.0:7946"), Some(parse("[::1]:9")));
        assert!(found.is_ipv4() && !found.ip().is_unspecified(), "{found}");
        assert_eq!(found.port(), 7946);
    }
}
