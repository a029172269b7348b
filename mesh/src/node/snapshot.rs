//! Everything a node knows, for one that joins.

use rand::RngExt;

use super::Mesh;
use super::send::Load;
use crate::flights::{Cargo, LinkIndex};
use crate::link::Snapshot;
use crate::link::lookup::{Looked, Lookup};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::Kind;
use crate::wire::sections::{SnapshotEnd, write_snapshot_request};

impl Mesh {
    /// Begins to look up the next actor's counts for a peer that asked for everything.
    pub(super) fn go_on_with_snapshot(&mut self, index: LinkIndex) {
        let Self { links, book, .. } = self;
        let Some(link) = links.get_mut(index.0) else {
            return;
        };
        if !link.is_up || !link.backlog.has_no_copies() {
            return;
        }
        let Some(snapshot) = &mut link.snapshot else {
            return;
        };
        let Some(next) = snapshot.next else {
            return;
        };
        let peer = link.actor;
        let found = book.actors().find(|&(_, id)| id >= next && id != peer);
        let Some((_, id)) = found else {
            snapshot.next = None;
            return;
        };
        snapshot.next = id.checked_add(1);
        link.lookup = Some(Lookup::new(id, Looked::All));
    }

    /// Asks for a snapshot, if one is wanted.
    pub(super) fn request_snapshot(&mut self, now: Now, out: &mut Outbox) {
        let timeout_us = self.settings.snapshot_timeout_us;
        let Self {
            join, random, up, ..
        } = self;
        let request = join.tick(now.monotonic_us, timeout_us, up, |count| {
            random.random_range(0..count)
        });
        if let Some(request) = request {
            let cargo = Cargo::SnapshotRequest;
            self.send(
                now,
                &[request.to],
                Load::new(Kind::Sync, cargo),
                out,
                |buffer| {
                    write_snapshot_request(buffer, request.number);
                },
            );
        }
    }

    /// Notes that a peer wants everything that is known here; it is looked up little by little.
    pub(super) fn receive_snapshot_request(&mut self, index: LinkIndex, number: u64) {
        if let Some(link) = self.link_mut(index)
            && link
                .snapshot
                .is_none_or(|snapshot| snapshot.number != number)
        {
            link.snapshot = Some(Snapshot {
                number,
                next: Some(0),
            });
        }
    }

    /// Says that a snapshot is complete, once it has arrived.
    pub(super) fn send_snapshot_end(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        let joining = !self.is_joined();
        let Some(link) = self.link_mut(index) else {
            return;
        };
        let is_looked_up = link.lookup.is_none();
        let is_sent = is_looked_up && link.backlog.has_no_copies() && link.alone_in_flight == 0;
        if is_sent && let Some(Snapshot { number, next: None }) = link.snapshot {
            link.snapshot = None;
            let cargo = Cargo::SnapshotEnd(number);
            let end = SnapshotEnd { number, joining };
            self.send(now, &[index], Load::new(Kind::Sync, cargo), out, |buffer| {
                end.write(buffer);
            });
        }
    }
}
