//! The truth about one key in one window.

use std::collections::VecDeque;

use crate::aged_view::Verdicts;
use crate::histogram::Histogram;
use crate::tally::Tally;

/// One request that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitRecord {
    /// When, microseconds.
    pub at_us: u64,
    /// The actor that counted it.
    pub actor: u32,
    /// Hits it counted.
    pub hits: u32,
    /// Whether it was made before the limit was used up: whether others had to know soon.
    pub matters: bool,
}

/// What one node has seen of the others' hits. Hits become visible as sums, so which ones they are is
/// taken to go by age: the oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct View {
    /// The others' hits that are visible.
    seen: u64,
    /// The place of the first request of another actor that is not visible.
    next: usize,
    /// The others' hits in the requests before it.
    before: u64,
}

impl View {
    /// Moves on over what is visible by now, and over the node's own requests.
    fn advance(&mut self, hits: &[HitRecord], own: u32, mut visit: impl FnMut(&HitRecord)) {
        while let Some(hit) = hits.get(self.next) {
            if hit.actor != own {
                let sum = self.before + u64::from(hit.hits);
                if sum > self.seen {
                    return;
                }
                self.before = sum;
                visit(hit);
            }
            self.next += 1;
        }
    }
}

/// Every hit on one key in one window, and who has seen how many.
#[derive(Clone, Debug, Default)]
pub struct WindowLedger {
    hits: Vec<HitRecord>,
    counted: Vec<u64>,
    total: u64,
    real: Tally,
    free: Tally,
    ratchet: Tally,
    views: Vec<View>,
    /// The oldest that a hit was which a passing request did not know of, microseconds.
    blind_us: u64,
    /// Whether a clock was set back out of a later window: then the count began again, and only so much
    /// can be said about it.
    pub is_restarted: bool,
    /// Whether a clock far ahead counted here before others could know that there is such a window:
    /// they may refuse to hear of it.
    pub is_early: bool,
    /// Whether hits were forgiven: what is left is not known, but that all nodes have the same is.
    pub is_reset: bool,
}

impl WindowLedger {
    /// Nothing counted yet, at this many nodes.
    pub fn new(nodes: usize) -> Self {
        Self {
            views: vec![View::default(); nodes],
            ..Self::default()
        }
    }

    /// Notes a request.
    pub fn hit(&mut self, at_us: u64, node: usize, actor: u32, hits: u32, limit: u32, pass: bool) {
        if pass {
            let view = &mut self.views[node];
            view.advance(&self.hits, actor, |_| {});
            if let Some(unseen) = self.hits.get(view.next) {
                self.blind_us = self.blind_us.max(at_us - unseen.at_us);
            }
        }
        let is_within = self.is_within(hits, limit);
        self.real.note(hits, pass, is_within);
        self.hits.push(HitRecord {
            at_us,
            actor,
            hits,
            matters: self.total < u64::from(limit),
        });
        self.total += u64::from(hits);
        let actor = actor as usize;
        if self.counted.len() <= actor {
            self.counted.resize(actor + 1, 0);
        }
        self.counted[actor] += u64::from(hits);
    }

    /// Notes what aged views say about a request, before it is noted itself.
    pub fn weigh(&mut self, verdicts: Verdicts, hits: u32, limit: u32) {
        let is_within = self.is_within(hits, limit);
        self.free.note(hits, verdicts.free, is_within);
        self.ratchet.note(hits, verdicts.ratchet, is_within);
    }

    /// Whether all nodes together are within the limit with so many hits more.
    fn is_within(&self, hits: u32, limit: u32) -> bool {
        self.total + u64::from(hits) <= u64::from(limit)
    }

    /// Notes what a node sees of the others' hits from now on. How long each that mattered took goes
    /// into `staleness`, if it was made since the node's daemon runs.
    pub fn saw(
        &mut self,
        now_us: u64,
        node: usize,
        actor: u32,
        remote: u64,
        running_since_us: u64,
        staleness: &mut Histogram,
    ) {
        let view = &mut self.views[node];
        view.seen = view.seen.max(remote);
        view.advance(&self.hits, actor, |hit| {
            if hit.matters && hit.at_us >= running_since_us {
                staleness.add(now_us - hit.at_us);
            }
        });
    }

    /// Whether nodes can be held to the exact counts.
    pub const fn is_exact(&self) -> bool {
        !self.is_restarted && !self.is_early && !self.is_reset
    }

    /// Forgets what a node saw: its region is gone.
    pub fn forget(&mut self, node: usize) {
        self.views[node] = View::default();
    }

    /// Every request, oldest first.
    pub fn hits(&self) -> &[HitRecord] {
        &self.hits
    }

    /// Hits of one actor.
    pub fn counted(&self, actor: u32) -> u64 {
        self.counted.get(actor as usize).copied().unwrap_or(0)
    }

    /// Hits of all actors.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Hits that passed.
    pub const fn passed(&self) -> u64 {
        self.real.passed
    }

    /// What passed by the real decisions, by aged views, and by aged views that never fall.
    pub const fn tallies(&self) -> [Tally; 3] {
        [self.real, self.free, self.ratchet]
    }

    /// How old the oldest hit is that a node has not seen, microseconds; 0 when it has seen all.
    pub fn lag_us(&self, now_us: u64, node: usize) -> u64 {
        let unseen = self.hits.get(self.views[node].next);
        unseen.map_or(0, |hit| now_us - hit.at_us)
    }

    /// The others' hits that are visible at a node.
    pub fn seen(&self, node: usize) -> u64 {
        self.views[node].seen
    }

    /// How old the oldest hit was at most that a passing request did not know of, microseconds: the
    /// staleness that decisions suffered from.
    pub const fn blind_us(&self) -> u64 {
        self.blind_us
    }

    /// The most hits that other actors than one made within any span this long, for the actor for which
    /// it is the most.
    pub fn most_by_others(&self, span_us: u64) -> u64 {
        let actors = u32::try_from(self.counted.len()).unwrap_or(u32::MAX);
        (0..actors)
            .filter(|&actor| self.counted(actor) > 0)
            .map(|actor| self.most_but_for(actor, span_us))
            .max()
            .unwrap_or(0)
    }

    fn most_but_for(&self, actor: u32, span_us: u64) -> u64 {
        let mut span = VecDeque::new();
        let (mut sum, mut most) = (0, 0);
        for hit in self.hits.iter().filter(|hit| hit.actor != actor) {
            span.push_back(hit);
            sum += u64::from(hit.hits);
            while let Some(first) = span.front()
                && first.at_us + span_us < hit.at_us
            {
                sum -= u64::from(first.hits);
                span.pop_front();
            }
            most = most.max(sum);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 3;

    #[test]
    fn hits_are_counted_by_actor_and_passing_ones_apart() {
        let mut window = WindowLedger::new(2);
        window.hit(10, 0, 0, 2, LIMIT, true);
        window.hit(20, 1, 1, 1, LIMIT, true);
        window.hit(30, 1, 1, 5, LIMIT, false);
        let counted = [0, 1, 2].map(|actor| window.counted(actor));
        assert_eq!(counted, [2, 6, 0]);
        assert_eq!((window.total(), window.passed()), (8, 3));
        let matters: Vec<_> = window.hits().iter().map(|hit| hit.matters).collect();
        assert_eq!(matters, [true, true, false]);
    }

    #[test]
    fn hits_become_visible_oldest_first_and_own_ones_do_not_count() {
        let mut window = WindowLedger::new(2);
        let mut staleness = Histogram::default();
        for at_us in [10, 20, 30] {
            window.hit(at_us, 0, 0, 1, 10, true);
            window.hit(at_us, 1, 1, 1, 10, true);
        }
        window.saw(25, 1, 1, 2, 0, &mut staleness);
        assert_eq!((staleness.count(), staleness.most_us()), (2, 15));
        // Old news once more, and the rest.
        window.saw(26, 1, 1, 1, 0, &mut staleness);
        window.saw(130, 1, 1, 3, 0, &mut staleness);
        assert_eq!((staleness.count(), staleness.most_us()), (3, 100));
        assert_eq!((window.seen(1), window.seen(0)), (3, 0));
    }

    #[test]
    fn hits_beyond_the_limit_and_before_the_daemon_ran_are_not_measured() {
        let mut window = WindowLedger::new(2);
        let mut staleness = Histogram::default();
        for at_us in [10, 20, 30, 40, 50] {
            window.hit(at_us, 0, 0, 1, LIMIT, true);
        }
        window.saw(100, 1, 1, 5, 20, &mut staleness);
        // Those of 20 and 30: the limit was used up by the first three.
        assert_eq!((staleness.count(), staleness.most_us()), (2, 80));
    }

    #[test]
    fn a_passing_request_is_as_blind_as_the_oldest_hit_it_did_not_know_of() {
        let mut window = WindowLedger::new(2);
        let mut staleness = Histogram::default();
        window.hit(10, 0, 0, 1, LIMIT, true);
        window.hit(20, 0, 0, 1, LIMIT, true);
        window.saw(30, 1, 1, 1, 0, &mut staleness);
        window.hit(35, 1, 1, 1, LIMIT, true);
        assert_eq!(window.blind_us(), 15);
        // One that was refused did no harm.
        window.hit(90, 1, 1, 1, LIMIT, false);
        assert_eq!(window.blind_us(), 15);
        window.saw(91, 1, 1, 2, 0, &mut staleness);
        window.hit(95, 1, 1, 1, LIMIT, true);
        assert_eq!(window.blind_us(), 15);
    }

    #[test]
    fn the_most_by_others_slides_along() {
        let mut window = WindowLedger::new(3);
        for (at_us, actor) in [(0, 0), (10, 1), (11, 1), (12, 2), (30, 2), (50, 0)] {
            window.hit(at_us, actor as usize, actor, 1, LIMIT, true);
        }
        // For actor 0: 10, 11 and 12.
        assert_eq!(window.most_by_others(2), 3);
        // For actor 0: 10 to 30.
        assert_eq!(window.most_by_others(20), 4);
        assert_eq!(window.most_by_others(0), 1);
    }
}
