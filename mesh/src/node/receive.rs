//! Taking datagrams in.

use std::net::SocketAddr;

use hivemind_shared::region::FORGIVEN_ID;
use hivemind_shared::table::words::low_half;

use super::Mesh;
use super::links::is_same_host;
use super::tick::keeps;
use crate::book::{FORGIVEN, KeyId, Merged, OWN};
use crate::counters::Counters;
use crate::drops::DropCause;
use crate::flights::{Cargo, LinkIndex};
use crate::link::{Link, Snapshot};
use crate::membership::{self, MalformedPayload, Member};
use crate::outbox::Outbox;
use crate::refusals::RefusalCause;
use crate::seal::SenderId;
use crate::time::Now;
use crate::wire::sections::{self, Ack, Digest, Heartbeat, Hello, SnapshotEnd, Summary, Want};
use crate::wire::{Body, Kind, Malformed, Section, counts, names};

/// How often a stranger is greeted, microseconds.
const GREETING_US: u64 = 500_000;

/// Who sent a datagram, and how it came.
#[derive(Clone, Copy)]
struct Envelope {
    sender: SenderId,
    from: SocketAddr,
    link: Option<LinkIndex>,
}

impl Mesh {
    /// Takes a datagram in. It is opened in place.
    pub fn receive(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &mut [u8],
        counters: &mut impl Counters,
        out: &mut Outbox,
    ) {
        // Before anything takes the place of what mattered by the clock from before.
        self.notice_clock_steps(now, counters);
        let bytes = datagram.len();
        let opened = match self.opener.open(now, datagram) {
            Ok(opened) => opened,
            Err(cause) => {
                if let Some(cause) = RefusalCause::of(cause) {
                    self.refusals.note(now.monotonic_us, from, cause);
                }
                return self.drops.add(cause);
            }
        };
        let sender = opened.sender;
        if sender.actor == self.local.actor {
            let cause = RefusalCause::SameActor;
            self.refusals.note(now.monotonic_us, from, cause);
            return self.drops.add(DropCause::FromSelf);
        }
        self.refusals.note_opened(from);
        if sender.actor == FORGIVEN_ID {
            return self.drops.add(DropCause::BadContent);
        }
        let Ok(body) = Body::parse(opened.body) else {
            return self.drops.add(DropCause::BadContent);
        };
        self.traffic.note_received(body.kind, bytes);
        let link = self.by_actor.get(&sender.actor).copied();
        if let Some(index) = link {
            self.note_heard(now, index, (sender, from), bytes);
            if body.acknowledge
                && let Some(link) = self.link_mut(index)
            {
                link.note_arrival(opened.sequence, now.monotonic_us);
            }
        }
        if link.is_none() && body.kind != Some(Kind::Hello) {
            self.greet(now, from, out);
        }
        let envelope = Envelope { sender, from, link };
        // One datagram is not to make work, or answers, for many.
        let mut seen = [false; 256];
        for section in body.sections() {
            let read = section.and_then(|section| {
                let is_again = std::mem::replace(&mut seen[usize::from(section.code)], true);
                if is_again {
                    return Ok(());
                }
                self.read_section(now, envelope, section, counters, out)
            });
            if read.is_err() {
                return self.drops.add(DropCause::BadContent);
            }
        }
    }

    /// Says hello to a member of the cluster that takes this node for one it knows: before a restart it did
    /// so, and this run knows nobody yet. Not often, for a recorded datagram could have come from anywhere.
    fn greet(&mut self, now: Now, stranger: SocketAddr, out: &mut Outbox) {
        let is_due = self
            .greeted_us
            .is_none_or(|greeted_us| now.monotonic_us.saturating_sub(greeted_us) >= GREETING_US);
        if is_due {
            self.greeted_us = Some(now.monotonic_us);
            self.send_hello(stranger, true, out);
        }
    }

    /// Notes that a peer is there, and whether it is another run of its actor.
    fn note_heard(
        &mut self,
        now: Now,
        index: LinkIndex,
        (sender, from): (SenderId, SocketAddr),
        bytes: usize,
    ) {
        let Some(link) = self.link_mut(index) else {
            return;
        };
        link.heard_us = Some(now.monotonic_us);
        link.is_there |= is_same_host(from, link.address);
        link.received_datagrams += 1;
        link.received_bytes += bytes as u64;
        let is_new = link
            .session
            .is_some_and(|session| session != sender.session);
        link.session = Some(sender.session);
        if is_new {
            link.incarnation = link.incarnation.max(sender.incarnation);
            self.start_over(vec![index]);
        }
    }

    fn read_section(
        &mut self,
        now: Now,
        envelope: Envelope,
        section: Section<'_>,
        counters: &mut impl Counters,
        out: &mut Outbox,
    ) -> Result<(), Malformed> {
        let Section { code, content } = section;
        match (code, envelope.link) {
            (sections::HELLO, _) => {
                let hello = Hello::read(content)?;
                self.receive_hello(now, envelope, &hello, out);
            }
            (sections::MEMBERSHIP, _) => self.receive_membership(now, envelope, content, out)?,
            (counts::CODE, link) => {
                self.receive_counts(now, envelope.sender, link, content, counters)?;
            }
            (sections::ACK, Some(link)) => self.receive_ack(now, link, &Ack::read(content)?),
            (sections::HEARTBEAT, Some(index)) => {
                let heartbeat = Heartbeat::read(content)?;
                if let Some(link) = self.link_mut(index) {
                    link.name = heartbeat.name;
                }
            }
            (sections::RULES, Some(index)) => {
                let hash = sections::read_rules(content)?;
                if let Some(link) = self.link_mut(index) {
                    link.rules = Some(hash);
                }
            }
            (sections::GOODBYE, Some(index)) => {
                if let Some(link) = self.link_mut(index) {
                    link.said_goodbye = true;
                }
            }
            (sections::DIGEST, Some(link)) if self.is_up(link) => {
                self.receive_digest(now, link, Digest::read(content)?);
            }
            (sections::WANT, Some(index)) if self.is_up(index) => {
                let want = Want::read(content)?;
                if let Some(link) = self.link_mut(index) {
                    link.note_want(want);
                }
            }
            (sections::SUMMARY, Some(index)) if self.is_up(index) => {
                self.receive_summary(index, Summary::read(content)?);
            }
            (sections::SNAPSHOT_REQUEST, Some(index)) => {
                let number = sections::read_snapshot_request(content)?;
                self.receive_snapshot_request(index, number);
            }
            (sections::SNAPSHOT_END, Some(index)) => {
                let end = SnapshotEnd::read(content)?;
                self.join.note_end(index, end.number, end.joining);
            }
            (names::WANTED, Some(index)) if self.is_up(index) => {
                self.receive_wanted_names(index, names::read_wanted(content)?);
            }
            (names::NAMES, Some(index)) if self.is_up(index) => {
                self.receive_names(index, content, counters)?;
            }
            // Of a later version, or from somebody who is not a member yet.
            _ => {}
        }
        Ok(())
    }

    fn receive_hello(&mut self, now: Now, envelope: Envelope, hello: &Hello, out: &mut Outbox) {
        let Envelope { sender, link, .. } = envelope;
        if let Some(link) = link.and_then(|index| self.link_mut(index)) {
            link.name.clone_from(&hello.name);
        }
        if !self.may_answer(now, envelope, hello.address) {
            return;
        }
        let known = self.membership.member(sender.actor);
        if known.is_none_or(|member| member.incarnation < sender.incarnation) {
            let member = Member {
                actor: sender.actor,
                incarnation: sender.incarnation,
                address: hello.address,
            };
            let mut said = std::mem::take(&mut self.said);
            self.membership
                .announce(now.monotonic_us, member, &mut said);
            self.said = said;
            self.flush_membership(now, Some(hello.address), out);
        }
        if hello.wants_answer {
            self.send_hello(hello.address, false, out);
        }
    }

    /// Whether a sender may be answered where it says that it is reached: where its datagram came from, or where it
    /// is known to be. Anywhere else only now and then, for anybody might be there.
    fn may_answer(&mut self, now: Now, envelope: Envelope, address: SocketAddr) -> bool {
        let link = envelope.link.and_then(|index| self.link(index));
        let is_known = |link: &Link| link.is_up && link.is_there && link.address == address;
        is_same_host(envelope.from, address)
            || link.is_some_and(is_known)
            || self.may_send_to_stranger(now)
    }

    fn receive_membership(
        &mut self,
        now: Now,
        envelope: Envelope,
        payload: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Malformed> {
        let sender = membership::sender(payload).map_err(|_| Malformed)?;
        let is_it = sender.actor == envelope.sender.actor
            && sender.incarnation == envelope.sender.incarnation;
        if !is_it {
            return Err(Malformed);
        }
        if !self.may_answer(now, envelope, sender.address) {
            return Ok(());
        }
        let mut said = std::mem::take(&mut self.said);
        let read = self.membership.receive(now, payload, &mut said);
        self.said = said;
        self.flush_membership(now, Some(sender.address), out);
        match read {
            Ok(()) => Ok(()),
            Err(MalformedPayload::Ahead) => {
                self.drops.add(DropCause::IncarnationAhead);
                Ok(())
            }
            Err(MalformedPayload::TooMuch) => {
                self.drops.add(DropCause::Throttled);
                Ok(())
            }
            Err(_) => Err(Malformed),
        }
    }

    fn receive_counts(
        &mut self,
        now: Now,
        sender: SenderId,
        link: Option<LinkIndex>,
        content: &[u8],
        counters: &mut impl Counters,
    ) -> Result<(), Malformed> {
        let Self {
            book,
            drops,
            overshoot,
            local,
            links,
            by_actor,
            periods,
            ..
        } = self;
        let is_member = |actor: u64| {
            let link = by_actor.get(&actor).and_then(|index| links.get(index.0));
            link.is_some_and(|link| link.is_up)
        };
        let mut unsent: Vec<KeyId> = Vec::new();
        let now_s = now.unix_s();
        let head = counts::read(content, |head, entry| {
            let actor_id = head.actor.unwrap_or(sender.actor);
            if actor_id == local.actor {
                // This node knows best what it counted.
                return;
            }
            if !keeps(periods, entry.key.period) {
                return drops.add(DropCause::UnknownPeriod);
            }
            let Some(actor) = book.actor_or_new(actor_id, is_member(actor_id)) else {
                return drops.add(DropCause::TooManyActors);
            };
            match book.merge(now_s, actor, &entry.key, entry.window, entry.count) {
                Merged::News { key, growth } => {
                    let Some(known) = book.entry(key) else { return };
                    let half = known.half(entry.window);
                    let beside = half.map(|half| half.beside_local()).unwrap_or_default();
                    let window = entry.key.period.window(entry.window);
                    if known.has_unsent() {
                        unsent.push(key);
                    }
                    let put = if actor == FORGIVEN {
                        counters.put_forgiven(&entry.key, window, beside)
                    } else {
                        counters.put_remote(&entry.key, window, beside.hits())
                    };
                    if put.is_err() {
                        drops.add(DropCause::NoRoom);
                    }
                    if !head.copy && actor != FORGIVEN {
                        overshoot.note(book, key, growth);
                    }
                }
                Merged::Known => {}
                Merged::OutsideWindows => drops.add(DropCause::OutsideWindows),
                Merged::NoRoom => drops.add(DropCause::NoRoom),
            }
        })?;
        if self.book.take_crowded() {
            self.no_room_us = Some(now.monotonic_us);
        }
        if let Some(index) = link.filter(|_| head.copy) {
            self.join.note_part(index, now.monotonic_us);
        }
        if !head.copy
            && head.age_us > 0
            && head.actor.is_none()
            && let Some(link) = link.and_then(|index| self.link_mut(index))
        {
            let way_us = link.quality.round_trip_us().unwrap_or(0) / 2;
            let age_us = head.age_us.saturating_add(way_us);
            link.quality.note_age(now.monotonic_us, age_us);
        }
        // With less left of the limit, what was no hurry may be one now.
        for id in unsent {
            self.queue(now, id, counters);
        }
        Ok(())
    }

    fn receive_ack(&mut self, now: Now, index: LinkIndex, ack: &Ack) {
        // Of an earlier run of this node: the same sequence was something else.
        if ack.run != low_half(self.local.session) {
            return;
        }
        for (place, &sequence) in ack.sequences.iter().enumerate() {
            let Some(flight) = self.flights.acknowledge(sequence, index) else {
                continue;
            };
            let (sent_us, for_one) = (flight.sent_us, flight.kind.is_for_one());
            let probe = match &flight.cargo {
                Cargo::Probe(number) => Some(*number),
                _ => None,
            };
            let is_digest = matches!(flight.cargo, Cargo::Digest);
            if let Some(number) = probe {
                self.probe.acknowledge(now.monotonic_us, number, index);
            }
            let Some(link) = self.links.get_mut(index.0) else {
                return;
            };
            link.note_arrived(for_one);
            link.quality.note_arrival();
            if is_digest && link.sync == crate::link::Sync::Asked {
                link.sync = crate::link::Sync::Known;
            }
            if place == 0 {
                let there_and_back_us = now.monotonic_us.saturating_sub(sent_us);
                let sample_us = there_and_back_us.saturating_sub(ack.delay_us);
                link.quality.note_round_trip(sample_us);
                link.quality.note_hold(ack.delay_us);
                let theirs_us = ack.unix_us.saturating_add(sample_us / 2);
                let skew_us = i128::from(theirs_us) - i128::from(now.unix_us);
                if let Ok(skew_us) = i64::try_from(skew_us) {
                    link.quality.note_skew(skew_us);
                }
            }
        }
    }

    /// What a peer that was lost on the way to it lacks.
    pub(super) fn expire_flights(&mut self, now: Now) {
        let Self {
            flights,
            links,
            book,
            settings,
            ..
        } = self;
        let first_guess_us = match settings.preset {
            crate::settings::Preset::Lan => 2_000,
            crate::settings::Preset::Wan => 200_000,
        };
        let timeouts: Vec<u64> = links
            .iter()
            .map(|link| link.quality.timeout_us(settings.tick_us, first_guess_us))
            .collect();
        let mut probes = Vec::new();
        flights.expire(
            |index, sent_us| {
                let timeout_us = timeouts.get(index.0).copied().unwrap_or(0);
                now.monotonic_us.saturating_sub(sent_us) >= timeout_us
            },
            |index, flight| {
                let Some(link) = links.get_mut(index.0) else {
                    return;
                };
                link.note_arrived(flight.kind.is_for_one());
                link.quality.note_loss();
                match &flight.cargo {
                    Cargo::Counts(items) => {
                        for &(actor, id) in items {
                            if actor != OWN {
                                link.backlog.push_copy((actor, id));
                                continue;
                            }
                            // A later datagram to everybody has later counts: that one decides.
                            let is_lacking = book
                                .entry(id)
                                .is_some_and(|entry| entry.is_news_since(flight.sequence));
                            if is_lacking {
                                link.backlog.push_lost((actor, id), flight.since_us);
                            }
                        }
                    }
                    Cargo::Probe(number) => probes.push((index, *number)),
                    Cargo::Digest => link.sync = crate::link::Sync::Unknown,
                    Cargo::Gossip => {}
                    Cargo::Want(want) => link.note_ask(want.clone()),
                    Cargo::SnapshotRequest => {}
                    // Unless the peer has asked for another by now.
                    Cargo::SnapshotEnd(number) => {
                        link.snapshot.get_or_insert(Snapshot {
                            number: *number,
                            next: None,
                        });
                    }
                }
            },
        );
        self.lost_probes = probes;
    }
}
