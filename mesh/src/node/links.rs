//! Members come and go.

use std::net::SocketAddr;

use hivemind_shared::region::FORGIVEN_ID;

use super::Mesh;
use crate::drops::DropCause;
use crate::flights::LinkIndex;
use crate::link::{Link, Sync};
use crate::membership::{Event, Member};
use crate::outbox::Outbox;
use crate::wire::Kind;
use crate::wire::sections::MEMBERSHIP;
use crate::wire::writer::section;

/// Peers that are kept track of at most, those that are gone included.
pub(super) const LINKS_MAX: usize = 1_024;

impl Mesh {
    /// Sends what the membership has to say, and takes in what it found out.
    pub(super) fn flush_membership(&mut self, out: &mut Outbox) {
        let mut said = std::mem::take(&mut self.said);
        // An actor that lived here before this one is thought to be reached here for a while.
        let here = self.local.address;
        for (to, payload) in said.messages().filter(|(to, _)| *to != here) {
            self.send_loose(Kind::Membership, to, out, |buffer| {
                section(buffer, MEMBERSHIP, |buffer| {
                    buffer.extend_from_slice(payload);
                });
            });
        }
        for event in said.events.drain(..) {
            match event {
                Event::Up(member) => self.note_up(member),
                Event::Down(member) => self.note_down(member.actor),
                // Others thought that this node was gone: what they have is not known.
                Event::Rejoined(_) => {
                    for link in &mut self.links {
                        link.sync = Sync::Unknown;
                    }
                }
            }
        }
        said.clear();
        self.said = said;
    }

    fn note_up(&mut self, member: Member) {
        if member.address == self.local.address || member.actor == FORGIVEN_ID {
            return;
        }
        let Some(index) = self.link_or_new(member) else {
            return self.drops.add(DropCause::TooManyActors);
        };
        let Some(link) = self.link_mut(index) else {
            return;
        };
        link.address = member.address;
        let is_new = !link.is_up || link.incarnation < member.incarnation;
        link.incarnation = link.incarnation.max(member.incarnation);
        link.is_up = true;
        self.find_up();
        if is_new {
            self.start_over(index);
        }
    }

    /// Notes anew who is a member.
    fn find_up(&mut self) {
        let links = self.links.iter().enumerate();
        self.up = links
            .filter(|(_, link)| link.is_up)
            .map(|(place, _)| LinkIndex(place))
            .collect();
    }

    fn note_down(&mut self, actor: u64) {
        if let Some(&index) = self.by_actor.get(&actor) {
            if let Some(link) = self.link_mut(index) {
                link.is_up = false;
            }
            self.find_up();
            self.start_over(index);
            self.probe.forget(index);
            self.join.forget(index);
        }
    }

    /// What a peer has is not known any more, and nothing on its way to it matters.
    pub(super) fn start_over(&mut self, index: LinkIndex) {
        self.flights.forget(index);
        if let Some(link) = self.link_mut(index) {
            link.start_over();
        }
    }

    fn link_or_new(&mut self, member: Member) -> Option<LinkIndex> {
        if let Some(&index) = self.by_actor.get(&member.actor) {
            return Some(index);
        }
        let link = Link::new(member.actor, member.incarnation, member.address);
        let index = if self.links.len() < LINKS_MAX {
            self.links.push(link);
            LinkIndex(self.links.len() - 1)
        } else {
            // In the place of the one that is gone for longest.
            let gone = self
                .links
                .iter()
                .enumerate()
                .filter(|(_, link)| !link.is_up);
            let (place, _) = gone.min_by_key(|(_, link)| link.heard_us)?;
            let index = LinkIndex(place);
            self.start_over(index);
            let old = std::mem::replace(&mut self.links[place], link);
            self.by_actor.remove(&old.actor);
            index
        };
        self.by_actor.insert(member.actor, index);
        Some(index)
    }

    /// Says hello to an address.
    pub(super) fn send_hello(&mut self, to: SocketAddr, wants_answer: bool, out: &mut Outbox) {
        let hello = self.hello(wants_answer);
        self.send_loose(Kind::Hello, to, out, |buffer| hello.write(buffer));
    }
}
