//! The ledger: what was really counted, beside what the meshes say.

use hivemind_shared::window::Window;

use crate::aged_view::AgedView;
use crate::clock::NodeClock;
use crate::histogram::Histogram;
use crate::window_ledger::WindowLedger;

/// How much too early a window may begin by a node's clock, seconds, for others to go along.
const NEAR_S: u64 = 1;

/// The windows of one key, by number.
pub type KeyWindows = Vec<(Window, WindowLedger)>;

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    keys: Vec<KeyWindows>,
    nodes: Vec<NodeEntry>,
    actors: u32,
    /// The aged view of each node, by key; none when nobody wants to know.
    aged: Vec<Vec<AgedView>>,
    /// How long hits took from one node to another, each for each other node; only such as were made
    /// before their key was over its limit.
    pub staleness: Histogram,
    /// Requests that found no room to be counted in.
    pub uncounted: u64,
    /// Requests that were counted.
    pub requests: u64,
}

#[derive(Clone, Copy, Debug)]
struct NodeEntry {
    actor: u32,
    running_since_us: u64,
}

impl Ledger {
    /// An empty one for this many keys, and nodes each of which is an actor.
    pub fn new(keys: usize, nodes: usize) -> Self {
        let actors = u32::try_from(nodes).unwrap_or(u32::MAX);
        let node = |actor| NodeEntry {
            actor,
            running_since_us: 0,
        };
        Self {
            keys: vec![KeyWindows::new(); keys],
            nodes: (0..actors).map(node).collect(),
            actors,
            ..Self::default()
        }
    }

    /// Notes as well what views would decide that age for so long at most.
    #[must_use]
    pub fn with_aged_views(mut self, age_us_max: u64) -> Self {
        let views = vec![AgedView::new(age_us_max); self.nodes.len()];
        self.aged = vec![views; self.keys.len()];
        self
    }

    /// The actor that a node is at present.
    pub fn actor_of(&self, node: usize) -> u32 {
        self.nodes[node].actor
    }

    /// How many actors there were.
    pub const fn actors(&self) -> u32 {
        self.actors
    }

    /// A node's daemon starts.
    pub fn starts(&mut self, now_us: u64, node: usize) {
        self.nodes[node].running_since_us = now_us;
    }

    /// A node lost its region: it is another actor from now on, and has seen nothing.
    pub fn loses_region(&mut self, node: usize) {
        self.nodes[node].actor = self.actors;
        self.actors += 1;
        for (_, window) in self.keys.iter_mut().flatten() {
            window.forget(node);
        }
        for views in &mut self.aged {
            views[node].forget();
        }
    }

    /// Notes a request for a key that was counted in a window.
    pub fn hit(
        &mut self,
        now_us: u64,
        node: usize,
        key: usize,
        counted: crate::host::Hit,
        hits: u32,
        limit: u32,
    ) {
        let actor = self.actor_of(node);
        self.requests += 1;
        let nodes = self.nodes.len();
        let place = place(&mut self.keys[key], counted.window, nodes);
        let windows = &mut self.keys[key];
        // A clock was set back: this count and those of later windows begin again.
        let mut was_later = false;
        for (_, later) in &mut windows[place + 1..] {
            if later.counted(actor) > 0 {
                later.is_restarted = true;
                was_later = true;
            }
        }
        let (_, window) = &mut windows[place];
        window.is_restarted |= was_later;
        let true_s = NodeClock::default().now(now_us).unix_s();
        window.is_early |= counted.window.start_s() > true_s + NEAR_S;
        if let Some(views) = self.aged.get_mut(key) {
            let own = window.counted(actor) + u64::from(hits);
            let verdicts = views[node].decide(now_us, counted.window, own, limit);
            window.weigh(verdicts, hits, limit);
        }
        window.hit(now_us, node, actor, hits, limit, counted.passed);
    }

    /// Notes that hits of a key were forgiven in a window.
    pub fn reset(&mut self, key: usize, window: Window) {
        let nodes = self.nodes.len();
        let place = place(&mut self.keys[key], window, nodes);
        self.keys[key][place].1.is_reset = true;
    }

    /// Notes what a node sees of the others' hits from now on.
    pub fn saw(&mut self, now_us: u64, node: usize, key: usize, window: Window, remote: u64) {
        let NodeEntry {
            actor,
            running_since_us,
        } = self.nodes[node];
        let nodes = self.nodes.len();
        let place = place(&mut self.keys[key], window, nodes);
        let (_, known) = &mut self.keys[key][place];
        let staleness = &mut self.staleness;
        known.saw(now_us, node, actor, remote, running_since_us, staleness);
        if let Some(views) = self.aged.get_mut(key) {
            views[node].saw(now_us, window, remote, known.lag_us(now_us, node));
        }
    }

    /// The windows of the key at a place, by number.
    pub fn windows(&self, key: usize) -> &[(Window, WindowLedger)] {
        &self.keys[key]
    }

    /// Every window as (place of the key, window, what is known about it).
    pub fn iter(&self) -> impl Iterator<Item = (usize, Window, &WindowLedger)> {
        let keys = self.keys.iter().enumerate();
        keys.flat_map(|(key, windows)| windows.iter().map(move |(at, window)| (key, *at, window)))
    }
}

/// Where a window is among those of its key; it is made if it is not there.
fn place(windows: &mut KeyWindows, window: Window, nodes: usize) -> usize {
    // Nearly always the last one.
    let found = windows
        .iter()
        .rposition(|(known, _)| known.number() <= window.number());
    match found {
        Some(place) if windows[place].0 == window => place,
        _ => {
            let place = found.map_or(0, |place| place + 1);
            windows.insert(place, (window, WindowLedger::new(nodes)));
            place
        }
    }
}

#[cfg(test)]
mod tests {
    use hivemind_shared::window::{Period, Unit};

    use super::*;
    use crate::clock::START_UNIX_US;
    use crate::host::Hit;

    fn hit(ledger: &mut Ledger, node: usize, now_s: u64) {
        hit_at(ledger, 0, node, now_s);
    }

    fn hit_at(ledger: &mut Ledger, now_us: u64, node: usize, now_s: u64) {
        let counted = Hit {
            window: Period::from(Unit::Minute).window_at(now_s),
            passed: true,
        };
        ledger.hit(now_us, node, 0, counted, 1, 100);
    }

    fn restarted(ledger: &Ledger) -> Vec<bool> {
        let windows = ledger.windows(0).iter();
        windows.map(|(_, window)| window.is_restarted).collect()
    }

    #[test]
    fn windows_are_kept_apart_and_in_order() {
        let mut ledger = Ledger::new(1, 2);
        for (node, now_s) in [(0, 120), (1, 60), (0, 125), (0, 180)] {
            hit(&mut ledger, node, now_s);
        }
        let totals: Vec<_> = ledger
            .iter()
            .map(|(_, at, window)| (at.number(), window.total()))
            .collect();
        assert_eq!(totals, [(1, 1), (2, 2), (3, 1)]);
        assert_eq!(restarted(&ledger), [false; 3]);
    }

    #[test]
    fn a_clock_set_back_over_the_edge_of_a_window_restarts_both_counts() {
        let mut ledger = Ledger::new(1, 2);
        for (node, now_s) in [(0, 0), (1, 60), (0, 120), (0, 60)] {
            hit(&mut ledger, node, now_s);
        }
        assert_eq!(restarted(&ledger), [false, true, true]);
    }

    #[test]
    fn a_clock_far_ahead_makes_a_window_early_and_a_little_skew_does_not() {
        let mut ledger = Ledger::new(1, 2);
        let now_s = START_UNIX_US / 1_000_000;
        for ahead_s in [0, 60, 120] {
            hit(&mut ledger, 0, now_s + ahead_s);
        }
        hit_at(&mut ledger, 59 * 1_000_000 + 500_000, 0, now_s + 60);
        let early: Vec<_> = ledger
            .iter()
            .map(|(_, _, window)| window.is_early)
            .collect();
        assert_eq!(early, [false, true, true]);
        let mut ledger = Ledger::new(1, 2);
        hit_at(&mut ledger, 59 * 1_000_000 + 500_000, 0, now_s + 60);
        assert!(ledger.windows(0)[0].1.is_exact());
    }

    #[test]
    fn a_lost_region_makes_another_actor_that_has_seen_nothing() {
        let mut ledger = Ledger::new(1, 2);
        hit(&mut ledger, 0, 0);
        ledger.saw(5, 1, 0, Period::from(Unit::Minute).window_at(0), 1);
        ledger.loses_region(1);
        hit(&mut ledger, 1, 0);
        let (_, _, window) = ledger.iter().next().unwrap();
        assert_eq!((ledger.actor_of(1), ledger.actors()), (2, 3));
        assert_eq!((window.counted(1), window.counted(2)), (0, 1));
        assert_eq!(window.seen(1), 0);
    }
}
