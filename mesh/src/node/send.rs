//! Making datagrams.

use std::cmp::Reverse;
use std::net::SocketAddr;

use hivemind_shared::table::words::low_half;

use super::Mesh;
use crate::book::{KeyId, OWN};
use crate::budget::Purpose;
use crate::counters::Counters;
use crate::drops::DropCause;
use crate::flights::{Cargo, Flight, LinkIndex};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::urgency::{Circumstances, Urgency, current_half};
use crate::wire::counts::{Entry, Head};
use crate::wire::sections::Ack;
use crate::wire::{Kind, writer};

/// Datagrams to one peer alone that may be on their way at once.
const IN_FLIGHT_MAX: usize = 64;

/// Nodes up to which counts that may wait are sent with every tick once they are due; with more, less
/// often, so that datagrams are fuller.
const NODES_PER_STRIDE: usize = 8;

/// Every so many ticks, what is due goes before what is urgent.
const TICKS_PER_TURN: u64 = 16;

/// What a datagram is sent for.
pub(super) struct Load {
    kind: Kind,
    cargo: Cargo,
    since_us: u64,
}

impl Load {
    pub(super) const fn new(kind: Kind, cargo: Cargo) -> Self {
        Self {
            kind,
            cargo,
            since_us: 0,
        }
    }

    /// With counts that wait since this time, monotonic microseconds.
    fn since(self, since_us: u64) -> Self {
        Self { since_us, ..self }
    }
}

impl Mesh {
    /// Seals and sends a datagram to members. What is in it is sent again where it is lost.
    pub(super) fn send(
        &mut self,
        now: Now,
        to: &[LinkIndex],
        load: Load,
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<u64> {
        let Load {
            kind,
            cargo,
            since_us,
        } = load;
        let Self { links, sealer, .. } = self;
        let addresses = to
            .iter()
            .filter_map(|index| Some(links.get(index.0)?.address));
        let mut sent = None;
        let pushed = out.push(addresses, |buffer| {
            let start = buffer.len();
            let sequence = sealer.seal(buffer, |body| {
                writer::head(body, kind);
                write(body);
            })?;
            sent = Some((sequence, buffer.len() - start));
            Ok::<(), crate::seal::SealError>(())
        });
        let (Ok(()), Some((sequence, bytes))) = (pushed, sent) else {
            self.drops.add(DropCause::Unsent);
            return None;
        };
        for index in to {
            if let Some(link) = self.links.get_mut(index.0) {
                link.sent_datagrams += 1;
                link.sent_bytes += bytes as u64;
                link.in_flight += usize::from(kind.is_reliable());
                link.alone_in_flight += usize::from(kind.is_for_one());
            }
        }
        self.traffic.note_sent(kind, bytes, to.len());
        let purpose = match kind {
            Kind::Bulk => Purpose::Copies,
            _ => Purpose::News,
        };
        self.budget.take(purpose, bytes * to.len());
        if kind.is_reliable() {
            let flight = Flight::new(
                sequence,
                kind,
                now.monotonic_us,
                since_us,
                cargo,
                to.iter().copied(),
            );
            self.flights.push(flight);
        }
        Some(sequence)
    }

    /// Seals and sends a datagram to an address, member or not; nobody waits for it.
    pub(super) fn send_loose(
        &mut self,
        kind: Kind,
        to: SocketAddr,
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Self { sealer, .. } = self;
        let mut bytes = 0;
        let pushed = out.push([to], |buffer| {
            let start = buffer.len();
            let sealed = sealer.seal(buffer, |body| {
                writer::head(body, kind);
                write(body);
            });
            bytes = buffer.len() - start;
            sealed.map(|_| ())
        });
        match pushed {
            Ok(()) => {
                self.traffic.note_sent(kind, bytes, 1);
                self.budget.take(Purpose::News, bytes);
            }
            Err(_) => self.drops.add(DropCause::Unsent),
        }
    }

    /// Looks at a key of which something is unsent, and queues it.
    pub(super) fn queue(&mut self, now: Now, id: KeyId, counters: &impl Counters) {
        let circumstances = Circumstances {
            settings: &self.settings,
            nodes: self.up.len() + 1,
            now_us: now.monotonic_us,
        };
        let Some(entry) = self.book.entry_mut(id) else {
            return;
        };
        let current = current_half(&entry.key, &entry.halves, now.unix_s());
        let limit = counters.limit(entry.own.rule);
        match circumstances.urgency(&entry.own, &entry.halves, current, limit) {
            Urgency::Nothing => return,
            Urgency::By(due_us) => {
                if !entry.own.urgent && entry.own.due_us.is_none_or(|known_us| due_us < known_us) {
                    entry.own.due_us = Some(due_us);
                    self.waiting.push(Reverse((due_us, id)));
                }
            }
            Urgency::Now(multiple) => {
                entry.own.multiple = multiple;
                if !entry.own.urgent {
                    entry.own.urgent = true;
                    self.urgent.push(id);
                }
            }
        }
        if entry.own.changed_us.is_none() {
            entry.own.changed_us = Some(now.monotonic_us);
        }
    }

    /// Sends to everybody what is urgent and what is due, as far as the budget goes; the rest waits.
    pub(super) fn broadcast(&mut self, now: Now, all: bool, out: &mut Outbox) {
        let to = self.up.clone();
        // What waits is due some day, also when there is more that is urgent than can be sent.
        if self.ticks.is_multiple_of(TICKS_PER_TURN) {
            self.send_due(now, all, &to, out);
            self.send_urgent(now, all, &to, out);
        } else {
            self.send_urgent(now, all, &to, out);
            let stride = (to.len() / NODES_PER_STRIDE + 1) as u64;
            if all || self.ticks.is_multiple_of(stride) {
                self.send_due(now, all, &to, out);
            }
        }
    }

    fn may_broadcast(&self, all: bool, to: &[LinkIndex]) -> bool {
        all || to.is_empty() || self.budget.is_open(Purpose::News)
    }

    /// Sends what is urgent, the most urgent first.
    fn send_urgent(&mut self, now: Now, all: bool, to: &[LinkIndex], out: &mut Outbox) {
        if self.urgent.is_empty() || !self.may_broadcast(all, to) {
            return;
        }
        let mut urgent: Vec<(f64, KeyId)> = self
            .urgent
            .drain(..)
            .filter_map(|id| Some((self.book.entry(id)?.own.multiple, id)))
            .collect();
        urgent.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut rest = urgent.into_iter().map(|(_, id)| id).peekable();
        while rest.peek().is_some() && self.may_broadcast(all, to) {
            self.send_counts(now, to, &mut rest, out);
        }
        self.urgent.extend(rest);
    }

    /// Sends what has waited long enough.
    fn send_due(&mut self, now: Now, all: bool, to: &[LinkIndex], out: &mut Outbox) {
        while self.has_due(now, all) && self.may_broadcast(all, to) {
            let mut due = Vec::new();
            // A few more than fit in a datagram, so that none goes out half empty.
            while due.len() < 4 * self.settings.datagram_bytes_max / 64 && self.has_due(now, all) {
                if let Some(Reverse((due_us, id))) = self.waiting.pop()
                    && let Some(entry) = self.book.entry_mut(id)
                    && entry.own.due_us == Some(due_us)
                {
                    entry.own.due_us = None;
                    due.push(id);
                }
            }
            let mut due = due.into_iter().peekable();
            while due.peek().is_some() {
                self.send_counts(now, to, &mut due, out);
            }
        }
    }

    fn has_due(&self, now: Now, all: bool) -> bool {
        self.waiting
            .peek()
            .is_some_and(|Reverse((due_us, _))| all || *due_us <= now.monotonic_us)
    }

    /// Sends one datagram of own counts to everybody, and notes that they were sent.
    fn send_counts(
        &mut self,
        now: Now,
        to: &[LinkIndex],
        keys: &mut std::iter::Peekable<impl Iterator<Item = KeyId>>,
        out: &mut Outbox,
    ) {
        let mut pack = std::mem::replace(&mut self.pack, crate::wire::counts::Pack::new(0));
        pack.clear();
        let mut packed = Vec::new();
        let mut since_us = now.monotonic_us;
        while let Some(&id) = keys.peek() {
            let Some(entry) = self.book.entry(id) else {
                keys.next();
                continue;
            };
            let unsent = entry.halves.iter().filter(|half| half.own > half.sent);
            let mut fits = true;
            for half in unsent {
                if let Some(window) = half.window
                    && half.is_near(&entry.key, now.unix_s())
                {
                    fits &= pack.push(Entry {
                        key: entry.key,
                        window,
                        count: half.own,
                    });
                }
            }
            if !fits && !packed.is_empty() {
                break;
            }
            since_us = since_us.min(entry.own.changed_us.unwrap_or(since_us));
            packed.push(id);
            keys.next();
        }
        let mut sequence = 0;
        if !pack.is_empty() && !to.is_empty() {
            let head = Head {
                actor: None,
                copy: false,
                // The hits came in some time within the tick before they were noticed.
                age_us: now.monotonic_us - since_us + self.settings.tick_us / 2,
            };
            let items = packed.iter().map(|&id| (OWN, id)).collect();
            let sent = self.send(
                now,
                to,
                Load::new(Kind::Counts, Cargo::Counts(items)).since(since_us),
                out,
                |buffer| pack.write(buffer, head),
            );
            sequence = sent.unwrap_or(0);
        }
        for id in packed {
            if let Some(entry) = self.book.entry_mut(id) {
                for half in &mut entry.halves {
                    half.note_sent(sequence);
                }
                entry.own.sent_us = Some(now.monotonic_us);
                entry.own.changed_us = None;
                entry.own.due_us = None;
                entry.own.urgent = false;
            }
        }
        self.pack = pack;
    }

    /// Sends to one peer what it lacks.
    pub(super) fn send_backlog(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        loop {
            let Some(link) = self.link(index) else { return };
            let window = if link.quality.is_silent() {
                1
            } else {
                IN_FLIGHT_MAX
            };
            if link.alone_in_flight >= window {
                return;
            }
            let has_lost = link.backlog.front_lost().is_some();
            let has_copies = !link.backlog.has_no_copies();
            if has_lost && self.budget.is_open(Purpose::News) {
                self.send_items(now, index, true, out);
            } else if has_copies && self.budget.is_open(Purpose::Copies) {
                self.send_items(now, index, false, out);
            } else {
                return;
            }
        }
    }

    /// Sends one datagram of a peer's backlog.
    fn send_items(&mut self, now: Now, index: LinkIndex, is_lost: bool, out: &mut Outbox) {
        let mut pack = std::mem::replace(&mut self.pack, crate::wire::counts::Pack::new(0));
        pack.clear();
        let Self { links, book, .. } = self;
        let Some(link) = links.get_mut(index.0) else {
            return;
        };
        let mut items = Vec::new();
        let mut since_us = now.monotonic_us;
        loop {
            let next = if is_lost {
                link.backlog.front_lost()
            } else {
                link.backlog
                    .front_copy()
                    .map(|item| (item, now.monotonic_us))
            };
            let Some(((actor, id), item_since_us)) = next else {
                break;
            };
            // Whose counts they are is said once for all in a section.
            if items.first().is_some_and(|&(first, _)| first != actor) {
                break;
            }
            let mut fits = true;
            if let Some(entry) = book.entry(id) {
                for half in &entry.halves {
                    let count = half.of_actor(actor);
                    if let Some(window) = half.window
                        && count > 0
                        && half.is_near(&entry.key, now.unix_s())
                    {
                        fits &= pack.push(Entry {
                            key: entry.key,
                            window,
                            count,
                        });
                    }
                }
            }
            if !fits && !items.is_empty() {
                break;
            }
            items.push((actor, id));
            since_us = since_us.min(item_since_us);
            if is_lost {
                link.backlog.pop_lost();
            } else {
                link.backlog.pop_copy();
            }
        }
        if !pack.is_empty() {
            let actor = items.first().map_or(OWN, |&(actor, _)| actor);
            let head = Head {
                actor: (actor != OWN).then(|| self.book.actor_id(actor)).flatten(),
                copy: !is_lost,
                age_us: now.monotonic_us - since_us + self.settings.tick_us / 2,
            };
            let kind = if is_lost { Kind::Repeat } else { Kind::Bulk };
            let cargo = Cargo::Counts(items);
            self.send(
                now,
                &[index],
                Load::new(kind, cargo).since(since_us),
                out,
                |buffer| {
                    pack.write(buffer, head);
                },
            );
        }
        self.pack = pack;
    }

    /// Acknowledges to one peer what arrived from it.
    pub(super) fn send_acks(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        while let Some((sequences, delay_us)) = self
            .link_mut(index)
            .and_then(|link| link.take_acks(now.monotonic_us))
        {
            let Some(session) = self.link(index).and_then(|link| link.session) else {
                return;
            };
            let ack = Ack {
                run: low_half(session),
                unix_us: now.unix_us,
                delay_us,
                sequences,
            };
            let cargo = Cargo::Gossip;
            self.send(now, &[index], Load::new(Kind::Ack, cargo), out, |buffer| {
                ack.write(buffer);
            });
        }
    }
}
