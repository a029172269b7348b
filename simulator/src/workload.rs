//! Who asks for what, how often and where.

use hivemind_shared::window::Unit;

use crate::pace::Pace;
use crate::random::{Seed, Stream};
use crate::time::SECOND_US;

/// How demand spreads over nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// The same for every node.
    Even,
    /// All of it at one node.
    One {
        /// Which.
        node: usize,
    },
    /// Node n gets a share in proportion to 1 / (n + 1)^exponent.
    Zipf {
        /// 0 is even; 1 is what is usual for popularity.
        exponent: f64,
    },
}

impl Spread {
    /// The share of one node out of `nodes`, 0 to 1.
    pub fn share(self, node: usize, nodes: usize) -> f64 {
        match self {
            Self::Even => 1.0 / nodes as f64,
            Self::One { node: only } => f64::from(u8::from(node == only)),
            Self::Zipf { exponent } => {
                let weight = |node: usize| ((node + 1) as f64).powf(-exponent);
                weight(node) / (0..nodes).map(weight).sum::<f64>()
            }
        }
    }
}

/// Which key a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Any of them, by chance.
    Random,
    /// Each of them once, shared among the nodes in turn; then nothing comes any more.
    Once,
}

/// Demand for a number of keys that one rule is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Keys; they share the demand.
    pub keys: usize,
    /// Hits that each key may have in a window.
    pub limit: u32,
    /// The length of its windows.
    pub unit: Unit,
    /// Requests in a second, for all keys and at all nodes together.
    pub requests_per_s: f64,
    /// Hits that each request counts.
    pub hits: u32,
    /// How it spreads over the nodes.
    pub spread: Spread,
    /// How it spreads over time.
    pub pace: Pace,
    /// Which keys the requests are for.
    pub order: Order,
    /// When it begins, microseconds. It ends with the scenario's traffic.
    pub from_us: u64,
}

/// The requests of one demand at one node, one by one.
#[derive(Clone, Debug)]
pub struct Flow {
    node: usize,
    demand: Demand,
    /// The place of the demand's first key.
    first_key: usize,
    mean_gap_us: f64,
    taken: usize,
    nodes: usize,
    gaps: Stream,
    picks: Stream,
}

impl Flow {
    /// The part of a demand that comes to a node; `None` when nothing does. `number` is the demand's
    /// place, `first_key` that of its first key.
    pub fn new(
        demand: Demand,
        number: usize,
        first_key: usize,
        node: usize,
        nodes: usize,
        seed: Seed,
    ) -> Option<Self> {
        let requests_per_s = demand.requests_per_s * demand.spread.share(node, nodes);
        if requests_per_s <= 0.0 || demand.keys == 0 {
            return None;
        }
        let seed = seed
            .split("demand", number as u64)
            .split("node", node as u64);
        Some(Self {
            node,
            demand,
            first_key,
            mean_gap_us: demand.pace.share() * SECOND_US as f64 / requests_per_s,
            taken: 0,
            nodes,
            gaps: seed.stream("gaps"),
            picks: seed.stream("picks"),
        })
    }

    /// The node it comes to.
    pub const fn node(&self) -> usize {
        self.node
    }

    /// Hits that each request counts.
    pub const fn hits(&self) -> u32 {
        self.demand.hits
    }

    /// When the first request comes.
    pub fn first_us(&mut self) -> u64 {
        self.after(self.demand.from_us)
    }

    /// When the next request comes after one that comes now.
    fn after(&mut self, now_us: u64) -> u64 {
        let gap_us = self.gaps.gap_us(self.mean_gap_us);
        let from_us = self.demand.from_us;
        let since_us = now_us.saturating_sub(from_us);
        from_us + self.demand.pace.after(since_us, gap_us, self.node)
    }

    /// The place of the key of the request that comes now, and when the next one comes. `None` when
    /// every key had its turn.
    pub fn next(&mut self, now_us: u64) -> Option<(usize, u64)> {
        let offset = match self.demand.order {
            Order::Random => self.picks.place(self.demand.keys),
            Order::Once => self.node + self.taken * self.nodes,
        };
        self.taken += 1;
        (offset < self.demand.keys).then(|| {
            let next_us = self.after(now_us);
            (self.first_key + offset, next_us)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        keys: 10,
        limit: 100,
        unit: Unit::Hour,
        requests_per_s: 1_000.0,
        hits: 1,
        spread: Spread::Even,
        pace: Pace::Steady,
        order: Order::Random,
        from_us: SECOND_US,
    };

    fn flow(demand: Demand, node: usize) -> Option<Flow> {
        Flow::new(demand, 0, 5, node, 4, Seed::new(1))
    }

    #[test]
    fn shares_of_all_nodes_make_up_the_whole() {
        let spreads = [
            Spread::Even,
            Spread::One { node: 3 },
            Spread::Zipf { exponent: 1.0 },
        ];
        for spread in spreads {
            let sum: f64 = (0..7).map(|node| spread.share(node, 7)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{spread:?} {sum}");
        }
        assert!((Spread::Zipf { exponent: 1.0 }.share(0, 3) - 6.0 / 11.0).abs() < 1e-9);
    }

    #[test]
    fn a_node_gets_its_share_of_the_requests() {
        let mut flow = flow(DEMAND, 2).unwrap();
        let mut now_us = flow.first_us();
        let mut requests = 0;
        while now_us < 11 * SECOND_US {
            let (key, next_us) = flow.next(now_us).unwrap();
            assert!((5..15).contains(&key));
            now_us = next_us;
            requests += 1;
        }
        assert!((2_300..2_700).contains(&requests), "{requests}");
    }

    #[test]
    fn in_bursts_a_node_gets_as_much_as_in_steady_demand() {
        let demand = Demand {
            pace: Pace::Bursts {
                on_us: SECOND_US / 10,
                off_us: SECOND_US * 4 / 10,
                stagger_us: 0,
            },
            ..DEMAND
        };
        let mut flow = flow(demand, 2).unwrap();
        let mut now_us = flow.first_us();
        let mut requests = 0;
        while now_us < 11 * SECOND_US {
            assert!(now_us % (SECOND_US / 2) < SECOND_US / 10, "{now_us}");
            (_, now_us) = flow.next(now_us).unwrap();
            requests += 1;
        }
        assert!((2_300..2_700).contains(&requests), "{requests}");
    }

    #[test]
    fn in_turn_every_key_is_asked_for_once_by_one_node() {
        let demand = Demand {
            order: Order::Once,
            ..DEMAND
        };
        let mut keys = Vec::new();
        for node in 0..4 {
            let mut flow = flow(demand, node).unwrap();
            while let Some((key, _)) = flow.next(0) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        assert_eq!(keys, (5..15).collect::<Vec<_>>());
    }

    #[test]
    fn a_node_without_a_share_has_no_flow() {
        let demand = Demand {
            spread: Spread::One { node: 0 },
            ..DEMAND
        };
        assert!(flow(demand, 0).is_some());
        assert!(flow(demand, 1).is_none());
    }
}
