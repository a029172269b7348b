//! Warnings about peers whose clocks differ so much that windows no longer match.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hivemind_mesh::status::{PeerState, PeerStatus};
use hivemind_shared::rules::{RuleLimit, RuleSet};
use tracing::warn;

/// How long to be silent about a peer that was warned about.
const WARNING_INTERVAL: Duration = Duration::from_secs(600);

/// Looks at the clocks of peers.
#[derive(Debug, Default)]
pub(super) struct SkewWatch {
    /// When each peer was warned about, by its actor id; only present ones.
    warned: HashMap<String, Instant>,
    /// The smallest unit of the rules of this generation.
    smallest_unit: Option<(std::sync::Weak<RuleSet>, Option<u64>)>,
}

impl SkewWatch {
    /// Warns about each peer whose clock differs by more than a tenth of the smallest unit in use:
    /// counts near the end of a window then often belong to another one there.
    pub(super) fn look(&mut self, peers: &[PeerStatus], rules: &std::sync::Arc<RuleSet>) {
        let known = self
            .smallest_unit
            .take()
            .filter(|(of, _)| std::ptr::eq(of.as_ptr(), std::sync::Arc::as_ptr(rules)));
        let (of, unit_s) =
            known.unwrap_or_else(|| (std::sync::Arc::downgrade(rules), smallest_unit_s(rules)));
        self.smallest_unit = Some((of, unit_s));
        let Some(unit_s) = unit_s else { return };
        let limit_ms = unit_s.saturating_mul(100);
        for peer in self.skewed(peers, limit_ms, Instant::now()) {
            warn!(
                peer = peer.name,
                address = %peer.address,
                skew_ms = peer.skew_ms,
                limit_ms,
                "the clock of a peer differs by more than a tenth of the smallest unit: its hits are \
                 counted in other windows; set both clocks by NTP"
            );
        }
    }

    /// The peers to warn about now.
    fn skewed<'p>(
        &mut self,
        peers: &'p [PeerStatus],
        limit_ms: u64,
        now: Instant,
    ) -> Vec<&'p PeerStatus> {
        let mut before = std::mem::take(&mut self.warned);
        let mut skewed = Vec::new();
        for peer in peers.iter().filter(|peer| peer.state == PeerState::Alive) {
            let is_skewed = peer
                .skew_ms
                .is_some_and(|skew_ms| skew_ms.unsigned_abs() > limit_ms);
            let last = before.remove(&peer.actor);
            let is_due = last.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL);
            if is_skewed && is_due {
                skewed.push(peer);
                self.warned.insert(peer.actor.clone(), now);
            } else if let Some(last) = last {
                self.warned.insert(peer.actor.clone(), last);
            }
        }
        skewed
    }
}

/// The shortest unit any rule limits by, in seconds.
fn smallest_unit_s(rules: &RuleSet) -> Option<u64> {
    let units = rules.rules().filter_map(|(_, rule)| match rule.limit {
        RuleLimit::Limited { period, .. } => Some(period.seconds().into()),
        RuleLimit::Unlimited => None,
    });
    units.min()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::mesh) fn peer(actor: &str, state: PeerState, skew_ms: Option<i64>) -> PeerStatus {
        PeerStatus {
            actor: actor.to_owned(),
            name: String::new(),
            address: ([127, 0, 0, 1], 1).into(),
            state,
            rules: None,
            last_heard_ms: None,
            round_trip_us: None,
            loss: 0.0,
            skew_ms,
            staleness_p50_us: None,
            staleness_p99_us: None,
            sent_datagrams: 0,
            sent_bytes: 0,
            received_datagrams: 0,
            received_bytes: 0,
            backlog: 0,
            in_sync: true,
        }
    }

    #[test]
    fn a_peer_is_warned_about_once_in_a_while_when_its_clock_is_off_either_way() {
        let mut watch = SkewWatch::default();
        let peers = [
            peer("fine", PeerState::Alive, Some(100)),
            peer("unknown", PeerState::Alive, None),
            peer("ahead", PeerState::Alive, Some(101)),
            peer("behind", PeerState::Alive, Some(-101)),
            peer("gone", PeerState::Down, Some(5_000)),
        ];
        let start = Instant::now();
        let mut warned = |peers: &[PeerStatus], after_s| -> Vec<String> {
            let now = start + Duration::from_secs(after_s);
            let skewed = watch.skewed(peers, 100, now);
            skewed.iter().map(|peer| peer.actor.clone()).collect()
        };
        assert_eq!(warned(&peers, 0), ["ahead", "behind"]);
        assert!(warned(&peers, 1).is_empty());
        assert!(warned(&peers, 599).is_empty());
        assert_eq!(warned(&peers, 600), ["ahead", "behind"]);
        assert!(warned(&[], 601).is_empty());
        assert!(watch.warned.is_empty(), "those who are gone are forgotten");
    }
}
