//! Own counts, to everybody.

use std::cmp::Reverse;

use super::Mesh;
use super::send::Load;
use crate::book::{KeyId, OWN};
use crate::budget::Purpose;
use crate::counters::Counters;
use crate::flights::{Cargo, LinkIndex};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::urgency::{Circumstances, Urgency, current_half};
use crate::wire::Kind;
use crate::wire::counts::{Entry, Head, Pack};

/// Nodes up to which counts that may wait are sent with every tick once they are due; with more, less
/// often, so that datagrams are fuller.
const NODES_PER_STRIDE: usize = 8;

/// Every so many ticks, what is due goes before what is urgent.
const TICKS_PER_TURN: u64 = 16;

impl Mesh {
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
        let urgency = circumstances.urgency(&entry.own, &entry.halves, current, limit);
        entry.own.unhurried = matches!(urgency, Urgency::Unhurried(_));
        match urgency {
            Urgency::Nothing => return,
            Urgency::By(due_us) | Urgency::Unhurried(due_us) => {
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
        let mut pack = std::mem::replace(&mut self.pack, Pack::new(0));
        pack.clear();
        let mut packed = Vec::new();
        let mut since_us = now.monotonic_us;
        // Since when the oldest change waits that a decision may depend on.
        let mut awaited_us = None;
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
            if !entry.own.unhurried {
                let changed_us = entry.own.changed_us.unwrap_or(now.monotonic_us);
                awaited_us = Some(awaited_us.unwrap_or(changed_us).min(changed_us));
            }
            packed.push(id);
            keys.next();
        }
        let mut sequence = 0;
        if !pack.is_empty() && !to.is_empty() {
            let head = Head {
                actor: None,
                copy: false,
                // The hits came in some time within the tick before they were noticed.
                age_us: awaited_us.map_or(0, |awaited_us: u64| {
                    now.monotonic_us.saturating_sub(awaited_us) + self.settings.tick_us / 2
                }),
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
}
