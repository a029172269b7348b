//! A view of the others that goes on counting between news: what they had by the last news, and what
//! they must have had since at the rate they had.
//!
//! No node decides by it. It is evaluated beside the real decisions: hits are counted whether they pass
//! or not, so another way of deciding would have changed no count, and what it lets pass is exact. To
//! say what such a view is good for at best, it knows more than a node could: how old news is when it
//! comes to the microsecond, and that a window begins with nothing counted.

use hivemind_shared::window::Window;

use crate::clock::START_UNIX_US;
use crate::time::{MILLISECOND_US, SECOND_US, whole};

/// How long the rate and the age of news take to follow a change to about two thirds, microseconds.
const SMOOTHING_US: u64 = 100 * MILLISECOND_US;

/// What the two aged views say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// Whether it passes when the estimate may fall again with news.
    pub free: bool,
    /// Whether it passes when the estimate never falls within a window, as it could not if nodes wrote
    /// it where they write what they know of the others.
    pub ratchet: bool,
}

/// One node's aged view of one key.
#[derive(Clone, Debug)]
pub struct AgedView {
    /// The longest a view ages beyond what it is of, microseconds.
    age_us_max: u64,
    window: Option<Window>,
    begin_us: u64,
    /// The others' hits by the last news.
    remote: u64,
    /// When that came; when the window began, if none came.
    news_us: u64,
    /// Where the rate was last learned: at this time, with so many hits.
    learned: (u64, u64),
    /// The others' hits in a microsecond. It goes on from one window to the next.
    rate: f64,
    /// How old news is when it comes, microseconds. It goes on as well.
    lag_us: f64,
    /// Whether this node knew that the limit is used up. Then it hears of the others seldom, and learns
    /// nothing from it.
    is_over: bool,
    ratchet: u64,
}

impl AgedView {
    /// A view that knows of nobody, and ages so long at most.
    pub const fn new(age_us_max: u64) -> Self {
        Self {
            age_us_max,
            window: None,
            begin_us: 0,
            remote: 0,
            news_us: 0,
            learned: (0, 0),
            rate: 0.0,
            lag_us: 0.0,
            is_over: false,
            ratchet: 0,
        }
    }

    /// Forgets the others.
    pub const fn forget(&mut self) {
        *self = Self::new(self.age_us_max);
    }

    /// Notes that news came: the others' hits, and how old the oldest is of those it did not tell of.
    pub fn saw(&mut self, now_us: u64, window: Window, remote: u64, lag_us: u64) {
        let is_old = self
            .window
            .is_some_and(|current| current.number() > window.number());
        if is_old {
            return;
        }
        self.enter(now_us, window);
        self.remote = self.remote.max(remote);
        if self.is_over {
            self.news_us = now_us;
            return;
        }
        let weight = weight(now_us - self.news_us);
        self.lag_us += weight * (lag_us as f64 - self.lag_us);
        self.news_us = now_us;
        let (since_us, known) = self.learned;
        // As long as no news of this window could have come there is nothing to learn.
        if now_us > since_us {
            let passed_us = now_us - since_us;
            let rate = self.remote.saturating_sub(known) as f64 / passed_us as f64;
            self.rate += self::weight(passed_us) * (rate - self.rate);
            self.learned = (now_us, self.remote);
        }
    }

    /// Decides a request. `own` is what the node itself counted, this request included.
    pub fn decide(&mut self, now_us: u64, window: Window, own: u64, limit: u32) -> Verdicts {
        self.enter(now_us, window);
        let limit = u64::from(limit);
        let estimate = self.estimate(now_us);
        self.ratchet = self.ratchet.max(estimate);
        self.is_over |= own + self.remote >= limit;
        Verdicts {
            free: own + estimate <= limit,
            ratchet: own + self.ratchet <= limit,
        }
    }

    /// The others' hits as they must be by now.
    fn estimate(&self, now_us: u64) -> u64 {
        let silent_us = now_us - self.news_us;
        // What it knows is at most as old as the window: that began with nothing.
        let age_us = (silent_us as f64 + self.lag_us)
            .min((now_us - self.begin_us) as f64)
            .min(self.age_us_max as f64);
        // Who has news tells it within the longest age. Longer silence means that there is none.
        let excess_us = silent_us.saturating_sub(self.age_us_max);
        let rate = self.rate * (1.0 - weight(excess_us));
        self.remote + whole(rate * age_us)
    }

    /// Begins a window, unless it is in it.
    fn enter(&mut self, now_us: u64, window: Window) {
        if self.window == Some(window) {
            return;
        }
        let begin_us = (window.start_s() * SECOND_US).saturating_sub(START_UNIX_US);
        self.window = Some(window);
        // A clock that is ahead is in it before it begins.
        self.begin_us = begin_us.min(now_us);
        self.remote = 0;
        self.news_us = self.begin_us;
        // News of the window's first hits comes no sooner.
        self.learned = (self.begin_us + whole(self.lag_us), 0);
        self.is_over = false;
        self.ratchet = 0;
    }
}

/// How much of what is new counts after so long.
fn weight(passed_us: u64) -> f64 {
    -(-(passed_us as f64) / SMOOTHING_US as f64).exp_m1()
}

#[cfg(test)]
mod tests {
    use hivemind_shared::window::{Period, Unit};

    use super::*;

    const AGE_US_MAX: u64 = 100 * MILLISECOND_US;
    const LAG_US: u64 = 10 * MILLISECOND_US;

    /// The window that begins so many seconds after the simulation.
    fn window(second: u64) -> Window {
        Period::from(Unit::Second).window_at(START_UNIX_US / SECOND_US + second)
    }

    /// A view after half a second of others that have a hit each millisecond, told of every 5 ms.
    fn steady() -> AgedView {
        let mut view = AgedView::new(AGE_US_MAX);
        for ms in (15..=500).step_by(5) {
            view.saw(ms * MILLISECOND_US, window(0), ms - 10, LAG_US);
        }
        view
    }

    #[test]
    fn steady_others_are_known_without_news() {
        let view = steady();
        let at = |ms: u64| view.estimate(ms * MILLISECOND_US);
        let near = |estimate: u64, truth: u64| estimate.abs_diff(truth) <= 2;
        assert!(near(at(500), 500), "{}", at(500));
        assert!(near(at(530), 530), "{}", at(530));
    }

    #[test]
    fn a_view_ages_so_long_and_no_longer() {
        let view = steady();
        assert!(view.estimate(590_000).abs_diff(590) <= 2);
        assert!(view.estimate(600_000).abs_diff(590) <= 2);
        // After long silence it is what was told.
        assert_eq!(view.estimate(2_000_000), 490);
    }

    #[test]
    fn the_rate_goes_on_in_the_next_window_and_the_count_does_not() {
        let mut view = steady();
        view.enter(1_000_000, window(1));
        assert_eq!(view.estimate(1_000_000), 0);
        assert!(view.estimate(1_020_000).abs_diff(20) <= 1);
    }

    #[test]
    fn news_of_a_window_that_is_over_changes_nothing() {
        let mut view = steady();
        view.enter(1_000_000, window(1));
        view.saw(1_010_000, window(0), 1_000, LAG_US);
        assert!(view.estimate(1_020_000).abs_diff(20) <= 1);
    }

    #[test]
    fn a_ratchet_remembers_what_news_disproved() {
        let mut view = steady();
        let begin = view.decide(560_000, window(0), 1, 1_000);
        assert!(begin.free && begin.ratchet);
        // Nothing came since 500: it is about 555 that the ratchet has, and 490 that is true.
        view.saw(600_000, window(0), 490, 0);
        let after = view.decide(600_000, window(0), 460, 1_000);
        let expected = Verdicts {
            free: true,
            ratchet: false,
        };
        assert_eq!(after, expected);
    }

    #[test]
    fn a_view_that_does_not_age_is_what_was_told() {
        let mut view = AgedView {
            age_us_max: 0,
            ..steady()
        };
        for (own, passes) in [(510, true), (511, false)] {
            let verdicts = view.decide(505_000, window(0), own, 1_000);
            assert_eq!((verdicts.free, verdicts.ratchet), (passes, passes));
        }
    }
}
