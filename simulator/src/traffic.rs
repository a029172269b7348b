//! What nodes send and receive, second by second.

use crate::time::SECOND_US;

/// Bytes of IPv4 and UDP headers around each datagram. Nothing here includes them unless it says so.
pub const HEADER_BYTES: u64 = 28;

/// One node's traffic in one second of virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Bytes sent, without IP and UDP headers; lost ones and each receiver count.
    pub sent_bytes: u64,
    /// Datagrams sent.
    pub sent_datagrams: u64,
    /// Datagrams that arrived.
    pub received_datagrams: u64,
}

impl Second {
    /// Bytes sent, IP and UDP headers included.
    pub const fn sent_bytes_with_headers(&self) -> u64 {
        self.sent_bytes + self.sent_datagrams * HEADER_BYTES
    }
}

/// Everybody's traffic.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    nodes: Vec<Vec<Second>>,
    largest_bytes: usize,
    nowhere: u64,
}

impl Traffic {
    /// No traffic yet, for this many nodes.
    pub fn new(nodes: usize) -> Self {
        Self {
            nodes: vec![Vec::new(); nodes],
            ..Self::default()
        }
    }

    /// Notes a datagram that was sent to one receiver.
    pub fn sent(&mut self, now_us: u64, node: usize, bytes: usize) {
        let second = self.second(now_us, node);
        second.sent_bytes += bytes as u64;
        second.sent_datagrams += 1;
        self.largest_bytes = self.largest_bytes.max(bytes);
    }

    /// Notes a datagram that arrived.
    pub fn received(&mut self, now_us: u64, node: usize) {
        self.second(now_us, node).received_datagrams += 1;
    }

    /// Notes a datagram to an address where nobody ever was.
    pub fn sent_nowhere(&mut self) {
        self.nowhere += 1;
    }

    /// Bytes of the largest datagram.
    pub const fn largest_bytes(&self) -> usize {
        self.largest_bytes
    }

    /// Datagrams sent to addresses where nobody ever was.
    pub const fn nowhere(&self) -> u64 {
        self.nowhere
    }

    /// Every second of every node as (node, second since the beginning, traffic).
    pub fn seconds(&self) -> impl Iterator<Item = (usize, usize, &Second)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(node, seconds)| {
            let seconds = seconds.iter().enumerate();
            seconds.map(move |(second, traffic)| (node, second, traffic))
        })
    }

    /// The sum over all nodes and the seconds that began within a span, in microseconds.
    pub fn sum(&self, from_us: u64, until_us: u64) -> Second {
        let mut sum = Second::default();
        for (_, second, traffic) in self.seconds() {
            if (from_us..until_us).contains(&(second as u64 * SECOND_US)) {
                sum.sent_bytes += traffic.sent_bytes;
                sum.sent_datagrams += traffic.sent_datagrams;
                sum.received_datagrams += traffic.received_datagrams;
            }
        }
        sum
    }

    fn second(&mut self, now_us: u64, node: usize) -> &mut Second {
        let second = usize::try_from(now_us / SECOND_US).unwrap_or(usize::MAX);
        let seconds = &mut self.nodes[node];
        if seconds.len() <= second {
            seconds.resize(second + 1, Second::default());
        }
        &mut seconds[second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_counted_by_node_and_second() {
        let mut traffic = Traffic::new(2);
        traffic.sent(SECOND_US - 1, 0, 100);
        traffic.sent(SECOND_US, 0, 50);
        traffic.sent(SECOND_US, 0, 50);
        traffic.received(SECOND_US, 1);
        let busy: Vec<_> = traffic
            .seconds()
            .filter(|(_, _, second)| **second != Second::default())
            .map(|(node, second, traffic)| (node, second, traffic.sent_bytes_with_headers()))
            .collect();
        assert_eq!(busy, [(0, 0, 128), (0, 1, 156), (1, 1, 0)]);
        assert_eq!(traffic.sum(SECOND_US, 2 * SECOND_US).sent_bytes, 100);
        assert_eq!(traffic.largest_bytes(), 100);
    }
}
