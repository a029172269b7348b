//! Making datagrams.

use std::cmp::Reverse;
use std::net::SocketAddr;

use super::Mesh;
use crate::book::{Half, KeyId, OWN};
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

impl Mesh {
    /// Seals and sends a datagram to members. What is in it is sent again where it is lost.
    pub(super) fn send(
        &mut self,
        now: Now,
        kind: Kind,
        to: &[LinkIndex],
        cargo: Cargo,
        since_us: u64,
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<u64> {
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
            }
        }
        self.traffic.note_sent(kind, bytes, to.len());
        self.budget.take(bytes * to.len());
        if kind.is_reliable() {
            let flight = Flight::new(
                sequence,
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
                self.budget.take(bytes);
            }
            Err(_) => self.drops.add(DropCause::Unsent),
        }
    }

    /// Looks at a key of which something is unsent, and queues it.
    pub(super) fn queue(&mut self, now: Now, id: KeyId, counters: &impl Counters) {
        let nodes = self.up().count() + 1;
        let circumstances = Circumstances {
            settings: &self.settings,
            nodes,
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
        let to: Vec<LinkIndex> = self.up().collect();
        let copies_wait = to.iter().any(|&index| {
            self.link(index)
                .is_some_and(|link| !link.backlog.has_no_copies())
        });

        let mut urgent = std::mem::take(&mut self.urgent);
        let multiple = |id: &KeyId| self.book.entry(*id).map_or(0.0, |entry| entry.own.multiple);
        urgent.sort_by(|a, b| multiple(b).total_cmp(&multiple(a)));
        let mut rest = urgent.drain(..).peekable();
        while rest.peek().is_some()
            && (all || to.is_empty() || self.budget.is_open_for_urgent(copies_wait))
        {
            self.send_counts(now, &to, &mut rest, out);
        }
        self.urgent = rest.collect();

        let stride = (to.len() / NODES_PER_STRIDE + 1) as u64;
        if !all && !self.ticks.is_multiple_of(stride) {
            return;
        }
        while self.has_due(now, all)
            && (all || to.is_empty() || self.budget.is_open_for_urgent(copies_wait))
        {
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
                self.send_counts(now, &to, &mut due, out);
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
                Kind::Counts,
                to,
                Cargo::Counts(items),
                since_us,
                out,
                |buffer| pack.write(buffer, head),
            );
            sequence = sent.unwrap_or(0);
        }
        for id in packed {
            if let Some(entry) = self.book.entry_mut(id) {
                entry.halves.iter_mut().for_each(Half::note_sent);
                entry.own.sent_us = Some(now.monotonic_us);
                entry.own.sequence = sequence;
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
            if link.in_flight >= window {
                return;
            }
            let copies_wait = !link.backlog.has_no_copies();
            let is_lost = link.backlog.front_lost().is_some();
            let may_send = if is_lost {
                self.budget.is_open_for_urgent(copies_wait)
            } else {
                copies_wait && self.budget.is_open()
            };
            if !may_send {
                return;
            }
            self.send_items(now, index, is_lost, out);
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
            let (kind, cargo) = if is_lost {
                (Kind::Repeat, Cargo::Counts(items))
            } else {
                (Kind::Bulk, Cargo::Copies(items))
            };
            self.send(now, kind, &[index], cargo, since_us, out, |buffer| {
                pack.write(buffer, head);
            });
        }
        self.pack = pack;
    }

    /// Acknowledges to one peer what arrived from it.
    pub(super) fn send_acks(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        while let Some((sequences, delay_us)) = self
            .link_mut(index)
            .and_then(|link| link.take_acks(now.monotonic_us))
        {
            let ack = Ack {
                unix_us: now.unix_us,
                delay_us,
                sequences,
            };
            let cargo = Cargo::Gossip;
            self.send(now, Kind::Ack, &[index], cargo, 0, out, |buffer| {
                ack.write(buffer);
            });
        }
    }
}
