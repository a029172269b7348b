//! What is still to happen, in the one order it can happen in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node's daemon starts for the first time.
    Start {
        /// Which node.
        node: usize,
    },
    /// A node's mesh does what is due.
    Tick {
        /// Which node.
        node: usize,
        /// Which run of its daemon this belongs to; after a restart it is void.
        run: u64,
    },
    /// A node looks its bootstrap names up again.
    Join {
        /// Which node.
        node: usize,
        /// Which run of its daemon this belongs to.
        run: u64,
    },
    /// A datagram arrives.
    Datagram {
        /// Who sent it.
        from: usize,
        /// Who gets it.
        to: usize,
        /// Where its bytes are.
        payload: usize,
    },
    /// A request comes in.
    Hit {
        /// The place of its flow.
        flow: usize,
    },
    /// A fault of the scenario.
    Fault {
        /// Its place in the scenario.
        fault: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at_us: u64,
    sequence: u64,
    event: Event,
}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap gives out the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.sequence).cmp(&(self.at_us, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Events by time; those of one time in the order they were added.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    entries: BinaryHeap<Entry>,
    added: u64,
}

impl Queue {
    /// Adds an event at a time in microseconds.
    pub fn add(&mut self, at_us: u64, event: Event) {
        self.entries.push(Entry {
            at_us,
            sequence: self.added,
            event,
        });
        self.added += 1;
    }

    /// Takes out the next event, unless it is after `until_us`.
    pub fn next_until(&mut self, until_us: u64) -> Option<(u64, Event)> {
        let next = self.entries.peek()?;
        if next.at_us > until_us {
            return None;
        }
        self.entries.pop().map(|entry| (entry.at_us, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_added() {
        let mut queue = Queue::default();
        let hit = |flow| Event::Hit { flow };
        for (at, flow) in [(5, 0), (3, 1), (5, 2), (3, 3), (9, 4)] {
            queue.add(at, hit(flow));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next_until(5)).collect();
        assert_eq!(order, [(3, hit(1)), (3, hit(3)), (5, hit(0)), (5, hit(2))]);
        assert_eq!(queue.next_until(9), Some((9, hit(4))));
    }
}
