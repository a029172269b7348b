//! Under which name a run of an actor is known to the others.

use std::net::{IpAddr, SocketAddr};

use super::Member;

/// The largest incarnation there is room for on the wire: 48 bits.
pub const INCARNATION_MAX: u64 = (1 << 48) - 1;

/// A run of an actor at an address, and how often that run came back after it was declared down.
///
/// A name that was declared down is never used again. That is why there is `renewal`: a node that was
/// only slow or cut off takes the next one and is a member again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) actor: u64,
    pub(super) incarnation: u64,
    pub(super) renewal: u32,
    pub(super) address: SocketAddr,
}

/// What two identities share when one takes the place of the other. The actor is part of it: a lost
/// region makes a new actor at the old address, and its first run must not lose against the old one's
/// many.
pub(super) type Place = (SocketAddr, u64);

impl Identity {
    /// A member's first identity. An incarnation beyond [`INCARNATION_MAX`] counts as that.
    pub(super) fn first(member: Member) -> Self {
        let Member {
            actor,
            incarnation,
            address,
        } = member;
        Self {
            actor,
            incarnation: incarnation.min(INCARNATION_MAX),
            renewal: 0,
            address: as_on_the_wire(address),
        }
    }

    /// The member, for those who do not care how often it came back.
    pub(super) fn member(self) -> Member {
        Member {
            actor: self.actor,
            incarnation: self.incarnation,
            address: self.address,
        }
    }

    /// Orders the identities of one actor: the later run is the greater, then the later renewal.
    pub(super) fn age(&self) -> (u64, u32) {
        (self.incarnation, self.renewal)
    }
}

impl foca::Identity for Identity {
    type Addr = Place;

    fn renew(&self) -> Option<Self> {
        let renewal = self.renewal.checked_add(1)?;
        Some(Self { renewal, ..*self })
    }

    fn addr(&self) -> Place {
        (self.address, self.actor)
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.age() > adversary.age()
    }
}

/// Without the scope and the flow label of an IPv6 address: they mean something on one host only, and
/// an identity has to be equal everywhere.
fn as_on_the_wire(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => address,
        ip @ IpAddr::V6(_) => SocketAddr::new(ip, address.port()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use foca::Identity as _;

    use super::*;

    fn identity(incarnation: u64, renewal: u32) -> Identity {
        Identity {
            actor: 1,
            incarnation,
            renewal,
            address: ([127, 0, 0, 1], 1).into(),
        }
    }

    #[test]
    fn a_renewal_wins_and_a_later_run_wins_over_any_renewal() {
        let first = identity(1, 0);
        let renewed = first.renew().unwrap();
        assert!(renewed.win_addr_conflict(&first));
        assert!(!first.win_addr_conflict(&renewed));
        assert!(identity(2, 0).win_addr_conflict(&renewed));
        assert_eq!(identity(1, u32::MAX).renew(), None);
    }

    #[test]
    fn a_new_actor_at_an_old_address_is_no_conflict() {
        let mut other = identity(1, 0);
        other.actor = 2;
        assert_ne!(other.addr(), identity(7, 0).addr());
    }

    #[test]
    fn what_the_wire_cannot_carry_is_left_out() {
        let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 9, 5, 6);
        let identity = Identity::first(Member {
            actor: 1,
            incarnation: u64::MAX,
            address: address.into(),
        });
        assert_eq!(identity.incarnation, INCARNATION_MAX);
        assert_eq!(identity.address, (Ipv6Addr::LOCALHOST, 9).into());
    }
}
