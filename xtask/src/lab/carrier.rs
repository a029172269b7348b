//! The thread behind the wire: it reads packets, throws the dice, and delivers what is due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::packet::Header;
use super::wire::{End, Link, Shared};
use crate::say;

/// Packets read from one host before the others have their turn.
const BATCH: usize = 64;

/// Room for the largest packet: devices have an MTU of 1,500.
const PACKET_BYTES_MAX: usize = 2_048;

/// Most packets under way at once; what comes beyond it is lost, as on a full switch.
const UNDER_WAY_MAX: usize = 100_000;

/// A packet that arrives later. They are ordered by time, then by when they were sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    due: Instant,
    order: u64,
    from: usize,
    to: usize,
    packet: Vec<u8>,
}

/// What the thread has for itself.
pub(super) struct Carrier {
    shared: Arc<Shared>,
    /// None for a host whose device is gone.
    ends: Vec<Option<End>>,
    index_of: HashMap<IpAddr, usize>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    sent: u64,
}

impl Carrier {
    pub(super) fn new(shared: Arc<Shared>, ends: Vec<End>) -> io::Result<Self> {
        let mut index_of = HashMap::new();
        for (index, end) in ends.iter().enumerate() {
            end.device.set_nonblocking(true)?;
            index_of.extend(end.addresses.iter().map(|address| (*address, index)));
        }
        Ok(Self {
            shared,
            ends: ends.into_iter().map(Some).collect(),
            index_of,
            under_way: BinaryHeap::new(),
            sent: 0,
        })
    }

    /// Carries packets until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            match self.wait() {
                Ok(readable) => {
                    for host in readable {
                        self.collect(host);
                    }
                    self.deliver_due();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    say!("the wire between the hosts broke: {error}");
                    return;
                }
            }
        }
    }

    /// Waits for packets or for the time at which one is due; hands back who has sent something.
    fn wait(&self) -> io::Result<Vec<usize>> {
        let next = self.under_way.peek().map(|Reverse(it)| it.due);
        let left = next.map(|due| due.saturating_duration_since(Instant::now()));
        // Too far away for the type: that is as good as for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let open = || {
            self.ends
                .iter()
                .enumerate()
                .filter_map(|(host, end)| Some((host, end.as_ref()?)))
        };
        let mut polled = vec![PollFd::new(&self.shared.bell, PollFlags::IN)];
        polled.extend(
            open().map(|(_, end)| PollFd::from_borrowed_fd(end.device.as_fd(), PollFlags::IN)),
        );
        poll(&mut polled, timeout.as_ref())?;
        let ready = open().zip(polled.iter().skip(1));
        let ready = ready.filter(|(_, it)| !it.revents().is_empty());
        Ok(ready.map(|((host, _), _)| host).collect())
    }

    /// Takes packets in from one host.
    fn collect(&mut self, from: usize) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        for _ in 0..BATCH {
            let Some(end) = &self.ends[from] else { return };
            match end.device.recv(&mut buffer) {
                Ok(length) => self.take(from, buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    say!("host {from} is off the wire: {error}");
                    self.ends[from] = None;
                }
            }
        }
    }

    /// Decides about one packet.
    fn take(&mut self, from: usize, packet: &[u8]) {
        // Multicast and other noise of the system goes nowhere.
        let Some(header) = Header::read(packet) else {
            return;
        };
        let Some(&to) = self.index_of.get(&header.destination) else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let mut links = shared.links();
        let link = &mut links[from][to];
        if link.impairment.udp_only && !header.udp {
            self.deliver(link, to, packet);
            return;
        }
        let fate = link.dice.throw(link.thrown, &link.impairment);
        link.thrown += 1;
        if link.impairment.cut {
            link.counters.cut += 1;
            return;
        }
        if fate.first.is_none() {
            link.counters.lost += 1;
        }
        if fate.second.is_some() {
            link.counters.doubled += 1;
        }
        let now = Instant::now();
        for takes in [fate.first, fate.second].into_iter().flatten() {
            if takes.is_zero() {
                self.deliver(link, to, packet);
            } else if let Some(due) = now.checked_add(takes)
                && self.under_way.len() < UNDER_WAY_MAX
            {
                self.sent += 1;
                self.under_way.push(Reverse(UnderWay {
                    due,
                    order: self.sent,
                    from,
                    to,
                    packet: packet.to_vec(),
                }));
            } else {
                link.counters.lost += 1;
            }
        }
    }

    /// Delivers the packets whose time has come.
    fn deliver_due(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut links = shared.links();
        let now = Instant::now();
        while self
            .under_way
            .peek()
            .is_some_and(|Reverse(it)| it.due <= now)
        {
            let Some(Reverse(it)) = self.under_way.pop() else {
                return;
            };
            self.deliver(&mut links[it.from][it.to], it.to, &it.packet);
        }
    }

    fn deliver(&self, link: &mut Link, to: usize, packet: &[u8]) {
        let taken = self.ends[to]
            .as_ref()
            .is_some_and(|end| end.device.send(packet).is_ok());
        if taken {
            link.counters.forwarded += 1;
            link.counters.bytes += packet.len() as u64;
        } else {
            link.counters.lost += 1;
        }
    }
}
