//! The handshakes that have begun and not ended: how many there may be, and which one gives way.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Handshakes in flight, on all workers together: more than Envoys come at once after a restart, and
/// little enough memory (some 40 KiB each) for those that never finish.
const ALL_MAX: usize = 1_024;

/// Handshakes in flight from one address.
const SOURCE_MAX: usize = 256;

/// All handshakes in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<Handshakes>);

#[derive(Debug, Default)]
struct Handshakes {
    next: u64,
    /// In the order they began in.
    handshakes: BTreeMap<u64, Handshake>,
    by_source: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Handshake {
    source: IpAddr,
    /// Whether nothing was heard from it yet.
    is_silent: bool,
    gives_way: Arc<Notify>,
}

/// A handshake's place among those in flight, until dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    all: &'a InFlight,
    number: u64,
    gives_way: Arc<Notify>,
}

impl InFlight {
    fn handshakes(&self) -> MutexGuard<'_, Handshakes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a handshake with a client of this address. Where there are too many, from that address or in
    /// all, the oldest one that was not heard from gives way, or else the oldest.
    pub(super) fn begin(&self, address: IpAddr) -> Place<'_> {
        let source = source(address);
        let gives_way = Arc::new(Notify::new());
        let mut handshakes = self.handshakes();
        let from_source = handshakes.by_source.get(&source).copied().unwrap_or(0);
        if from_source >= SOURCE_MAX {
            handshakes.displace(|handshake| handshake.source == source);
        } else if handshakes.handshakes.len() >= ALL_MAX {
            handshakes.displace(|_| true);
        }
        let number = handshakes.next;
        handshakes.next += 1;
        let handshake = Handshake {
            source,
            is_silent: true,
            gives_way: Arc::clone(&gives_way),
        };
        handshakes.handshakes.insert(number, handshake);
        *handshakes.by_source.entry(source).or_default() += 1;
        drop(handshakes);
        Place {
            all: self,
            number,
            gives_way,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.handshakes().handshakes.len()
    }
}

impl Handshakes {
    /// Has the oldest of these give way that was not heard from, or else the oldest.
    fn displace(&mut self, is_one: impl Fn(&Handshake) -> bool) {
        let mut these = self.handshakes.iter().filter(|(_, one)| is_one(one));
        let oldest = these.clone().next().map(|(number, _)| *number);
        let silent = these
            .find(|(_, one)| one.is_silent)
            .map(|(number, _)| *number);
        if let Some(number) = silent.or(oldest)
            && let Some(handshake) = self.remove(number)
        {
            handshake.gives_way.notify_one();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Handshake> {
        let handshake = self.handshakes.remove(&number)?;
        if let Some(count) = self.by_source.get_mut(&handshake.source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&handshake.source);
            }
        }
        Some(handshake)
    }
}

impl Place<'_> {
    /// The client has said what it wants.
    pub(super) fn was_heard(&self) {
        if let Some(handshake) = self.all.handshakes().handshakes.get_mut(&self.number) {
            handshake.is_silent = false;
        }
    }

    /// Waits until it has to give way.
    pub(super) async fn gives_way(&self) {
        self.gives_way.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.all.handshakes().remove(self.number);
    }
}

/// Whom an address belongs to: one host has all of an IPv6 network of 64 bits.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::{Duration, timeout};

    use super::*;

    fn host(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    async fn has_to_go(place: &Place<'_>) -> bool {
        timeout(Duration::from_millis(1), place.gives_way())
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_silent_handshake_gives_way() {
        let all = InFlight::default();
        let places: Vec<_> = (0..ALL_MAX).map(|number| all.begin(host(number))).collect();
        places[0].was_heard();
        let _newcomer = all.begin(host(ALL_MAX));
        assert!(!has_to_go(&places[0]).await, "it was heard");
        assert!(has_to_go(&places[1]).await);
        assert!(!has_to_go(&places[2]).await);
        assert_eq!(all.len(), ALL_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_when_all_were_heard() {
        let all = InFlight::default();
        let places: Vec<_> = (0..ALL_MAX).map(|number| all.begin(host(number))).collect();
        places.iter().for_each(Place::was_heard);
        let _newcomer = all.begin(host(ALL_MAX));
        assert!(has_to_go(&places[0]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_displaces_its_own_handshakes_alone() {
        let all = InFlight::default();
        let other = all.begin(host(1));
        let places: Vec<_> = (0..SOURCE_MAX).map(|_| all.begin(host(2))).collect();
        let _one_more = all.begin(host(2));
        assert!(!has_to_go(&other).await, "older, but of another address");
        assert!(has_to_go(&places[0]).await);
        assert_eq!(all.len(), 1 + SOURCE_MAX);
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let all = InFlight::default();
        let places: Vec<_> = (0..2 * ALL_MAX)
            .map(|number| all.begin(host(number % 7)))
            .collect();
        drop(places);
        let handshakes = all.handshakes();
        assert!(handshakes.handshakes.is_empty() && handshakes.by_source.is_empty());
    }

    #[test]
    fn a_network_of_64_bits_is_one_source() {
        let one = source("2001:db8:1:2:3::4".parse().unwrap());
        assert_eq!(one, source("2001:db8:1:2:ffff::1".parse().unwrap()));
        assert_ne!(one, source("2001:db8:1:3:3::4".parse().unwrap()));
        assert_eq!(
            source("::ffff:10.0.0.1".parse().unwrap()),
            source(host(0x0a00_0001))
        );
    }
}
