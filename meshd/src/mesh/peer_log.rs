//! Log lines about peers: who comes and goes, and whose datagrams do not open.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hivemind_mesh::node::{PeerChange, PeerEvent};
use hivemind_mesh::refusals::{Refusal, RefusalCause};
use tracing::{info, warn};

use crate::telemetry::throttle::Throttle;

/// Lines that are written at once; after that one more each [`LINE_INTERVAL`].
const LINES_MAX: u32 = 100;

/// How soon there is room for another line.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Addresses whose datagrams do not open that are remembered at most.
const ADDRESSES_MAX: usize = 4_096;

/// Writes the lines. A large fleet that restarts, and whoever sends datagrams under many addresses, can write no
/// more than [`LINES_MAX`] at once and then one a second.
#[derive(Debug)]
pub(super) struct PeerLog {
    budget: LineBudget,
    /// Changes of peers that were not logged.
    unsaid: u64,
    /// Of addresses where peers are expected.
    refused: HashMap<SocketAddr, Throttle>,
    /// Of all others, by cause.
    strangers: [Throttle; RefusalCause::ALL.len()],
}

/// How many lines may be written.
#[derive(Debug)]
struct LineBudget {
    lines: u32,
    filled: Instant,
}

impl LineBudget {
    /// Whether there is room for a line, which it then takes.
    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled);
        let more = elapsed.as_secs() / LINE_INTERVAL.as_secs();
        if more > 0 {
            let lines = u64::from(self.lines).saturating_add(more);
            self.lines = u32::try_from(lines).unwrap_or(LINES_MAX).min(LINES_MAX);
            self.filled = now;
        }
        self.lines
            .checked_sub(1)
            .map(|left| self.lines = left)
            .is_some()
    }
}

impl PeerLog {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            budget: LineBudget {
                lines: LINES_MAX,
                filled: now,
            },
            unsaid: 0,
            refused: HashMap::new(),
            strangers: [Throttle::default(); RefusalCause::ALL.len()],
        }
    }

    /// Says what became of peers.
    pub(super) fn changed(&mut self, now: Instant, events: &[PeerEvent]) {
        if self.unsaid > 0 && self.budget.take(now) {
            let changes = std::mem::take(&mut self.unsaid);
            warn!(
                changes,
                "so many changes of peers were not logged; /peers shows how they are"
            );
        }
        for event in events {
            if self.budget.take(now) {
                say(event);
            } else {
                self.unsaid += 1;
            }
        }
    }

    /// Says whose datagrams do not open.
    pub(super) fn refused(&mut self, now: Instant, refusals: &[Refusal], is_sealed: bool) {
        if self.refused.len() > ADDRESSES_MAX {
            let is_there = |address| refusals.iter().any(|refusal| refusal.from == address);
            self.refused.retain(|address, _| is_there(*address));
        }
        for refusal in refusals {
            // A bootstrap name that leads back here is no fault.
            if refusal.cause == RefusalCause::Itself {
                continue;
            }
            let throttle = if refusal.is_expected {
                self.refused.entry(refusal.from).or_default()
            } else {
                &mut self.strangers[refusal.cause as usize]
            };
            let Some(unsaid) = throttle.next(now) else {
                continue;
            };
            if !self.budget.take(now) {
                continue;
            }
            let Refusal {
                from: address,
                cause,
                is_expected,
            } = *refusal;
            let cause = reason(cause, is_sealed);
            if is_expected {
                warn!(%address, cause, "the datagrams of a peer are of no use here");
            } else {
                warn!(
                    %address,
                    cause,
                    unsaid,
                    "a host that is no peer sends datagrams that are of no use here"
                );
            }
        }
    }
}

fn say(
    PeerEvent {
        name,
        address,
        change,
    }: &PeerEvent,
) {
    match change {
        PeerChange::Alive => info!(peer = name, %address, "a peer is there"),
        PeerChange::Suspected => {
            warn!(peer = name, %address, "a peer does not answer: it is suspected to be down");
        }
        PeerChange::Answers => info!(peer = name, %address, "a suspected peer answers again"),
        PeerChange::Down => warn!(peer = name, %address, "a peer is down"),
        PeerChange::Left => info!(peer = name, %address, "a peer has left"),
        PeerChange::Back => info!(peer = name, %address, "a peer is back"),
        PeerChange::Moved { from } => {
            info!(peer = name, %address, %from, "a peer has moved to another address");
        }
    }
}

/// Why the datagrams of a host are of no use, in words.
pub(super) const fn reason(cause: RefusalCause, is_sealed: bool) -> &'static str {
    match cause {
        RefusalCause::OtherVersion => {
            "its datagrams are of another version of the mesh's wire format"
        }
        RefusalCause::OtherCluster => "its datagrams are of another cluster: mesh.cluster differs",
        RefusalCause::UnknownKey if is_sealed => {
            "its datagrams are sealed with a key that is not in mesh.key_file here: it has another \
             key, or none"
        }
        RefusalCause::UnknownKey => {
            "its datagrams are sealed with a key, and there is no mesh.key_file here"
        }
        RefusalCause::Unauthentic => {
            "its datagrams do not authenticate: the `hash` line of mesh.key_file differs, or they \
             are forged"
        }
        RefusalCause::Itself => "the address leads back to this host",
        RefusalCause::ClockAhead => {
            "its run begins more than a day after now: a clock is wrong, there or here"
        }
        RefusalCause::SameActor => {
            "it counts as this very host does: both have a copy of one region file, remove one"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_at_once_up_to_a_bound_and_then_one_a_second() {
        let start = Instant::now();
        let mut budget = PeerLog::new(start).budget;
        let mut lines = |after_ms| {
            let now = start + Duration::from_millis(after_ms);
            (0..1_000).filter(|_| budget.take(now)).count()
        };
        assert_eq!(lines(0), 100);
        assert_eq!(
            (lines(999), lines(1_000), lines(1_500), lines(4_000)),
            (0, 1, 0, 3)
        );
        assert_eq!(lines(10_000_000), 100);
    }

    #[test]
    fn changes_beyond_the_bound_are_counted_and_told_as_a_number() {
        let start = Instant::now();
        let mut log = PeerLog::new(start);
        let event = PeerEvent {
            name: "a".to_owned(),
            address: ([127, 0, 0, 1], 1).into(),
            change: PeerChange::Down,
        };
        log.changed(start, &vec![event; 500]);
        assert_eq!(log.unsaid, 400);
        log.changed(start + Duration::from_secs(1), &[]);
        assert_eq!(log.unsaid, 0);
    }

    #[test]
    fn addresses_that_are_refused_take_bounded_memory() {
        let mut log = PeerLog::new(Instant::now());
        for number in 0..20_000_u32 {
            let from = (std::net::Ipv4Addr::from_bits(number), 1).into();
            let cause = RefusalCause::UnknownKey;
            let refusal = |is_expected| Refusal {
                from,
                cause,
                is_expected,
            };
            log.refused(Instant::now(), &[refusal(true), refusal(false)], true);
        }
        assert!(log.refused.len() <= ADDRESSES_MAX + 1);
        assert_eq!(log.budget.lines, 0);
    }
}
