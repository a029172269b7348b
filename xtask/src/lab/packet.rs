//! What the wire has to know of an IP packet: where it wants to go, and whether it is UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol number of UDP.
const UDP: u8 = 17;

/// Bytes of an IPv6 header.
const IPV6_HEADER_BYTES: usize = 40;

/// The part of a packet's header that the wire looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the packet wants to go.
    pub(super) destination: IpAddr,
    /// Whether it carries UDP. IPv6 extension headers are not followed: such a packet is not UDP here.
    pub(super) udp: bool,
}

impl Header {
    /// Reads the header. None for bytes that are not a whole one.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let words = usize::from(packet.first()? & 0x0f);
                let header = packet.get(..words * 4)?;
                let destination: [u8; 4] = header.get(16..20)?.try_into().ok()?;
                Some(Self {
                    destination: Ipv4Addr::from(destination).into(),
                    udp: *header.get(9)? == UDP,
                })
            }
            6 => {
                let header = packet.get(..IPV6_HEADER_BYTES)?;
                let destination: [u8; 16] = header.get(24..40)?.try_into().ok()?;
                Some(Self {
                    destination: Ipv6Addr::from(destination).into(),
                    udp: *header.get(6)? == UDP,
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[16..20].copy_from_slice(&[10, 77, 0, 2]);
        packet
    }

    #[test]
    fn destination_and_protocol_are_read_from_both_versions() {
        let header = Header::read(&ipv4(UDP)).unwrap();
        assert_eq!(header.destination, IpAddr::from([10, 77, 0, 2]));
        assert!(header.udp);
        assert!(!Header::read(&ipv4(6)).unwrap().udp);

        let mut packet = vec![0; IPV6_HEADER_BYTES];
        packet[0] = 0x60;
        packet[6] = UDP;
        packet[24] = 0xfd;
        packet[39] = 2;
        let header = Header::read(&packet).unwrap();
        let destination: IpAddr = "fd00::2".parse().unwrap();
        assert_eq!((header.destination, header.udp), (destination, true));
    }

    #[test]
    fn every_cut_of_a_packet_and_every_first_byte_is_survived() {
        for length in 0..20 {
            assert_eq!(Header::read(&ipv4(UDP)[..length]), None);
        }
        for first in 0..=u8::MAX {
            for length in [1, 19, 20, 39, 40, 60] {
                let mut packet = vec![0xff; length];
                packet[0] = first;
                let _ = Header::read(&packet);
            }
        }
        let mut shorter_than_any_header = ipv4(UDP);
        shorter_than_any_header[0] = 0x42;
        assert_eq!(Header::read(&shorter_than_any_header), None);
    }
}
