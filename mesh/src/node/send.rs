//! Making datagrams.

use std::net::SocketAddr;

use hivemind_shared::table::words::low_half;

use super::Mesh;
use crate::budget::Purpose;
use crate::drops::DropCause;
use crate::flights::{Cargo, Flight, LinkIndex};
use crate::outbox::Outbox;
use crate::time::Now;
use crate::wire::sections::Ack;
use crate::wire::{Kind, writer};

/// What a datagram is sent for.
pub(super) struct Load {
    kind: Kind,
    cargo: Cargo,
    since_us: u64,
}

impl Load {
    pub(super) const fn new(kind: Kind, cargo: Cargo) -> Self {
        Self {
            kind,
            cargo,
            since_us: 0,
        }
    }

    /// With counts that wait since this time, monotonic microseconds.
    pub(super) fn since(self, since_us: u64) -> Self {
        Self { since_us, ..self }
    }
}

impl Mesh {
    /// Seals and sends a datagram to members. What is in it is sent again where it is lost.
    pub(super) fn send(
        &mut self,
        now: Now,
        to: &[LinkIndex],
        load: Load,
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<u64> {
        let Load {
            kind,
            cargo,
            since_us,
        } = load;
        let Self { links, sealer, .. } = self;
        let addresses = to
            .iter()
            .filter_map(|index| Some(links.get(index.0)?.address));
        let mut sent = None;
        let pushed = out.push(addresses, |buffer| {
            let start = buffer.len();
            let sequence = sealer.seal(buffer, |body| {
                writer::head(body, kind);
                write(body);
            })?;
            sent = Some((sequence, buffer.len() - start));
            Ok::<(), crate::seal::SealError>(())
        });
        let (Ok(()), Some((sequence, bytes))) = (pushed, sent) else {
            self.drops.add(DropCause::Unsent);
            return None;
        };
        for index in to {
            if let Some(link) = self.links.get_mut(index.0) {
                link.sent_datagrams += 1;
                link.sent_bytes += bytes as u64;
                link.in_flight += usize::from(kind.is_reliable());
                link.alone_in_flight += usize::from(kind.is_for_one());
            }
        }
        self.traffic.note_sent(kind, bytes, to.len());
        let purpose = match kind {
            Kind::Bulk | Kind::Sync => Purpose::Copies,
            _ => Purpose::News,
        };
        self.budget.take(purpose, bytes * to.len());
        if kind.is_reliable() {
            let flight = Flight::new(
                sequence,
                kind,
                now.monotonic_us,
                since_us,
                cargo,
                to.iter().copied(),
            );
            self.flights.push(flight);
        }
        Some(sequence)
    }

    /// Seals and sends a datagram to an address, member or not; nobody waits for it.
    pub(super) fn send_loose(
        &mut self,
        kind: Kind,
        to: SocketAddr,
        out: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Self { sealer, .. } = self;
        let mut bytes = 0;
        let pushed = out.push([to], |buffer| {
            let start = buffer.len();
            let sealed = sealer.seal(buffer, |body| {
                writer::head(body, kind);
                write(body);
            });
            bytes = buffer.len() - start;
            sealed.map(|_| ())
        });
        match pushed {
            Ok(()) => {
                self.traffic.note_sent(kind, bytes, 1);
                self.budget.take(Purpose::News, bytes);
            }
            Err(_) => self.drops.add(DropCause::Unsent),
        }
    }

    /// Acknowledges to one peer what arrived from it.
    pub(super) fn send_acks(&mut self, now: Now, index: LinkIndex, out: &mut Outbox) {
        while let Some((sequences, delay_us)) = self
            .link_mut(index)
            .and_then(|link| link.take_acks(now.monotonic_us))
        {
            let Some(session) = self.link(index).and_then(|link| link.session) else {
                return;
            };
            let ack = Ack {
                run: low_half(session),
                unix_us: now.unix_us,
                delay_us,
                sequences,
            };
            let cargo = Cargo::Gossip;
            self.send(now, &[index], Load::new(Kind::Ack, cargo), out, |buffer| {
                ack.write(buffer);
            });
        }
    }
}
