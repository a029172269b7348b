//! Finding out what peers lack, and what this node lacks: sums of counts are compared, and what differs
//! is asked for.
//!
//! * When a peer appears, it gets the sums of what this node counted, and asks for what it lacks. The same
//!   once in a while, so that whatever went wrong is mended.
//! * Of actors that cannot speak for themselves, nodes compare the sums with each other, at random.
//! * A joining node asks one peer for everything it knows.

use std::hash::Hasher;

use rand::RngExt;
use siphasher::sip::SipHasher13;

use super::Mesh;
use crate::book::{OWN, is_near, part_of};
use crate::flights::{Cargo, LinkIndex};
use crate::link::{Asked, Sync};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::sections::{
    DIGEST_GROUP_BYTES, Digest, DigestGroup, GROUPS_MAX, PARTS, SNAPSHOT_END, SNAPSHOT_REQUEST,
    Want, WantGroup, write_number,
};
use crate::wire::{HEAD_BYTES, Kind, SECTION_HEAD_BYTES};

/// How often the sums of this node's counts go to a peer to which nothing is on its way, microseconds.
const QUIET_INTERVAL_US: u64 = 10_000_000;

/// How often they go to any peer.
const BUSY_INTERVAL_US: u64 = 60_000_000;

/// How long the same is not asked for again, microseconds.
const ASK_AGAIN_US: u64 = 30_000_000;

/// Questions that are remembered.
const ASKED_MAX: usize = 128;

/// An actor that was not heard from for this long cannot speak for itself, microseconds.
const SILENT_US: u64 = 2_000_000;

/// Bytes of a digest before its groups.
const DIGEST_HEAD_BYTES: usize = SECTION_HEAD_BYTES + 1 + 8;

impl Mesh {
    /// Sends the sums of this node's counts to a peer, if it is time.
    pub(super) fn synchronize(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        let Some(link) = self.link_mut(index) else {
            return;
        };
        let elapsed_us = now.monotonic_us.saturating_sub(link.sync_us);
        let is_due = match link.sync {
            Sync::Unknown => true,
            Sync::Asked => false,
            Sync::Known if link.is_quiet() => elapsed_us >= QUIET_INTERVAL_US,
            Sync::Known => elapsed_us >= BUSY_INTERVAL_US,
        };
        if !is_due {
            return;
        }
        link.sync = Sync::Asked;
        link.sync_us = now.monotonic_us;
        let digest = Digest {
            both_ways: false,
            actor: self.local.actor,
            groups: self.book.digest(OWN, now.unix_s()),
        };
        // All groups there can be, three windows of each of seven units, take more than one datagram.
        let groups_max = self.digest_groups_max();
        let chunks = digest
            .groups
            .chunks(groups_max)
            .map(<[DigestGroup]>::to_vec);
        let chunks: Vec<_> = chunks.collect();
        for groups in chunks {
            let digest = Digest { groups, ..digest };
            let cargo = Cargo::Digest;
            self.send(now, Kind::Sync, &[index], cargo, 0, out, |buffer| {
                digest.write(buffer);
            });
        }
        if digest.groups.is_empty()
            && let Some(link) = self.link_mut(index)
        {
            link.sync = Sync::Known;
        }
    }

    fn digest_groups_max(&self) -> usize {
        let room = self.body_bytes_max().saturating_sub(DIGEST_HEAD_BYTES);
        (room / DIGEST_GROUP_BYTES).max(1)
    }

    fn body_bytes_max(&self) -> usize {
        let overhead = crate::seal::OVERHEAD_BYTES + HEAD_BYTES;
        self.settings.datagram_bytes_max.saturating_sub(overhead)
    }

    /// Compares a peer's sums with what is known here.
    pub(super) fn receive_digest(&mut self, now: Now, index: LinkIndex, digest: Digest) {
        let is_joined = self.is_joined();
        let Some(link) = self.link_mut(index) else {
            return;
        };
        if !is_joined && digest.actor == link.actor {
            // Most of it will come with the snapshot.
            let early = link.early_digest.get_or_insert_default();
            let room = GROUPS_MAX.saturating_sub(early.len());
            early.extend(digest.groups.into_iter().take(room));
            return;
        }
        self.compare(now, index, &digest);
    }

    fn compare(&mut self, now: Now, index: LinkIndex, digest: &Digest) {
        if digest.actor == self.local.actor {
            // This node knows best what it counted, and says so by itself.
            return;
        }
        let now_s = now.unix_s();
        let known = self
            .book
            .actor(digest.actor)
            .map(|actor| self.book.digest(actor, now_s))
            .unwrap_or_default();
        let mut groups = Vec::new();
        for theirs in &digest.groups {
            if !is_near(theirs.unit, theirs.window, now_s) {
                continue;
            }
            let is_same =
                |ours: &&DigestGroup| ours.unit == theirs.unit && ours.window == theirs.window;
            let ours = known
                .iter()
                .find(is_same)
                .map_or([0; PARTS], |ours| ours.sums);
            let parts = differing(&ours, &theirs.sums);
            let is_asked = groups.iter().any(|group: &WantGroup| {
                group.unit == theirs.unit && group.window == theirs.window
            });
            if parts != 0 && !is_asked && !self.asked_lately(now, index, digest.actor, theirs) {
                groups.push(WantGroup {
                    unit: theirs.unit,
                    window: theirs.window,
                    parts,
                });
            }
        }
        let mut theirs_lack = groups.clone();
        let unlisted = known.iter().filter(|ours| {
            let listed =
                |theirs: &DigestGroup| theirs.unit == ours.unit && theirs.window == ours.window;
            !digest.groups.iter().any(listed)
        });
        theirs_lack.extend(unlisted.map(|ours| WantGroup {
            unit: ours.unit,
            window: ours.window,
            parts: differing(&[0; PARTS], &ours.sums),
        }));
        let Some(link) = self.link_mut(index) else {
            return;
        };
        if digest.both_ways && !theirs_lack.is_empty() {
            link.note_want(Want {
                actor: digest.actor,
                groups: theirs_lack,
            });
        }
        if !groups.is_empty() {
            link.note_ask(Want {
                actor: digest.actor,
                groups,
            });
        }
    }

    /// Whether the very same was asked for a short while ago; if not, it is noted. What is different
    /// after an answer, because one side cannot take in what the other has, is not asked for for ever.
    fn asked_lately(
        &mut self,
        now: Now,
        index: LinkIndex,
        actor: u64,
        group: &DigestGroup,
    ) -> bool {
        let Some(link) = self.link_mut(index) else {
            return true;
        };
        let mut hasher = SipHasher13::new();
        for sum in group.sums {
            hasher.write_u32(sum);
        }
        let asked = Asked {
            actor,
            group: (group.unit.code(), group.window),
            sums_hash: hasher.finish(),
            until_us: now.monotonic_us.saturating_add(ASK_AGAIN_US),
        };
        let is_same = |there: &Asked| {
            (there.actor, there.group, there.sums_hash)
                == (asked.actor, asked.group, asked.sums_hash)
        };
        if let Some(there) = link.asked.iter_mut().find(|there| is_same(there)) {
            if there.until_us > now.monotonic_us {
                return true;
            }
            there.until_us = asked.until_us;
            return false;
        }
        if link.asked.len() >= ASKED_MAX {
            link.asked.pop_front();
        }
        link.asked.push_back(asked);
        false
    }

    /// Sends this node's questions to a peer.
    pub(super) fn send_asks(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        if self.is_joined()
            && let Some(link) = self.link_mut(index)
            && let Some(groups) = link.early_digest.take()
        {
            let actor = link.actor;
            let digest = Digest {
                both_ways: false,
                actor,
                groups,
            };
            self.compare(now, index, &digest);
        }
        while let Some(want) = self.link_mut(index).and_then(|link| link.asks.pop_front()) {
            let cargo = Cargo::Want(want.clone());
            self.send(now, Kind::Sync, &[index], cargo, 0, out, |buffer| {
                want.write(buffer);
            });
        }
    }

    /// Looks up what one peer wants: one question at a call, for it looks through all keys.
    pub(super) fn answer_wants(&mut self, now: Now) {
        let turn = usize::try_from(self.ticks).unwrap_or(0);
        let count = self.links.len();
        let asking = (0..count)
            .map(|step| (turn.wrapping_add(step)) % count)
            .find(|&place| !self.links[place].wants.is_empty());
        let Some(place) = asking else { return };
        let Self { links, book, .. } = self;
        let Some(link) = links.get_mut(place) else {
            return;
        };
        let Some(want) = link.wants.pop_front() else {
            return;
        };
        let Some(actor) = book.actor(want.actor) else {
            return;
        };
        for (id, entry) in book.iter() {
            let part = 1_u16 << part_of(entry.key.fingerprint);
            let is_wanted = want.groups.iter().any(|group| {
                group.unit == entry.key.unit
                    && group.parts & part != 0
                    && is_near(group.unit, group.window, now.unix_s())
                    && entry
                        .half(group.window)
                        .is_some_and(|half| half.of_actor(actor) > 0)
            });
            if is_wanted {
                link.backlog.push_copy((actor, id));
            }
        }
    }

    /// Asks for a snapshot, if one is wanted.
    pub(super) fn request_snapshot(&mut self, now: Now, out: &mut Outbox) {
        let timeout_us = self.settings.snapshot_timeout_us;
        let up: Vec<LinkIndex> = self.up().collect();
        let Self { join, random, .. } = self;
        let request = join.tick(now.monotonic_us, timeout_us, || {
            (!up.is_empty()).then(|| up[random.random_range(0..up.len())])
        });
        if let Some(request) = request {
            self.send_snapshot_request(now, request.to, request.number, out);
        }
    }

    pub(super) fn send_snapshot_request(
        &mut self,
        now: Now,
        to: LinkIndex,
        number: u64,
        out: &mut Outbox,
    ) {
        let cargo = Cargo::SnapshotRequest;
        self.send(now, Kind::Sync, &[to], cargo, 0, out, |buffer| {
            write_number(buffer, SNAPSHOT_REQUEST, number);
        });
    }

    pub(super) fn receive_snapshot_request(&mut self, now: Now, index: LinkIndex, number: u64) {
        let Self { links, book, .. } = self;
        let Some(link) = links.get_mut(index.0) else {
            return;
        };
        if link.snapshot == Some(number) {
            return;
        }
        link.snapshot = Some(number);
        let mut items = Vec::new();
        for (id, entry) in book.iter() {
            for half in &entry.halves {
                if half.is_near(&entry.key, now.unix_s()) {
                    items.extend(half.counts().map(|(actor, _)| (actor, id)));
                }
            }
        }
        // One actor after the other: a section is about one.
        items.sort_unstable();
        items.dedup();
        let own_of_peer = book.actor(link.actor);
        for item in items {
            if Some(item.0) != own_of_peer {
                link.backlog.push_copy(item);
            }
        }
    }

    /// Says that a snapshot is complete, once all of it has arrived.
    pub(super) fn send_snapshot_end(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        let Self { links, flights, .. } = self;
        let Some(link) = links.get_mut(index.0) else {
            return;
        };
        if link.snapshot.is_some()
            && link.backlog.has_no_copies()
            && !flights.carry_copies(index)
            && let Some(number) = link.snapshot.take()
        {
            let cargo = Cargo::SnapshotEnd(number);
            self.send(now, Kind::Sync, &[index], cargo, 0, out, |buffer| {
                write_number(buffer, SNAPSHOT_END, number);
            });
        }
    }

    pub(super) fn receive_snapshot_end(&mut self, _now: Now, index: LinkIndex, number: u64) {
        self.join.note_end(index, number);
    }

    /// Sends one peer the sums of counts of actors that cannot do so themselves.
    pub(super) fn gossip(&mut self, now: Now, out: &mut Outbox) {
        let up: Vec<LinkIndex> = self.up().collect();
        if up.is_empty() {
            return;
        }
        let to = up[self.random.random_range(0..up.len())];
        let silent = self.silent_actors(now);
        let groups_max = self.digest_groups_max();
        let mut room = self.body_bytes_max();
        let mut datagrams: Vec<Vec<Digest>> = vec![Vec::new()];
        // From where the last one ended on, so that each has its turn.
        let from = self.gossip_from;
        let (before, after): (Vec<u64>, Vec<u64>) = silent.iter().partition(|&&id| id < from);
        for actor_id in after.into_iter().chain(before) {
            let groups = self
                .book
                .actor(actor_id)
                .map(|actor| self.book.digest(actor, now.unix_s()))
                .unwrap_or_default();
            if groups.len() > groups_max {
                // It has datagrams of its own. None says what the receiver has and this node lacks: the
                // receiver's own gossip does.
                datagrams.extend(groups.chunks(groups_max).map(|groups| {
                    vec![Digest {
                        both_ways: false,
                        actor: actor_id,
                        groups: groups.to_vec(),
                    }]
                }));
                self.gossip_from = actor_id.wrapping_add(1);
                break;
            }
            let bytes = DIGEST_HEAD_BYTES + groups.len() * DIGEST_GROUP_BYTES;
            if bytes > room {
                break;
            }
            room -= bytes;
            self.gossip_from = actor_id.wrapping_add(1);
            datagrams[0].push(Digest {
                both_ways: true,
                actor: actor_id,
                groups,
            });
        }
        for digests in datagrams.iter().filter(|digests| !digests.is_empty()) {
            let cargo = Cargo::Gossip;
            self.send(now, Kind::Sync, &[to], cargo, 0, out, |buffer| {
                digests.iter().for_each(|digest| digest.write(buffer));
            });
        }
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

/// Which sums differ, one bit each.
fn differing(ours: &[u32; PARTS], theirs: &[u32; PARTS]) -> u16 {
    ours.iter()
        .zip(theirs)
        .enumerate()
        .filter(|(_, (ours, theirs))| ours != theirs)
        .fold(0, |parts, (part, _)| parts | 1 << part)
}
