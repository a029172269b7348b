//! Finding out what peers lack, and what this node lacks: sums of counts are compared, and what differs
//! is asked for.
//!
//! When a peer appears, it gets the sums of what this node counted, and asks for what it lacks. The same
//! once in a while, so that whatever went wrong is mended.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::Mesh;
use super::send::Load;
use super::tick::keeps;
use crate::book::{OWN, is_near, part_of};
use crate::budget::Purpose;
use crate::flights::{Cargo, LinkIndex};
use crate::link::lookup::{Looked, Lookup};
use crate::link::{Asked, Sync};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::sections::{
    DIGEST_GROUP_BYTES, Digest, DigestGroup, GROUPS_MAX, PARTS, Want, WantGroup,
};
use crate::wire::{HEAD_BYTES, Kind, SECTION_HEAD_BYTES};

/// How often the sums of this node's counts go to a peer to which nothing is on its way, microseconds.
const QUIET_INTERVAL_US: u64 = 10_000_000;

/// How often they go to any peer.
const BUSY_INTERVAL_US: u64 = 60_000_000;

/// How long the same is not asked for again, microseconds.
const ASK_AGAIN_US: u64 = 3_000_000;

/// How long nothing is asked for after there was no room for a key, microseconds.
const FULL_US: u64 = 60_000_000;

/// Entries that are looked through in a tick for all peers together.
pub(super) const LOOKED_THROUGH_MAX: usize = 32_768;

/// Items that wait for a peer that asked for them, beyond which no more are looked up.
pub(super) const COPIES_MAX: usize = 16_384;

/// Questions that are remembered.
const ASKED_MAX: usize = 128;

/// Bytes of a digest before its groups.
const DIGEST_HEAD_BYTES: usize = SECTION_HEAD_BYTES + 1 + 8;

impl Mesh {
    /// Sends the sums of this node's counts to a peer, if it is time.
    pub(super) fn synchronize(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        let may_synchronize = self.may_synchronize();
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
        if !is_due || !may_synchronize {
            return;
        }
        let is_first = link.sync == Sync::Unknown;
        link.sync = Sync::Asked;
        link.sync_us = now.monotonic_us;
        let mut groups = self.book.digest(OWN, now.unix_s());
        if !is_first {
            // Of what changes now, some is always on its way: it would look as if the peer lacked it.
            let is_settled = |group: &DigestGroup| self.book.is_settled(OWN, group, now.unix_s());
            groups.retain(is_settled);
        }
        let digest = Digest {
            both_ways: false,
            actor: self.local.actor,
            groups,
        };
        // All groups there can be, three windows of each period in use, may take more than one datagram.
        let groups_max = self.digest_groups_max();
        let chunks = digest
            .groups
            .chunks(groups_max)
            .map(<[DigestGroup]>::to_vec);
        let chunks: Vec<_> = chunks.collect();
        for groups in chunks {
            let digest = Digest { groups, ..digest };
            let cargo = Cargo::Digest;
            self.send(now, &[index], Load::new(Kind::Sync, cargo), out, |buffer| {
                digest.write(buffer);
            });
        }
        if digest.groups.is_empty()
            && let Some(link) = self.link_mut(index)
        {
            link.sync = Sync::Known;
        }
    }

    /// Whether anything may be sent at present that others could make this node send.
    pub(super) fn may_synchronize(&self) -> bool {
        self.budget.is_open(Purpose::Copies)
    }

    pub(super) fn digest_groups_max(&self) -> usize {
        let room = self.body_bytes_max().saturating_sub(DIGEST_HEAD_BYTES);
        (room / DIGEST_GROUP_BYTES).max(1)
    }

    pub(super) fn body_bytes_max(&self) -> usize {
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
        let has_room = self
            .no_room_us
            .is_none_or(|full_us| now.monotonic_us.saturating_sub(full_us) > FULL_US);
        let known = self
            .book
            .actor(digest.actor)
            .map(|actor| self.book.digest(actor, now_s))
            .unwrap_or_default();
        let mut groups = Vec::new();
        for theirs in &digest.groups {
            let is_kept = keeps(&self.periods, theirs.period);
            if !is_kept || !is_near(theirs.period, theirs.window, now_s) {
                continue;
            }
            let is_same =
                |ours: &&DigestGroup| ours.period == theirs.period && ours.window == theirs.window;
            let ours = known
                .iter()
                .find(is_same)
                .map_or([0; PARTS], |ours| ours.sums);
            let parts = differing(&ours, &theirs.sums);
            let is_asked = groups.iter().any(|group: &WantGroup| {
                group.period == theirs.period && group.window == theirs.window
            });
            if parts != 0 && !is_asked && !self.asked_lately(now, index, digest.actor, theirs) {
                groups.push(WantGroup {
                    period: theirs.period,
                    window: theirs.window,
                    parts,
                });
            }
        }
        let mut theirs_lack = groups.clone();
        let unlisted = known.iter().filter(|ours| {
            let listed =
                |theirs: &DigestGroup| theirs.period == ours.period && theirs.window == ours.window;
            !digest.groups.iter().any(listed)
        });
        theirs_lack.extend(unlisted.map(|ours| WantGroup {
            period: ours.period,
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
        // What there was no room for lately is not asked for.
        if !groups.is_empty() && has_room {
            link.note_ask(Want {
                actor: digest.actor,
                groups,
            });
        }
    }

    /// Whether the very same was asked for a short while ago; if not, it is noted. What is different
    /// after an answer, because one side cannot take in what the other has, is not asked for at every word.
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
            group: (group.period.code(), group.window),
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
        while self.may_synchronize()
            && let Some(want) = self.link_mut(index).and_then(|link| link.asks.pop_front())
        {
            let cargo = Cargo::Want(want.clone());
            self.send(now, &[index], Load::new(Kind::Sync, cargo), out, |buffer| {
                want.write(buffer);
            });
        }
    }

    /// Looks up what peers want, in turn: for each a part of one question, or of one actor of a snapshot, and no
    /// more than so many entries in all.
    pub(super) fn look_up(&mut self, now: Now) {
        let turn = usize::try_from(self.ticks).unwrap_or(0);
        let count = self.links.len();
        let mut left = LOOKED_THROUGH_MAX;
        for step in 0..count {
            let index = LinkIndex(turn.wrapping_add(step) % count);
            self.begin_lookup(now, index);
            left = self.go_on_with_lookup(now, index, left);
            if left == 0 {
                return;
            }
        }
    }

    fn begin_lookup(&mut self, now: Now, index: LinkIndex) {
        let now_s = now.unix_s();
        let Some(link) = self.links.get_mut(index.0) else {
            return;
        };
        if link.lookup.is_some() {
            return;
        }
        let Some(want) = link.wants.pop_front() else {
            return self.go_on_with_snapshot(index);
        };
        let Some(actor) = self.book.actor(want.actor) else {
            return;
        };
        let mut groups: Vec<_> = want.groups;
        groups.retain(|group| {
            let there = self.book.group(actor, group.period, group.window);
            there.is_some() && is_near(group.period, group.window, now_s)
        });
        groups.sort_unstable_by_key(|group| (group.period, group.window));
        groups.dedup_by(|next, first| {
            let is_same = (next.period, next.window) == (first.period, first.window);
            first.parts |= if is_same { next.parts } else { 0 };
            is_same
        });
        if !groups.is_empty() {
            link.lookup = Some(Lookup::new(want.actor, Looked::Groups(groups)));
        }
    }

    /// Goes on with what is looked up for a peer; returns how many more entries may be looked through.
    fn go_on_with_lookup(&mut self, now: Now, index: LinkIndex, left: usize) -> usize {
        let Self { links, book, .. } = self;
        let Some(link) = links.get_mut(index.0) else {
            return left;
        };
        if link.backlog.copies() >= COPIES_MAX {
            return left;
        }
        let Some(lookup) = link.lookup.take() else {
            return left;
        };
        let Some(actor) = book.actor(lookup.actor) else {
            return left;
        };
        let places = left.min(COPIES_MAX);
        let (entries, next) = book.part(lookup.from, places);
        for (id, entry) in entries {
            let part = 1_u16 << part_of(entry.key.fingerprint);
            let is_wanted = entry.halves.iter().any(|half| {
                let Some(window) = half.window else {
                    return false;
                };
                let is_asked_for = match &lookup.what {
                    Looked::All => half.is_near(&entry.key, now.unix_s()),
                    Looked::Groups(groups) => {
                        let place = (entry.key.period, window);
                        let found =
                            groups.binary_search_by_key(&place, |it| (it.period, it.window));
                        found.is_ok_and(|found| groups[found].parts & part != 0)
                    }
                };
                is_asked_for && half.of_actor(actor) > 0
            });
            if is_wanted {
                link.backlog.push_copy((actor, id));
            }
        }
        let end = next.unwrap_or_else(|| book.places());
        let looked_through = end.saturating_sub(lookup.from).max(1);
        if let Some(from) = next {
            link.lookup = Some(Lookup { from, ..lookup });
        }
        left.saturating_sub(looked_through)
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
