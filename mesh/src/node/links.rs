//! Members come and go.

use std::net::SocketAddr;

use hivemind_shared::region::FORGIVEN_ID;

use super::Mesh;
use crate::drops::DropCause;
use crate::flights::LinkIndex;
use crate::link::{Link, Sync};
use crate::membership::{Event, Member};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::Kind;
use crate::wire::sections::MEMBERSHIP;
use crate::wire::writer::section;

/// Peers that are kept track of at most, those that are gone included.
pub(super) const LINKS_MAX: usize = 1_024;

impl Mesh {
    /// Takes in what the membership has found out, and sends what it has to say. `sender` is the address of who
    /// has just spoken, if that may be answered.
    pub(super) fn flush_membership(
        &mut self,
        now: Now,
        sender: Option<SocketAddr>,
        out: &mut Outbox,
    ) {
        let mut said = std::mem::take(&mut self.said);
        let mut started_over = Vec::new();
        for event in said.events.drain(..) {
            match event {
                Event::Up(member) => {
                    let new = self.note_up(member);
                    if new.is_some() {
                        self.names.ask_anew();
                    }
                    started_over.extend(new);
                }
                Event::Down(member) => started_over.extend(self.note_down(member.actor)),
                // Others thought that this node was gone: what they have is not known.
                Event::Rejoined(_) => {
                    for link in &mut self.links {
                        link.sync = Sync::Unknown;
                    }
                }
            }
        }
        self.find_up();
        self.start_over(started_over);
        // An actor that lived here before this one is thought to be reached here for a while.
        let here = self.local.address;
        for (to, payload) in said.messages().filter(|(to, _)| *to != here) {
            let is_known = sender == Some(to) || self.is_member_at(to);
            if !is_known && !self.may_send_to_stranger(now) {
                continue;
            }
            self.send_loose(Kind::Membership, to, out, |buffer| {
                section(buffer, MEMBERSHIP, |buffer| {
                    buffer.extend_from_slice(payload);
                });
            });
        }
        said.clear();
        self.said = said;
    }

    /// Whether a member is known to be at an address: it was heard from there.
    pub(super) fn is_member_at(&self, address: SocketAddr) -> bool {
        let mut up = self.up.iter().filter_map(|&index| self.link(index));
        up.any(|link| link.is_there && link.address == address)
    }

    /// Whether something may be sent at present to an address at which no member is known to be. What is said in
    /// datagrams would else make this node send to anybody.
    pub(super) fn may_send_to_stranger(&mut self, now: Now) -> bool {
        let may = self.strangers.take(now.monotonic_us, 1);
        if !may {
            self.drops.add(DropCause::Throttled);
        }
        may
    }

    fn note_up(&mut self, member: Member) -> Option<LinkIndex> {
        if member.address == self.local.address || member.actor == FORGIVEN_ID {
            return None;
        }
        let Some(index) = self.link_or_new(member) else {
            self.drops.add(DropCause::TooManyActors);
            return None;
        };
        let link = self.link_mut(index)?;
        link.is_there &= is_same_host(link.address, member.address);
        link.address = member.address;
        let is_new = !link.is_up || link.incarnation < member.incarnation;
        link.incarnation = link.incarnation.max(member.incarnation);
        if !link.is_up || is_new {
            link.said_goodbye = false;
        }
        link.is_up = true;
        self.expect(member.address);
        is_new.then_some(index)
    }

    /// Expects a peer at an address, and after very many no more at those that no peer has any longer.
    fn expect(&mut self, address: SocketAddr) {
        if !self.refusals.expect(address) {
            let addresses = self.links.iter().map(|link| link.address);
            self.refusals.expect_only(addresses);
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

    fn note_down(&mut self, actor: u64) -> Option<LinkIndex> {
        let index = self.by_actor.get(&actor).copied()?;
        if let Some(link) = self.link_mut(index) {
            link.is_up = false;
        }
        self.probe.forget(index);
        self.join.forget(index);
        Some(index)
    }

    /// What peers have is not known any more, and nothing on its way to them matters.
    pub(super) fn start_over(&mut self, mut indices: Vec<LinkIndex>) {
        indices.sort_unstable();
        indices.dedup();
        self.flights.forget(&indices);
        for index in indices {
            if let Some(link) = self.link_mut(index) {
                link.start_over();
            }
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
            self.start_over(vec![index]);
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

/// Whether two addresses are of one host. Ports may differ: some are translated on the way.
pub(super) fn is_same_host(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip().to_canonical() == other.ip().to_canonical()
}
