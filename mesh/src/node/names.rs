//! Asking peers what keys read as, and telling them.

use std::collections::BTreeMap;

use hivemind_shared::table::Key;

use super::Mesh;
use super::send::Load;
use crate::book::{Entry, OWN};
use crate::counters::Counters;
use crate::flights::{Cargo, LinkIndex};
use crate::names::LOOKED_AT_MAX;
use crate::outbox::Outbox;
use crate::time::Now;
use crate::urgency::current_half;
use crate::wire::names::{self, NamePack};
use crate::wire::{Kind, Malformed};

/// Names that a peer may wait for.
pub(super) const WANTED_NAMES_MAX: usize = 1_024;

/// Names that are looked up in a tick for all peers together.
pub(super) const LOOKED_UP_MAX: usize = 1_024;

impl Mesh {
    /// Asks for the names of the hottest keys, where they are missing.
    pub(super) fn ask_for_names(&mut self, now: Now, counters: &impl Counters, out: &mut Outbox) {
        if self.up.is_empty() || !self.is_joined() || !self.may_synchronize() {
            return;
        }
        let now_us = now.monotonic_us;
        self.names.look(now_us, now.unix_s(), &self.book);
        let mut questions: BTreeMap<LinkIndex, Vec<Key>> = BTreeMap::new();
        for _ in 0..LOOKED_AT_MAX {
            let Some(id) = self.names.next() else { break };
            let Some(entry) = self.book.entry(id) else {
                continue;
            };
            let key = entry.key;
            if counters.lacks_name(&key)
                && let Some(times) = self.names.note_missing(now_us, &key)
                && let Some(of) = self.whom_to_ask(now, entry, times)
            {
                self.names.note_asked(now_us, &key, of, times);
                questions.entry(of).or_default().push(key);
            }
        }
        let keys_max = names::wanted_in(self.body_bytes_max());
        for (of, keys) in questions {
            for keys in keys.chunks(keys_max) {
                let load = Load::new(Kind::Sync, Cargo::Gossip);
                self.send(now, &[of], load, out, |buffer| {
                    names::write_wanted(buffer, keys);
                });
            }
        }
    }

    /// A peer that may know what a key reads as: one that counted it, and each second time any. Each time another
    /// one.
    fn whom_to_ask(&self, now: Now, entry: &Entry, times: u32) -> Option<LinkIndex> {
        let half = current_half(&entry.key, &entry.halves, now.unix_s())?;
        let others = half.counts().filter(|&(actor, _)| actor != OWN);
        let counted: Vec<LinkIndex> = others
            .filter_map(|(actor, _)| self.by_actor.get(&self.book.actor_id(actor)?).copied())
            .filter(|&index| self.is_up(index))
            .collect();
        let of = if counted.is_empty() || times % 2 == 1 {
            &self.up
        } else {
            &counted
        };
        let spread = usize::try_from(entry.key.fingerprint.low % 1_024).unwrap_or(0);
        let turn = usize::try_from(times / 2).unwrap_or(0);
        of.get(spread.wrapping_add(turn) % of.len().max(1)).copied()
    }

    /// Notes which names a peer wants.
    pub(super) fn receive_wanted_names(&mut self, index: LinkIndex, keys: Vec<Key>) {
        if let Some(link) = self.link_mut(index) {
            let room = WANTED_NAMES_MAX.saturating_sub(link.wanted_names.len());
            link.wanted_names.extend(keys.into_iter().take(room));
        }
    }

    /// Tells a peer the names it wants, as far as they are known here and fit into one datagram. Returns how many
    /// more may be looked up.
    pub(super) fn tell_names(
        &mut self,
        now: Now,
        index: LinkIndex,
        mut left: usize,
        counters: &impl Counters,
        out: &mut Outbox,
    ) -> usize {
        if !self.may_synchronize() {
            return left;
        }
        let mut pack = NamePack::new(self.body_bytes_max());
        while left > 0
            && let Some(link) = self.link_mut(index)
            && let Some(&key) = link.wanted_names.front()
        {
            left -= 1;
            let is_in = counters.name(&key).is_none_or(|name| pack.push(key, name));
            if !is_in {
                break;
            }
            link.wanted_names.pop_front();
        }
        if !pack.is_empty() {
            let load = Load::new(Kind::Sync, Cargo::Gossip);
            self.send(now, &[index], load, out, |buffer| pack.write(buffer));
        }
        left
    }

    /// Takes in names that a peer was asked for.
    pub(super) fn receive_names(
        &mut self,
        index: LinkIndex,
        content: &[u8],
        counters: &mut impl Counters,
    ) -> Result<(), Malformed> {
        names::read_names(content, |key, name| {
            if self.names.take_asked(&key, index) {
                counters.put_name(&key, &name.parse()?);
            }
            Ok(())
        })
    }
}
