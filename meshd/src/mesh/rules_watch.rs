//! Whether peers decide by the same rules as this host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hivemind_mesh::status::{PeerState, PeerStatus};

use crate::telemetry::throttle::Throttle;

/// Peers that are warned about at a time; others have their turn a second later.
const LINES_MAX: usize = 8;

/// Compares rules with those of each peer.
#[derive(Debug)]
pub(super) struct RulesWatch {
    /// How long rules may differ while new ones are brought to all hosts.
    grace: Duration,
    /// The hash of the rules here.
    own: String,
    /// By actor; only of peers that are there.
    differing: BTreeMap<String, Difference>,
}

/// A peer that has other rules.
#[derive(Debug)]
struct Difference {
    since: Instant,
    /// Whether that is longer ago than it may be.
    is_lasting: bool,
    name: String,
    address: SocketAddr,
    theirs: String,
    was_said: bool,
    throttle: Throttle,
}

/// A line of the log about one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// The hash of its rules.
    pub(super) theirs: String,
    /// Whether they are others, or the same again.
    pub(super) differ: bool,
}

impl RulesWatch {
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            own: String::new(),
            differing: BTreeMap::new(),
        }
    }

    /// Compares the hash of the rules here with that of each peer that is there and says it; returns what is to
    /// be logged.
    pub(super) fn look(&mut self, now: Instant, own: &str, peers: &[PeerStatus]) -> Vec<Line> {
        own.clone_into(&mut self.own);
        let mut before = std::mem::take(&mut self.differing);
        let mut lines = Vec::new();
        for peer in peers.iter().filter(|peer| peer.state != PeerState::Down) {
            let Some(theirs) = &peer.rules else { continue };
            let known = before.remove(&peer.actor);
            if theirs == own {
                if known.is_some_and(|known| known.was_said) {
                    lines.push(line(peer, theirs, false));
                }
                continue;
            }
            let mut difference = known.unwrap_or_else(|| Difference {
                since: now,
                is_lasting: false,
                name: String::new(),
                address: peer.address,
                theirs: String::new(),
                was_said: false,
                throttle: Throttle::default(),
            });
            difference.name.clone_from(&peer.name);
            difference.theirs.clone_from(theirs);
            difference.address = peer.address;
            difference.is_lasting = now.saturating_duration_since(difference.since) >= self.grace;
            let may_say = difference.is_lasting && lines.len() < LINES_MAX;
            if may_say && difference.throttle.next(now).is_some() {
                difference.was_said = true;
                lines.push(line(peer, theirs, true));
            }
            self.differing.insert(peer.actor.clone(), difference);
        }
        lines
    }

    /// What is wrong, for health; nothing while rules have not differed for long.
    pub(super) fn detail(&self) -> Option<String> {
        let mut lasting = self.differing.values().filter(|it| it.is_lasting);
        let Difference {
            name,
            address,
            theirs,
            ..
        } = lasting.next()?;
        let more = match lasting.count() {
            0 => String::new(),
            more => format!(", and from those of {more} more"),
        };
        let own = &self.own;
        Some(format!(
            "rules differ from those of {name} ({address}): {own} here, {theirs} there{more}"
        ))
    }
}

fn line(peer: &PeerStatus, theirs: &str, differ: bool) -> Line {
    Line {
        name: peer.name.clone(),
        address: peer.address,
        theirs: theirs.to_owned(),
        differ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::skew::tests::peer;

    /// Peers with the hashes of their rules.
    fn peers(rules: &[(&str, Option<&str>)]) -> Vec<PeerStatus> {
        let peers = rules.iter().map(|(actor, rules)| PeerStatus {
            name: format!("host {actor}"),
            rules: rules.map(str::to_owned),
            ..peer(actor, PeerState::Alive, None)
        });
        peers.collect()
    }

    struct Watched {
        watch: RulesWatch,
        start: Instant,
    }

    impl Watched {
        fn new() -> Self {
            Self {
                watch: RulesWatch::new(Duration::from_secs(60)),
                start: Instant::now(),
            }
        }

        /// Names and hashes of what is said.
        fn look(&mut self, s: u64, own: &str, peers: &[PeerStatus]) -> Vec<(String, bool)> {
            let now = self.start + Duration::from_secs(s);
            let lines = self.watch.look(now, own, peers).into_iter();
            lines
                .map(|line| (format!("{} {}", line.name, line.theirs), line.differ))
                .collect()
        }
    }

    #[test]
    fn a_difference_that_lasts_is_told_and_shows_until_it_ends() {
        let mut watched = Watched::new();
        let other = peers(&[("a", Some("x")), ("b", Some("y")), ("old", None)]);
        assert_eq!(watched.look(0, "x", &other), []);
        assert_eq!(watched.look(59, "x", &other), []);
        assert_eq!(watched.watch.detail(), None);
        assert_eq!(
            watched.look(60, "x", &other),
            [("host b y".to_owned(), true)]
        );
        let detail = watched.watch.detail().expect("a detail");
        for part in ["host b", "127.0.0.1:1", "x here", "y there"] {
            assert!(detail.contains(part), "{detail}");
        }
        assert_eq!(watched.look(61, "x", &other), [], "it is no news");
        // A third set of rules is as different.
        let third = peers(&[("a", Some("x")), ("b", Some("z"))]);
        assert_eq!(
            watched.look(120, "x", &third),
            [("host b z".to_owned(), true)]
        );
        let same = peers(&[("a", Some("x")), ("b", Some("x"))]);
        assert_eq!(
            watched.look(121, "x", &same),
            [("host b x".to_owned(), false)]
        );
        assert_eq!(watched.watch.detail(), None);
        assert_eq!(watched.look(122, "x", &same), []);
        // It begins anew.
        assert_eq!(watched.look(123, "x", &other), []);
        assert_eq!(watched.look(182, "x", &other), []);
    }

    #[test]
    fn a_difference_that_ends_in_time_is_not_told_and_peers_that_are_gone_are_forgotten() {
        let mut watched = Watched::new();
        let other = peers(&[("b", Some("y"))]);
        assert_eq!(watched.look(0, "x", &other), []);
        assert_eq!(
            watched.look(59, "y", &other),
            [],
            "the rules here are new as well"
        );
        assert_eq!(watched.look(200, "x", &other), []);
        assert_eq!(watched.look(260, "x", &other).len(), 1);
        let mut gone = other;
        gone[0].state = PeerState::Down;
        assert_eq!(watched.look(261, "x", &gone), []);
        assert_eq!(watched.watch.detail(), None);
        assert!(watched.watch.differing.is_empty());
    }

    #[test]
    fn of_many_peers_a_few_are_told_of_at_a_time() {
        let mut watched = Watched::new();
        let names: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
        let rules: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Some("y")))
            .collect();
        let other = peers(&rules);
        assert_eq!(watched.look(0, "x", &other), []);
        let counts = [60, 61, 62, 63].map(|s| watched.look(s, "x", &other).len());
        assert_eq!(counts, [8, 8, 4, 0]);
        let detail = watched.watch.detail().expect("a detail");
        assert!(detail.contains("19 more"), "{detail}");
    }
}
