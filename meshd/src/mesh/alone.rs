//! A mesh that is none: peers should be there, and none is.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hivemind_mesh::node::Presence;
use hivemind_mesh::refusals::{Refusal, RefusalCause};

use super::peer_log::reason;
use crate::telemetry::throttle::Throttle;

/// How long no peer may be there before that is a fault: at a start they are looked for meanwhile, and a peer that
/// does not answer for a moment is not gone.
const GRACE: Duration = Duration::from_secs(5);

/// Peers that a text names at most.
const NAMED_MAX: usize = 4;

/// What the search for bootstrap peers has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Where their names lead to.
    pub(super) addresses: Vec<SocketAddr>,
    /// Names that do not resolve, and why.
    pub(super) failures: Vec<(String, String)>,
    /// Addresses that the system says are not reached, and why.
    pub(super) unreachable: Vec<(SocketAddr, String)>,
}

/// Sees whether this host is alone though it should not be, and why.
#[derive(Debug)]
pub(super) struct AloneWatch {
    /// Where peers reach this host.
    own: SocketAddr,
    /// Bootstrap peers as they are configured.
    names: Vec<String>,
    /// None before the first search has ended.
    found: Option<Found>,
    /// Where peers of the meshd before this one were, until one is there.
    inherited: Vec<SocketAddr>,
    /// Since when no peer is there though some should be.
    since: Option<Instant>,
    /// Why, once that is a fault.
    cause: Option<String>,
    /// Whether that was said.
    was_said: bool,
    /// By the kinds of faults there are.
    throttles: HashMap<u16, Throttle>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// No peer is there, for this cause.
    Alone(String),
    /// One is again, or none is expected any more.
    Over,
}

/// What is wrong with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// Its datagrams are of no use.
    Refused(RefusalCause),
    /// Its name does not resolve.
    Unresolved(String),
    /// Its name has not been looked up yet.
    LookedUp,
    /// The system says that it is not reached.
    Unreachable(String),
    /// It was there.
    Gone,
    /// Nothing is heard of it.
    Silent,
}

impl Fault {
    /// A bit of its own for each kind.
    const fn bit(&self) -> u16 {
        match self {
            Self::Unresolved(_) => 1,
            Self::LookedUp => 1 << 1,
            Self::Unreachable(_) => 1 << 2,
            Self::Gone => 1 << 3,
            Self::Silent => 1 << 4,
            Self::Refused(cause) => 1 << (5 + *cause as u16),
        }
    }

    fn text(&self, is_sealed: bool) -> String {
        match self {
            Self::Refused(cause) => reason(*cause, is_sealed).to_owned(),
            Self::Unresolved(why) => format!("the name does not resolve: {why}"),
            Self::LookedUp => "the name is still being looked up".to_owned(),
            Self::Unreachable(why) => format!("not reached: {why}"),
            Self::Gone => "was there and does not answer any more".to_owned(),
            Self::Silent => "no answer".to_owned(),
        }
    }
}

impl AloneWatch {
    /// For a host that is reached at `own`, with these bootstrap peers.
    pub(super) fn new(own: SocketAddr, names: Vec<String>) -> Self {
        Self {
            own,
            names,
            found: None,
            inherited: Vec::new(),
            since: None,
            cause: None,
            was_said: false,
            throttles: HashMap::new(),
        }
    }

    /// Notes what the search for bootstrap peers has found.
    pub(super) fn found(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// Expects peers where the meshd before this one had them.
    pub(super) fn inherit(&mut self, addresses: Vec<SocketAddr>) {
        self.inherited = addresses;
    }

    /// Why no peer is there though some should be; `None` while one is, or none should, or not for long.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Looks, once in a while; returns what is to be logged.
    pub(super) fn look(
        &mut self,
        now: Instant,
        presence: &Presence,
        refusals: &[Refusal],
        is_sealed: bool,
    ) -> Option<Line> {
        if presence.alive > 0 {
            self.inherited.clear();
        }
        let faults = self.faults(presence, refusals);
        if presence.alive > 0 || faults.is_empty() {
            self.since = None;
            self.cause = None;
            return std::mem::take(&mut self.was_said).then_some(Line::Over);
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < GRACE {
            return None;
        }
        let text = text(&faults, is_sealed);
        self.cause = Some(format!(
            "no peer is there, so this host limits by its own counts alone: {text}"
        ));
        let kinds = faults.values().fold(0, |kinds, fault| kinds | fault.bit());
        self.throttles.entry(kinds).or_default().next(now)?;
        self.was_said = true;
        Some(Line::Alone(text))
    }

    /// What is wrong with each peer that is expected.
    fn faults(&self, presence: &Presence, refusals: &[Refusal]) -> BTreeMap<String, Fault> {
        let refusals: HashMap<SocketAddr, RefusalCause> = refusals
            .iter()
            .filter(|refusal| refusal.is_expected)
            .map(|refusal| (refusal.from, refusal.cause))
            .collect();
        let nothing = Found::default();
        let found = self.found.as_ref().unwrap_or(&nothing);
        let mut faults = BTreeMap::new();
        let asked = found.addresses.iter().chain(&self.inherited);
        for address in asked.filter(|address| **address != self.own) {
            let unreachable = found.unreachable.iter().find(|(at, _)| at == address);
            let fault = match (refusals.get(address), unreachable) {
                (Some(RefusalCause::Itself), _) => continue,
                (Some(cause), _) => Fault::Refused(*cause),
                (None, Some((_, why))) => Fault::Unreachable(why.clone()),
                (None, None) => Fault::Silent,
            };
            faults.insert(address.to_string(), fault);
        }
        for (name, address) in &presence.missing {
            let refused = refusals.get(address).map(|cause| Fault::Refused(*cause));
            let unnamed = faults.remove(&address.to_string());
            let fault = match (refused, unnamed) {
                (Some(refused), _) => refused,
                (None, Some(unreachable @ Fault::Unreachable(_))) => unreachable,
                (None, _) => Fault::Gone,
            };
            faults.insert(format!("{address} ({name})"), fault);
        }
        if self.found.is_none() {
            let names = self.names.iter();
            faults.extend(names.map(|name| (name.clone(), Fault::LookedUp)));
        }
        if found.addresses.is_empty() && found.failures.is_empty() && self.found.is_some() {
            let why = || Fault::Unresolved("it leads to no address".to_owned());
            faults.extend(self.names.iter().map(|name| (name.clone(), why())));
        }
        for (name, why) in &found.failures {
            faults.insert(name.clone(), Fault::Unresolved(why.clone()));
        }
        faults
    }
}

fn text(faults: &BTreeMap<String, Fault>, is_sealed: bool) -> String {
    let mut text = String::new();
    for (peer, fault) in faults.iter().take(NAMED_MAX) {
        let between = if text.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{between}{peer}: {}", fault.text(is_sealed));
    }
    let more = faults.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    if faults.values().any(|fault| *fault == Fault::Silent) {
        text.push_str(
            ". Where there is no answer, nothing listens, a firewall is in between, or that host drops \
             what it hears, which its log says",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 7_946).into()
    }

    fn at(addresses: &[u8]) -> Found {
        Found {
            addresses: addresses.iter().map(|&host| address(host)).collect(),
            ..Found::default()
        }
    }

    fn refused(host: u8, cause: RefusalCause) -> Refusal {
        Refusal {
            from: address(host),
            cause,
            is_expected: true,
        }
    }

    fn there(alive: usize) -> Presence {
        Presence {
            alive,
            missing: Vec::new(),
        }
    }

    /// A watch of host 1 whose bootstrap names led here.
    struct Watched {
        watch: AloneWatch,
        start: Instant,
    }

    impl Watched {
        fn new(found: Option<Found>) -> Self {
            let mut watch = AloneWatch::new(address(1), vec!["peer:7946".to_owned()]);
            if let Some(found) = found {
                watch.found(found);
            }
            Self {
                watch,
                start: Instant::now(),
            }
        }

        fn look(&mut self, s: u64, presence: &Presence, refusals: &[Refusal]) -> Option<Line> {
            let now = self.start + Duration::from_secs(s);
            self.watch.look(now, presence, refusals, true)
        }

        /// What is said when nobody comes.
        fn text(mut self, refusals: &[Refusal]) -> String {
            assert_eq!(self.look(0, &there(0), refusals), None);
            match self.look(5, &there(0), refusals) {
                Some(Line::Alone(text)) => {
                    let cause = self.watch.cause().expect("a cause");
                    assert!(cause.contains(&text), "{cause}");
                    text
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn each_cause_has_a_text_of_its_own_with_the_address() {
        let mut texts = std::collections::BTreeSet::new();
        for cause in RefusalCause::ALL {
            if cause != RefusalCause::Itself {
                texts.insert(Watched::new(Some(at(&[2]))).text(&[refused(2, cause)]));
            }
        }
        texts.insert(Watched::new(Some(at(&[2]))).text(&[]));
        texts.insert(Watched::new(Some(at(&[2]))).text(&[Refusal {
            is_expected: false,
            ..refused(2, RefusalCause::UnknownKey)
        }]));
        let unreachable = vec![(address(2), "Connection refused".to_owned())];
        texts.insert(
            Watched::new(Some(Found {
                unreachable,
                ..at(&[2])
            }))
            .text(&[]),
        );
        // Silence and what a stranger sends are the same.
        assert_eq!(texts.len(), 8, "{texts:#?}");
        assert!(texts.iter().all(|text| text.contains("10.0.0.2:7946")));

        let failures = vec![("peer:7946".to_owned(), "no such name".to_owned())];
        let unresolved = Found {
            failures,
            ..Found::default()
        };
        let text = Watched::new(Some(unresolved)).text(&[]);
        assert!(text.contains("peer:7946") && text.contains("no such name"));
        let text = Watched::new(Some(Found::default())).text(&[]);
        assert!(
            text.contains("peer:7946") && text.contains("no address"),
            "{text}"
        );
        let text = Watched::new(None).text(&[]);
        assert!(text.contains("still being looked up"), "{text}");
    }

    #[test]
    fn a_host_that_has_nobody_to_look_for_is_not_alone() {
        let mut first = AloneWatch::new(address(1), Vec::new());
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(first.look(later, &there(0), &[], true), None);
        assert_eq!(first.cause(), None);

        // The only one behind a name that leads to all.
        let mut only = Watched::new(Some(at(&[1, 9])));
        let itself = [refused(9, RefusalCause::Itself)];
        assert_eq!(only.look(0, &there(0), &itself), None);
        assert_eq!(only.look(60, &there(0), &itself), None);
        assert_eq!(only.watch.cause(), None);
    }

    #[test]
    fn it_is_said_ever_more_rarely_and_that_it_is_over_once() {
        let mut watched = Watched::new(Some(at(&[2])));
        let mut said = Vec::new();
        for s in 0..1_000 {
            if watched.look(s, &there(0), &[]).is_some() {
                said.push(s);
            }
        }
        assert_eq!(said, [5, 65, 185, 425, 905]);
        // Another cause is said at once.
        let refusals = [refused(2, RefusalCause::UnknownKey)];
        assert!(watched.look(1_000, &there(0), &refusals).is_some());
        assert_eq!(watched.look(1_001, &there(1), &refusals), Some(Line::Over));
        assert_eq!(watched.watch.cause(), None);
        assert_eq!(watched.look(1_002, &there(1), &refusals), None);
        // A peer that is missed for a moment is no fault.
        assert_eq!(watched.look(1_003, &there(0), &[]), None);
        assert_eq!(watched.look(1_007, &there(0), &[]), None);
        assert_eq!(watched.look(1_008, &there(1), &[]), None);
        assert_eq!(watched.look(1_009, &there(0), &[]), None);
        assert_eq!(watched.look(1_013, &there(0), &[]), None);
        assert_eq!(watched.watch.cause(), None);
    }

    #[test]
    fn forged_causes_that_alternate_do_not_fill_the_log() {
        let mut watched = Watched::new(Some(at(&[2, 3, 4])));
        let mut lines = 0;
        for s in 0..3_600 {
            let place = |step: usize| {
                let cause = RefusalCause::ALL[(s / step) % 4];
                refused(2 + u8::try_from(step % 3).unwrap(), cause)
            };
            let refusals = [1, 2, 3].map(place);
            let s = u64::try_from(s).unwrap();
            lines += usize::from(watched.look(s, &there(0), &refusals).is_some());
        }
        assert!(lines < 100, "{lines}");
        assert!(watched.watch.throttles.len() < 64);
    }

    #[test]
    fn peers_that_were_there_are_expected_until_they_leave() {
        let mut first = AloneWatch::new(address(1), Vec::new());
        let start = Instant::now();
        let mut look = |s, missing: &[u8]| {
            let missing = missing
                .iter()
                .map(|&host| (format!("host {host}"), address(host)));
            let presence = Presence {
                alive: 0,
                missing: missing.collect(),
            };
            first.look(start + Duration::from_secs(s), &presence, &[], true)
        };
        assert_eq!(look(0, &[2, 3]), None);
        let Some(Line::Alone(text)) = look(5, &[2, 3]) else {
            panic!("two of two peers are down");
        };
        assert!(
            text.contains("10.0.0.2:7946 (host 2)") && text.contains("host 3"),
            "{text}"
        );
        assert_eq!(look(6, &[]), Some(Line::Over));

        // Those of the meshd before this one.
        first.inherit(vec![address(2)]);
        first.look(start, &there(0), &[], true);
        let later = start + Duration::from_secs(10);
        assert!(first.look(later, &there(0), &[], true).is_some());
        first.look(later, &there(1), &[], true);
        let later = later + Duration::from_secs(60);
        first.look(later, &there(0), &[], true);
        assert_eq!(first.look(later + GRACE, &there(0), &[], true), None);
    }
}
