//! What is done every tick.

use hivemind_shared::window::Period;

use super::Mesh;
use super::names::LOOKED_UP_MAX;
use super::send::Load;
use crate::book::KeyId;
use crate::counters::Counters;
use crate::drops::DropCause;
use crate::flights::{Cargo, LinkIndex};
use crate::link::Sync;
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::Kind;
use crate::wire::sections::{self, Heartbeat};

/// Heartbeats a node sends in a second at most.
const HEARTBEATS_PER_S: u64 = 20;

/// The wall clock was set when it moved this much more or less than the monotonic one, microseconds.
const STEP_US: u64 = 500_000;

/// One second.
const SECOND_US: u64 = 1_000_000;

impl Mesh {
    /// Does what is due; call it every [`crate::settings::Settings::tick_us`].
    pub fn tick(&mut self, now: Now, counters: &mut impl Counters, out: &mut Outbox) {
        self.ticks = self.ticks.wrapping_add(1);
        self.budget.fill(now.monotonic_us);
        self.notice_clock_steps(now, counters);
        self.sweep(now, counters);
        self.notice_periods(now, counters);
        self.expire_flights(now);

        let mut said = std::mem::take(&mut self.said);
        self.membership.tick(now.monotonic_us, &mut said);
        self.said = said;
        self.flush_membership(now, None, out);

        self.book.expire(now.unix_s());
        if now.monotonic_us.saturating_sub(self.second_us) >= SECOND_US {
            self.second_us = now.monotonic_us;
            self.every_second(now, out);
        }

        let up = self.up.clone();
        self.beat(now, &up, out);
        self.look_up(now);
        self.request_snapshot(now, out);
        // Who is first changes, so that nobody is last for ever when there is not enough for all.
        let first = usize::try_from(self.ticks).unwrap_or(0) % up.len().max(1);
        let (last, first) = up.split_at(first);
        for &index in first.iter().chain(last) {
            self.send_acks(now, index, out);
            self.synchronize(now, index, out);
            self.send_asks(now, index, out);
            self.answer_summary(now, index, out);
        }
        self.broadcast(now, false, out);
        for &index in first.iter().chain(last) {
            self.send_backlog(now, index, out);
            self.send_snapshot_end(now, index, out);
        }
        // Last of all: no decision depends on it.
        self.ask_for_names(now, counters, out);
        let mut left = LOOKED_UP_MAX;
        for &index in first.iter().chain(last) {
            left = self.tell_names(now, index, left, counters, out);
        }
    }

    /// Sends every count that is not sent yet, whether it matters or not, and what waits for single peers, such
    /// as what was forgiven: nothing follows for a while.
    pub fn send_all(&mut self, now: Now, counters: &mut impl Counters, out: &mut Outbox) {
        self.sweep(now, counters);
        self.broadcast(now, true, out);
        for index in self.up.clone() {
            self.send_backlog(now, index, out);
        }
    }

    /// Tells everybody goodbye, with the last counts.
    pub fn leave(&mut self, now: Now, counters: &mut impl Counters, out: &mut Outbox) {
        self.send_all(now, counters, out);
        let up = self.up.clone();
        if !up.is_empty() {
            let load = Load::new(Kind::Membership, Cargo::Gossip);
            self.send(now, &up, load, out, sections::write_goodbye);
        }
        let mut said = std::mem::take(&mut self.said);
        self.membership.leave(now.monotonic_us, &mut said);
        self.said = said;
        self.flush_membership(now, None, out);
    }

    /// Looks at what was counted here since the last tick.
    fn sweep(&mut self, now: Now, counters: &mut impl Counters) {
        let now_s = now.unix_s();
        let mut changed: Vec<KeyId> = Vec::new();
        let mut missing = Vec::new();
        let book = &mut self.book;
        counters.sweep(&mut |reading| {
            let Some(id) = book.note_slot(now_s, reading) else {
                return;
            };
            changed.push(id);
            let Some(entry) = book.entry(id) else { return };
            for half in &entry.halves {
                let Some(window) = half.window else { continue };
                let hits = half.beside_local().hits();
                let known = reading.known_remote_in(window);
                let is_missing = known.map_or(hits != 0, |known| hits > known);
                if is_missing && half.is_near(&entry.key, now_s) {
                    missing.push((entry.key, window, hits));
                }
            }
        });
        // The slot is another one than before, or there was none when peers reported.
        for (key, window, hits) in missing {
            if counters
                .put_remote(&key, key.period.window(window), hits)
                .is_err()
            {
                self.drops.add(DropCause::NoRoom);
            }
        }
        for id in changed {
            self.queue(now, id, counters);
        }
    }

    /// Looks whether other rules are in force, by whose periods peers have counts that were not taken in before.
    fn notice_periods(&mut self, now: Now, counters: &impl Counters) {
        let periods = counters.periods();
        if self.periods == periods {
            return;
        }
        let has_new = periods.iter().any(|&period| !keeps(&self.periods, period));
        self.periods = periods.to_vec();
        if has_new {
            self.join.want_again(now.monotonic_us);
            for link in &mut self.links {
                link.asked.clear();
            }
        }
    }

    /// Looks whether the wall clock was set since the last look.
    pub(super) fn notice_clock_steps(&mut self, now: Now, counters: &mut impl Counters) {
        let moved_us = now.unix_us.wrapping_sub(self.last.unix_us).cast_signed();
        let elapsed_us = now.monotonic_us.saturating_sub(self.last.monotonic_us);
        let last = std::mem::replace(&mut self.last, now);
        if i128::from(moved_us).abs_diff(i128::from(elapsed_us)) < u128::from(STEP_US) {
            return;
        }
        let taken_back = self.book.set_clock(last, now, |key| counters.read(key));
        for (id, window) in taken_back {
            let Some(entry) = self.book.entry(id) else {
                continue;
            };
            let (key, hits) = (
                entry.key,
                entry.half(window).map(|half| half.beside_local().hits()),
            );
            if let Some(hits) = hits.filter(|hits| *hits != 0)
                && counters
                    .put_remote(&key, key.period.window(window), hits)
                    .is_err()
            {
                self.drops.add(DropCause::NoRoom);
            }
        }
        let mut said = std::mem::take(&mut self.said);
        self.membership.forget_ahead(now, &mut said);
        self.said = said;
        // Other windows matter now than a moment ago: counts that were dropped may be wanted, on both
        // sides.
        self.join.want_again(now.monotonic_us);
        for link in &mut self.links {
            link.sync = Sync::Unknown;
            link.asked.clear();
        }
        // And slots that were not counted in lately may be in windows that matter again.
        let book = &mut self.book;
        let mut news = Vec::new();
        counters.scan(&mut |reading| news.extend(book.note_slot(now.unix_s(), reading)));
        for id in news {
            self.queue(now, id, counters);
        }
    }

    fn every_second(&mut self, now: Now, out: &mut Outbox) {
        let by_actor = &self.by_actor;
        let links = &self.links;
        let is_member = |actor: u64| {
            let link = by_actor.get(&actor).and_then(|index| links.get(index.0));
            link.is_some_and(|link| link.is_up)
        };
        self.book.expire_groups(now, is_member);
        self.overshoot.estimate(&mut self.book, now.monotonic_us);
        self.gossip(now, out);
    }

    /// Time between two heartbeats, microseconds: longer in large clusters.
    pub(super) fn heartbeat_interval_us(&self) -> u64 {
        let peers = self.up.len() as u64;
        SECOND_US * peers.div_ceil(HEARTBEATS_PER_S).max(1)
    }

    /// Sends the probe, when it is time, and where it was lost.
    fn beat(&mut self, now: Now, up: &[LinkIndex], out: &mut Outbox) {
        for (index, number) in std::mem::take(&mut self.lost_probes) {
            let is_up = self.link(index).is_some_and(|link| link.is_up);
            if is_up && number == self.probe.number() {
                self.send_probe(now, &[index], number, out);
            }
        }
        let elapsed_us = now.monotonic_us.saturating_sub(self.heartbeat_us);
        if elapsed_us >= self.heartbeat_interval_us() && !up.is_empty() {
            self.heartbeat_us = now.monotonic_us;
            let number = self.probe.next(now.monotonic_us, up.iter().copied());
            self.send_probe(now, up, number, out);
        }
    }

    fn send_probe(&mut self, now: Now, to: &[LinkIndex], number: u64, out: &mut Outbox) {
        let heartbeat = Heartbeat {
            probe: number,
            name: self.local.name.clone(),
        };
        let cargo = Cargo::Probe(number);
        let rules = self.rules;
        self.send(now, to, Load::new(Kind::Heartbeat, cargo), out, |buffer| {
            heartbeat.write(buffer);
            if let Some(hash) = rules {
                sections::write_rules(buffer, hash);
            }
        });
    }
}

/// Whether counts by a period are taken in: one of a rule in force, which `periods` has in order, or of a single
/// unit, by which requests may bring limits of their own.
pub(super) fn keeps(periods: &[Period], period: Period) -> bool {
    period.multiplier() == 1 || periods.binary_search(&period).is_ok()
}
