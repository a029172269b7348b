//! What operators are told.

use hivemind_shared::region::FORGIVEN_ID;

use super::Mesh;
use crate::link::Link;
use crate::status::{CauseCount, PeerState, PeerStatus, Status};
use crate::time::Now;

/// How long a peer that is gone is shown, microseconds.
const GONE_SHOWN_US: u64 = 3_600_000_000;

impl Mesh {
    /// How everything is, for operators.
    pub fn status(&self, now: Now) -> Status {
        let now_us = now.monotonic_us;
        let is_shown = |link: &&Link| {
            link.is_up
                || link
                    .heard_us
                    .is_some_and(|heard_us| now_us.saturating_sub(heard_us) < GONE_SHOWN_US)
        };
        let mut peers: Vec<PeerStatus> = self
            .links
            .iter()
            .filter(is_shown)
            .map(|link| self.peer_status(now, link))
            .collect();
        peers.sort_by_key(|peer| (peer.state == PeerState::Down, peer.address));
        let drops = self.drops.iter().filter(|(_, count)| *count > 0);
        Status {
            actor: hexadecimal(self.local.actor),
            name: self.local.name.clone(),
            address: self.local.address,
            cluster: self.settings.cluster.clone(),
            sealed: self.sealed,
            rules: self.rules.map(hexadecimal),
            alone: None,
            joined: self.is_joined(),
            keys: self.book.key_count(),
            actors: self
                .book
                .actors()
                .filter(|&(_, id)| id != FORGIVEN_ID)
                .count(),
            traffic: self.traffic.status(),
            drops: drops
                .map(|(cause, count)| CauseCount {
                    cause: cause.name().to_owned(),
                    count,
                })
                .collect(),
            probe: self.probe.status(),
            overshoot: self.overshoot.status(self.staleness_us(&peers)),
            peers,
        }
    }

    /// How long news of peers takes at the worst: measured where it is, else the longest it should.
    fn staleness_us(&self, peers: &[PeerStatus]) -> u64 {
        let measured = peers
            .iter()
            .filter(|peer| peer.state != PeerState::Down)
            .filter_map(|peer| peer.staleness_p99_us)
            .max();
        measured.unwrap_or(self.settings.tick_us)
    }

    fn peer_status(&self, now: Now, link: &Link) -> PeerStatus {
        let state = if !link.is_up {
            PeerState::Down
        } else if self.membership.is_suspect(link.actor) {
            PeerState::Suspect
        } else {
            PeerState::Alive
        };
        let ages = link.quality.ages_us(now.monotonic_us);
        PeerStatus {
            actor: hexadecimal(link.actor),
            name: link.name.clone(),
            address: link.address,
            state,
            rules: link.rules.map(hexadecimal),
            last_heard_ms: link
                .heard_us
                .map(|heard_us| now.monotonic_us.saturating_sub(heard_us) / 1_000),
            round_trip_us: link.quality.round_trip_us(),
            loss: link.quality.loss(),
            skew_ms: link.quality.skew_ms(),
            staleness_p50_us: ages.map(|(median, _)| median),
            staleness_p99_us: ages.map(|(_, worst)| worst),
            sent_datagrams: link.sent_datagrams,
            sent_bytes: link.sent_bytes,
            received_datagrams: link.received_datagrams,
            received_bytes: link.received_bytes,
            backlog: link.backlog.len(),
            in_sync: link.is_up && link.is_in_sync(),
        }
    }
}

fn hexadecimal(number: u64) -> String {
    format!("{number:016x}")
}
