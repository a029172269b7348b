//! The network between nodes: each direction of each pair is a link that loses, delays, duplicates and
//! reorders by chance, and can be cut.

use crate::random::{Seed, Stream};

/// What a link does to datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// The least time a datagram takes, microseconds.
    pub delay_us: u64,
    /// What it takes beyond that, evenly between 0 and this, microseconds. The order is kept.
    pub jitter_us: u64,
    /// The share that is lost, 0 to 1.
    pub loss: f64,
    /// The share that arrives twice, 0 to 1.
    pub duplicate: f64,
    /// The share that is held back and overtaken by later ones, 0 to 1.
    pub reorder: f64,
    /// The longest that a copy or a datagram held back comes later, microseconds.
    pub late_us: u64,
}

impl Quality {
    /// The longest a datagram that is not lost takes, microseconds.
    pub const fn delay_us_max(&self) -> u64 {
        let late = if self.reorder > 0.0 { self.late_us } else { 0 };
        self.delay_us + self.jitter_us + late
    }
}

/// When copies of one datagram arrive: none if it is lost, two if it is duplicated.
pub type Arrivals = [Option<u64>; 2];

/// All links.
#[derive(Clone, Debug)]
pub struct Network {
    nodes: usize,
    qualities: Vec<Quality>,
    /// One entry for each link, as for those below: the place of its quality.
    quality_of: Vec<usize>,
    is_cut: Vec<bool>,
    last_arrival_us: Vec<u64>,
    /// The side of a partition each node is on; only nodes of one side hear each other.
    side: Vec<usize>,
    draws: Draws,
}

#[derive(Clone, Debug)]
struct Draws {
    loss: Stream,
    delay: Stream,
    duplicate: Stream,
    reorder: Stream,
}

impl Network {
    /// Every node linked to every other one, all links alike.
    pub fn new(nodes: usize, quality: Quality, seed: Seed) -> Self {
        let links = nodes * nodes;
        Self {
            nodes,
            qualities: vec![quality],
            quality_of: vec![0; links],
            is_cut: vec![false; links],
            last_arrival_us: vec![0; links],
            side: vec![0; nodes],
            draws: Draws {
                loss: seed.stream("network loss"),
                delay: seed.stream("network delay"),
                duplicate: seed.stream("network duplicate"),
                reorder: seed.stream("network reorder"),
            },
        }
    }

    /// Gives one direction between two nodes a quality of its own.
    pub fn set_quality(&mut self, from: usize, to: usize, quality: Quality) {
        let link = self.link(from, to);
        self.quality_of[link] = self.qualities.len();
        self.qualities.push(quality);
    }

    /// Cuts one direction between two nodes, or mends it.
    pub fn set_cut(&mut self, from: usize, to: usize, is_cut: bool) {
        let link = self.link(from, to);
        self.is_cut[link] = is_cut;
    }

    /// Splits the network: nodes hear only those of the same side. `side_of` says each node's.
    pub fn partition(&mut self, side_of: impl Fn(usize) -> usize) {
        for (node, side) in self.side.iter_mut().enumerate() {
            *side = side_of(node);
        }
    }

    /// Ends every partition and mends every cut. Qualities stay.
    pub fn heal(&mut self) {
        self.side.fill(0);
        self.is_cut.fill(false);
    }

    /// Sends a datagram and says when it arrives.
    ///
    /// Takes the same draws whatever happens to the datagram, so that what one suffers says nothing
    /// about the next.
    pub fn send(&mut self, now_us: u64, from: usize, to: usize) -> Arrivals {
        let link = self.link(from, to);
        let quality = self.qualities[self.quality_of[link]];
        let is_lost = self.draws.loss.chance(quality.loss);
        let is_doubled = self.draws.duplicate.chance(quality.duplicate);
        let is_late = self.draws.reorder.chance(quality.reorder);
        let jitter_us = self.draws.delay.between(0, quality.jitter_us);
        let [late_us, copy_late_us] = [
            self.draws.reorder.between(0, quality.late_us),
            self.draws.duplicate.between(0, quality.late_us),
        ];
        if is_lost || self.is_cut[link] || self.side[from] != self.side[to] {
            return [None, None];
        }
        let mut arrival_us = now_us + quality.delay_us + jitter_us;
        if is_late {
            arrival_us += late_us;
        } else {
            arrival_us = arrival_us.max(self.last_arrival_us[link]);
            self.last_arrival_us[link] = arrival_us;
        }
        [
            Some(arrival_us),
            is_doubled.then_some(arrival_us + copy_late_us),
        ]
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * self.nodes + to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(quality: Quality) -> Network {
        Network::new(4, quality, Seed::new(3))
    }

    fn arrivals(network: &mut Network, count: u64, apart_us: u64) -> Vec<Arrivals> {
        (0..count)
            .map(|number| network.send(number * apart_us, 0, 1))
            .collect()
    }

    #[test]
    fn as_many_are_lost_and_doubled_as_the_link_says() {
        let mut network = network(Quality {
            loss: 0.2,
            duplicate: 0.1,
            ..Quality::default()
        });
        let arrivals = arrivals(&mut network, 100_000, 1);
        let lost = arrivals.iter().filter(|copies| copies[0].is_none()).count();
        let doubled = arrivals.iter().filter(|copies| copies[1].is_some()).count();
        assert!((19_500..20_500).contains(&lost), "{lost}");
        assert!((7_700..8_300).contains(&doubled), "{doubled}");
    }

    #[test]
    fn delays_lie_between_the_least_and_the_most_and_keep_the_order() {
        let quality = Quality {
            delay_us: 1_000,
            jitter_us: 500,
            ..Quality::default()
        };
        let mut network = network(quality);
        let mut last = 0;
        for (number, copies) in (0..).zip(arrivals(&mut network, 10_000, 10)) {
            let arrival = copies[0].unwrap();
            let delay = arrival - number * 10;
            assert!((1_000..=quality.delay_us_max()).contains(&delay), "{delay}");
            assert!(last <= arrival);
            last = arrival;
        }
    }

    #[test]
    fn some_are_overtaken_when_the_link_reorders() {
        let quality = Quality {
            delay_us: 100,
            reorder: 0.1,
            late_us: 1_000,
            ..Quality::default()
        };
        let mut network = network(quality);
        let times: Vec<u64> = arrivals(&mut network, 10_000, 10)
            .iter()
            .map(|copies| copies[0].unwrap())
            .collect();
        let overtaken = times.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((800..1_100).contains(&overtaken), "{overtaken}");
    }

    #[test]
    fn a_cut_is_one_way_and_a_partition_is_both_ways() {
        let mut network = network(Quality::default());
        let hears = |network: &mut Network, from, to| network.send(0, from, to)[0].is_some();
        network.set_cut(0, 1, true);
        assert!(!hears(&mut network, 0, 1));
        assert!(hears(&mut network, 1, 0));
        network.partition(|node| node / 2);
        assert!(!hears(&mut network, 1, 2));
        assert!(!hears(&mut network, 2, 1));
        assert!(hears(&mut network, 2, 3));
        network.heal();
        assert!(hears(&mut network, 0, 1));
        assert!(hears(&mut network, 2, 1));
    }

    #[test]
    fn one_link_can_be_worse_than_the_others() {
        let mut network = network(Quality::default());
        network.set_quality(
            2,
            3,
            Quality {
                delay_us: 9,
                ..Quality::default()
            },
        );
        assert_eq!(network.send(0, 2, 3)[0], Some(9));
        assert_eq!(network.send(0, 3, 2)[0], Some(0));
    }

    #[test]
    fn a_cut_elsewhere_changes_nothing_here() {
        let quality = Quality {
            loss: 0.3,
            jitter_us: 300,
            ..Quality::default()
        };
        let send = |network: &mut Network| {
            (0..1_000)
                .map(|number| {
                    network.send(number, 2, 3);
                    network.send(number, 0, 1)
                })
                .collect::<Vec<_>>()
        };
        let mut whole = network(quality);
        let mut cut = network(quality);
        cut.set_cut(2, 3, true);
        assert_eq!(send(&mut whole), send(&mut cut));
    }
}
