//! From where datagrams come that do not open.
//!
//! Anyone can send such a thing, under any address. So the last cause is kept for each address that a peer is
//! expected at, and of all others together one for each cause: what strangers send takes no memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::drops::DropCause;

/// Addresses that are kept at most: those of all links and as many again that were asked to join.
const KNOWN_MAX: usize = 4_096;

/// How long a datagram that did not open says something of its sender, microseconds. A node with peers looks
/// for others every 30 seconds.
const VALID_US: u64 = 90_000_000;

/// Why the datagrams of a host are of no use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalCause {
    /// They are of another version of the wire format.
    OtherVersion,
    /// They are of another cluster.
    OtherCluster,
    /// They are sealed with a key that is not in the ring.
    UnknownKey,
    /// Their seal does not fit, though the key has the right name.
    Unauthentic,
    /// They are this very process's own: the address leads back here.
    Itself,
    /// They are of a run that begins more than a day after now: a clock is wrong, there or here.
    ClockAhead,
    /// They are of the same actor as this node, but another process: both have a copy of one region.
    SameActor,
}

impl RefusalCause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::OtherVersion,
        Self::OtherCluster,
        Self::UnknownKey,
        Self::Unauthentic,
        Self::Itself,
        Self::ClockAhead,
        Self::SameActor,
    ];

    /// The cause of a datagram that did not open; `None` where that says nothing of its sender's settings.
    pub(crate) const fn of(cause: DropCause) -> Option<Self> {
        match cause {
            DropCause::OtherVersion => Some(Self::OtherVersion),
            DropCause::OtherCluster => Some(Self::OtherCluster),
            DropCause::UnknownKey => Some(Self::UnknownKey),
            DropCause::Unauthentic => Some(Self::Unauthentic),
            DropCause::FromSelf => Some(Self::Itself),
            DropCause::IncarnationAhead => Some(Self::ClockAhead),
            _ => None,
        }
    }
}

/// A datagram that was of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it came from, by its own account.
    pub from: SocketAddr,
    /// Why.
    pub cause: RefusalCause,
    /// Whether a peer is expected at that address. If not, anyone may have sent it.
    pub is_expected: bool,
}

/// What is kept of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals {
    /// By address where a peer is expected: the last cause, and when that was.
    expected: BTreeMap<SocketAddr, Option<(RefusalCause, u64)>>,
    /// How many of these have a cause.
    refused: usize,
    /// Of all other addresses, one for each cause.
    strangers: [Option<SocketAddr>; RefusalCause::ALL.len()],
}

impl Refusals {
    /// Expects peers at these addresses, and at no others.
    pub(crate) fn expect_only(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let mut before = std::mem::take(&mut self.expected);
        self.expected = addresses
            .into_iter()
            .take(KNOWN_MAX)
            .map(|address| (address, before.remove(&address).flatten()))
            .collect();
        self.refused = self.expected.values().flatten().count();
    }

    /// Expects a peer at this address as well; false when there is no room for it.
    pub(crate) fn expect(&mut self, address: SocketAddr) -> bool {
        let has_room = self.expected.len() < KNOWN_MAX || self.expected.contains_key(&address);
        if has_room {
            self.expected.entry(address).or_default();
        }
        has_room
    }

    /// Notes a datagram that was of no use.
    pub(crate) fn note(&mut self, now_us: u64, from: SocketAddr, cause: RefusalCause) {
        if let Some(last) = self.expected.get_mut(&from) {
            self.refused += usize::from(last.is_none());
            *last = Some((cause, now_us));
        } else {
            self.strangers[cause as usize] = Some(from);
        }
    }

    /// Notes one that opened.
    pub(crate) fn note_opened(&mut self, from: SocketAddr) {
        if self.refused > 0
            && let Some(last) = self.expected.get_mut(&from)
            && last.take().is_some()
        {
            self.refused -= 1;
        }
    }

    /// What was noted lately of addresses where peers are expected, and since the last call of others.
    pub(crate) fn take(&mut self, now_us: u64) -> Vec<Refusal> {
        let is_valid = |&at_us: &u64| now_us.saturating_sub(at_us) < VALID_US;
        let expected = self.expected.iter().filter_map(|(&from, last)| {
            let (cause, _) = last.filter(|(_, at_us)| is_valid(at_us))?;
            Some(Refusal {
                from,
                cause,
                is_expected: true,
            })
        });
        let strangers = std::mem::take(&mut self.strangers);
        let strangers = RefusalCause::ALL
            .into_iter()
            .zip(strangers)
            .filter_map(|(cause, from)| {
                Some(Refusal {
                    from: from?,
                    cause,
                    is_expected: false,
                })
            });
        expected.chain(strangers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> SocketAddr {
        (std::net::Ipv4Addr::from_bits(number), 7_946).into()
    }

    #[test]
    fn the_last_cause_is_kept_of_each_expected_address_for_a_while() {
        let mut refusals = Refusals::default();
        refusals.expect_only([address(1), address(2)]);
        refusals.note(0, address(1), RefusalCause::OtherCluster);
        refusals.note(1, address(1), RefusalCause::UnknownKey);
        let refusal = Refusal {
            from: address(1),
            cause: RefusalCause::UnknownKey,
            is_expected: true,
        };
        assert_eq!(refusals.take(2), [refusal]);
        assert_eq!(
            refusals.take(VALID_US),
            [refusal],
            "it is not forgotten when told"
        );
        assert_eq!(refusals.take(1 + VALID_US), []);

        refusals.expect_only([address(3), address(1)]);
        assert_eq!(refusals.take(2), [refusal], "the address is still expected");
        refusals.note_opened(address(1));
        assert_eq!(refusals.take(2), []);
    }

    #[test]
    fn causes_stand_in_their_own_places() {
        for (place, cause) in RefusalCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
        let noted = DropCause::ALL.into_iter().filter_map(RefusalCause::of);
        assert_eq!(noted.count(), 6, "junk says nothing of anybody's settings");
    }

    #[test]
    fn strangers_take_no_memory_and_change_nothing_of_those_that_are_expected() {
        let mut refusals = Refusals::default();
        assert!(refusals.expect(address(0)));
        for number in 1..100_000 {
            refusals.note(0, address(number), RefusalCause::UnknownKey);
        }
        let stranger = Refusal {
            from: address(99_999),
            cause: RefusalCause::UnknownKey,
            is_expected: false,
        };
        assert_eq!(refusals.take(0), [stranger]);
        assert_eq!(refusals.take(0), []);
        assert_eq!(refusals.expected.len(), 1);

        let more = (0..100_000).filter(|&number| refusals.expect(address(number)));
        assert_eq!(more.count(), KNOWN_MAX);
        refusals.expect_only((0..100_000).map(address));
        assert_eq!(refusals.expected.len(), KNOWN_MAX);
    }
}
