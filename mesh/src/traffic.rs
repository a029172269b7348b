//! Datagrams and bytes by kind.

use crate::status::KindTraffic;
use crate::wire::Kind;

/// Sums for one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sent_datagrams: u64,
    sent_bytes: u64,
    received_datagrams: u64,
    received_bytes: u64,
}

/// Sums for all kinds; the last place is for kinds of later versions.
#[derive(Debug, Default)]
pub(crate) struct Traffic([Sums; Kind::ALL.len() + 1]);

impl Traffic {
    fn of(&mut self, kind: Option<Kind>) -> &mut Sums {
        let place = kind.map_or(Kind::ALL.len(), |kind| kind as usize - 1);
        &mut self.0[place]
    }

    /// Counts a datagram sent to so many peers.
    pub(crate) fn note_sent(&mut self, kind: Kind, bytes: usize, receivers: usize) {
        let sums = self.of(Some(kind));
        sums.sent_datagrams += receivers as u64;
        sums.sent_bytes += (bytes * receivers) as u64;
    }

    /// Counts a datagram that was received and opened.
    pub(crate) fn note_received(&mut self, kind: Option<Kind>, bytes: usize) {
        let sums = self.of(kind);
        sums.received_datagrams += 1;
        sums.received_bytes += bytes as u64;
    }

    /// For operators.
    pub(crate) fn status(&self) -> Vec<KindTraffic> {
        let names = Kind::ALL.iter().map(|kind| kind.name()).chain(["other"]);
        names
            .zip(self.0)
            .map(|(kind, sums)| KindTraffic {
                kind: kind.to_owned(),
                sent_datagrams: sums.sent_datagrams,
                sent_bytes: sums.sent_bytes,
                received_datagrams: sums.received_datagrams,
                received_bytes: sums.received_bytes,
            })
            .collect()
    }
}
