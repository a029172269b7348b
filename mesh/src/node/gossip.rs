//! Counts of actors that cannot speak for themselves: nodes compare what they know of them with each
//! other, at random.

use rand::RngExt;

use super::Mesh;
use super::send::Load;
use crate::flights::{Cargo, LinkIndex};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::sections::{Digest, DigestGroup, Summary};
use crate::wire::{Kind, SECTION_HEAD_BYTES};

/// An actor that was not heard from for this long cannot speak for itself, microseconds.
const SILENT_US: u64 = 2_000_000;

/// Of how many actors the sums are sent in answer to one summary at most.
const DIGESTS_ANSWERED_MAX: usize = 32;

impl Mesh {
    /// Sends one peer a summary of counts of actors that cannot speak for themselves.
    pub(super) fn gossip(&mut self, now: Now, out: &mut Outbox) {
        let up = &self.up;
        if up.is_empty() {
            return;
        }
        let to = up[self.random.random_range(0..up.len())];
        let silent = self.silent_actors(now);
        let room = self.body_bytes_max().saturating_sub(SECTION_HEAD_BYTES);
        // From where the last one ended on, so that each has its turn.
        let first = silent.partition_point(|&actor| actor < self.gossip_from);
        let in_turn = silent[first..].iter().chain(&silent[..first]);
        let actors: Vec<(u64, u32)> = in_turn
            .take(room / Summary::ACTOR_BYTES)
            .map(|&actor| (actor, self.book.summary(actor, now.unix_s())))
            .collect();
        let Some(&(last, _)) = actors.last() else {
            return;
        };
        self.gossip_from = last.wrapping_add(1);
        let summary = Summary { actors };
        let cargo = Cargo::Gossip;
        self.send(now, &[to], Load::new(Kind::Sync, cargo), out, |buffer| {
            summary.write(buffer);
        });
    }

    /// Notes what a peer knows of actors that cannot speak for themselves, unless it has said so already.
    pub(super) fn receive_summary(&mut self, index: LinkIndex, summary: Summary) {
        if let Some(link) = self.link_mut(index) {
            link.summary.get_or_insert(summary);
        }
    }

    /// Answers a summary with the sums of those actors of which something else is known here.
    pub(super) fn answer_summary(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        let now_s = now.unix_s();
        if let Some(link) = self.link_mut(index)
            && link.digests.is_empty()
            && let Some(summary) = link.summary.take()
        {
            let differing = summary.actors.iter().filter(|&&(actor, hash)| {
                actor != self.local.actor && self.book.summary(actor, now_s) != hash
            });
            let actors = differing
                .take(DIGESTS_ANSWERED_MAX)
                .map(|&(actor, _)| actor)
                .collect();
            if let Some(link) = self.link_mut(index) {
                link.digests = actors;
            }
        }
        while self.may_synchronize()
            && let Some(actor) = self
                .link_mut(index)
                .and_then(|link| link.digests.pop_front())
        {
            for digest in self.digests_of(actor, now_s) {
                let load = Load::new(Kind::Sync, Cargo::Gossip);
                self.send(now, &[index], load, out, |buffer| digest.write(buffer));
            }
        }
    }

    /// What is known of an actor that cannot speak for itself, as much as fits in each datagram.
    fn digests_of(&self, actor_id: u64, now_s: u64) -> Vec<Digest> {
        let actor = self.book.actor(actor_id);
        let groups = actor
            .map(|actor| self.book.digest(actor, now_s))
            .unwrap_or_default();
        let of = |groups: &[DigestGroup], both_ways| Digest {
            both_ways,
            actor: actor_id,
            groups: groups.to_vec(),
        };
        let groups_max = self.digest_groups_max();
        if groups.len() <= groups_max {
            return vec![of(&groups, true)];
        }
        // Each is a part: none says what this node lacks, which the receiver finds out by its own summary.
        groups
            .chunks(groups_max)
            .map(|groups| of(groups, false))
            .collect()
    }

    /// Actors with counts, or that were peers, that were not heard from lately.
    fn silent_actors(&self, now: Now) -> Vec<u64> {
        let patience_us = SILENT_US.max(3 * self.heartbeat_interval_us());
        let is_silent = |actor: u64| {
            let link = self
                .by_actor
                .get(&actor)
                .and_then(|&index| self.link(index));
            link.is_none_or(|link| {
                !link.is_up
                    || link.heard_us.is_none_or(|heard_us| {
                        now.monotonic_us.saturating_sub(heard_us) > patience_us
                    })
            })
        };
        let counted = self.book.actors().map(|(_, id)| id);
        let members = self.links.iter().filter(|link| link.is_up);
        let mut silent: Vec<u64> = counted
            .chain(members.map(|link| link.actor))
            .filter(|&actor| actor != self.local.actor && is_silent(actor))
            .collect();
        silent.sort_unstable();
        silent.dedup();
        silent
    }
}
