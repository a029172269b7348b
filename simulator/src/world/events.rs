//! What each event does.

use super::{World, WorldError};
use crate::fault::Fault;
use crate::host::{address_of, node_at};
use crate::queue::Event;
use crate::time::SECOND_US;

/// Nodes whose addresses everybody has as bootstrap names.
const BOOTSTRAP_NODES: usize = 3;

/// How often bootstrap names are looked up, microseconds: by a node that has not joined, and by one
/// that has.
const JOIN_EVERY_US: [u64; 2] = [SECOND_US, 10 * SECOND_US];

impl World {
    pub(super) fn happen(&mut self, event: Event) -> Result<(), WorldError> {
        self.trace.add(self.now_us);
        match event {
            Event::Start { node } => self.start(node)?,
            Event::Tick { node, run } => self.tick(node, run),
            Event::Join { node, run } => self.join(node, run),
            Event::Datagram { from, to, payload } => self.arrive(from, to, payload),
            Event::Hit { flow } => self.hit(flow),
            Event::Fault { fault } => {
                let fault = self.faults[fault].clone();
                self.suffer(&fault)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, node: usize) -> Result<(), WorldError> {
        let host = &mut self.hosts[node];
        if host.is_running() {
            return Ok(());
        }
        if host.run() > 0 && !host.takes_hits {
            let replaced = host.replace(&self.common);
            replaced.map_err(|source| WorldError::Host { node, source })?;
        }
        host.start(self.now_us, &self.common);
        let run = host.run();
        self.trace.add(run);
        self.ledger.starts(self.now_us, node);
        let phase_us = self.phases.between(0, self.common.settings.tick_us);
        self.queue
            .add(self.now_us + phase_us, Event::Tick { node, run });
        self.queue.add(self.now_us, Event::Join { node, run });
        Ok(())
    }

    fn tick(&mut self, node: usize, run: u64) {
        let host = &mut self.hosts[node];
        if !host.is_running() || host.run() != run {
            return;
        }
        host.tick(self.now_us, &mut self.outbox);
        let next_us = self.now_us + self.common.settings.tick_us;
        self.queue.add(next_us, Event::Tick { node, run });
        self.settle(node);
    }

    fn join(&mut self, node: usize, run: u64) {
        let host = &mut self.hosts[node];
        if !host.is_running() || host.run() != run {
            return;
        }
        let others = (0..self.hosts.len().min(BOOTSTRAP_NODES)).filter(|&other| other != node);
        let addresses: Vec<_> = others.map(address_of).collect();
        let host = &mut self.hosts[node];
        host.join(self.now_us, &addresses, &mut self.outbox);
        let wait_us = JOIN_EVERY_US[usize::from(host.is_joined())];
        let next = Event::Join { node, run };
        self.queue.add(self.now_us + wait_us, next);
        self.settle(node);
    }

    fn arrive(&mut self, from: usize, to: usize, payload: usize) {
        self.payloads.arrive(payload, &mut self.datagram);
        self.trace.add((from as u64) << 32 | to as u64);
        let host = &mut self.hosts[to];
        if host.receive(self.now_us, from, &mut self.datagram, &mut self.outbox) {
            self.traffic.received(self.now_us, to);
            self.settle(to);
        }
    }

    fn hit(&mut self, number: usize) {
        if self.now_us >= self.traffic_until_us {
            return;
        }
        let flow = &mut self.flows[number];
        let Some((place, next_us)) = flow.next(self.now_us) else {
            return;
        };
        self.queue.add(next_us, Event::Hit { flow: number });
        let (node, hits) = (flow.node(), flow.hits());
        let key = self.keys.get(place);
        let host = &mut self.hosts[node];
        if !host.takes_hits {
            return;
        }
        match host.hit(self.now_us, key, hits) {
            Some(hit) => {
                self.trace.add((place as u64) << 1 | u64::from(hit.passed));
                self.ledger
                    .hit(self.now_us, node, place, hit, hits, key.limit);
            }
            None => self.ledger.uncounted += 1,
        }
    }

    fn suffer(&mut self, fault: &Fault) -> Result<(), WorldError> {
        match fault {
            Fault::Partition { side_of } => {
                let side = |node: usize| side_of.get(node).copied().unwrap_or(0);
                self.network.partition(side);
            }
            &Fault::Cut { from, to } => self.network.set_cut(from, to, true),
            Fault::Heal => self.network.heal(),
            &Fault::Link { from, to, quality } => self.network.set_quality(from, to, quality),
            &Fault::Kill { node } => self.hosts[node].kill(),
            &Fault::Leave { node } => {
                self.hosts[node].leave(self.now_us, &mut self.outbox);
                self.settle(node);
            }
            &Fault::LoseHost { node } => {
                let host = &mut self.hosts[node];
                host.kill();
                // Once: a host that is lost already has nothing more to lose.
                if std::mem::take(&mut host.takes_hits) {
                    self.ledger.loses_region(node);
                }
            }
            &Fault::Start { node } => self.start(node)?,
            &Fault::Reset { node, key } => {
                let windows = self.hosts[node].reset(self.now_us, self.keys.get(key));
                self.trace.add(windows.len() as u64);
                for window in windows {
                    self.ledger.reset(key, window);
                }
                self.settle(node);
            }
            &Fault::StepClock { node, by_us } => self.hosts[node].clock.step(by_us),
        }
        Ok(())
    }

    /// After a mesh did something: notes what became visible, and sends what it wants sent.
    fn settle(&mut self, node: usize) {
        for put in self.hosts[node].take_puts() {
            if let Some(key) = self.keys.find(put.key.fingerprint) {
                self.ledger
                    .saw(self.now_us, node, key, put.window, put.remote);
            }
        }
        for (bytes, receivers) in self.outbox.datagrams() {
            self.trace.add_bytes(bytes);
            let payload = self.payloads.add(bytes);
            for &receiver in receivers {
                self.traffic.sent(self.now_us, node, bytes.len());
                let known = node_at(receiver).filter(|&to| to < self.hosts.len());
                let Some(to) = known else {
                    self.traffic.sent_nowhere();
                    continue;
                };
                let arrivals = self.network.send(self.now_us, node, to);
                for arrival_us in arrivals.into_iter().flatten() {
                    self.payloads.expect(payload);
                    let event = Event::Datagram {
                        from: node,
                        to,
                        payload,
                    };
                    self.queue.add(arrival_us, event);
                }
            }
            self.payloads.release(payload);
        }
        self.outbox.clear();
    }
}
