//! Counts to one peer alone: what was lost on the way to it, and what it lacks from before.

use super::Mesh;
use super::send::Load;
use crate::book::OWN;
use crate::budget::Purpose;
use crate::flights::{Cargo, LinkIndex};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::Kind;
use crate::wire::counts::{Entry, Head, Pack};

/// Datagrams with counts to one peer alone that may be on their way at once.
const IN_FLIGHT_MAX: usize = 64;

impl Mesh {
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
        let mut pack = std::mem::replace(&mut self.pack, Pack::new(0));
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
}
