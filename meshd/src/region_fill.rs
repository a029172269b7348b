//! What operators are told of how full the region is.

use std::time::Duration;

use hivemind_shared::region::Region;
use hivemind_shared::rules::RuleSet;
use tracing::{info, warn};

use crate::region_census::{Census, LiveKeys};
use crate::server::health::State;

/// Share of `region.max_keys` from which on it is said that the region fills up, and below which that may be said
/// again, percent.
const NEARLY_FULL_PERCENT: u64 = 80;
const ROOM_AGAIN_PERCENT: u64 = 70;

/// How long no key must have been evicted until it is said that it is over.
const QUIET: Duration = Duration::from_secs(60);

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// Most of the room is taken.
    NearlyFull,
    /// Keys are evicted.
    Evicting,
    /// They are no longer; so many were.
    NoLongerEvicting { evicted: u64 },
}

/// Keys that are being evicted.
#[derive(Clone, Copy, Debug)]
struct Episode {
    /// Evictions before it.
    before: u64,
    /// When the last one was seen, on a clock that nobody sets.
    last: Duration,
}

/// When what is said.
#[derive(Debug, Default)]
struct Watch {
    /// Evictions at the last look; `None` before the first.
    seen: Option<u64>,
    episode: Option<Episode>,
    was_nearly_full: bool,
}

impl Watch {
    /// Looks at the numbers, at a time by a clock that nobody sets.
    fn look(
        &mut self,
        live: Option<u64>,
        max_keys: u64,
        evictions: u64,
        now: Duration,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let percent = live.map(|live| live.saturating_mul(100) / max_keys.max(1));
        if percent.is_some_and(|percent| percent >= NEARLY_FULL_PERCENT) && !self.was_nearly_full {
            self.was_nearly_full = true;
            notices.push(Notice::NearlyFull);
        } else if percent.is_some_and(|percent| percent < ROOM_AGAIN_PERCENT) {
            self.was_nearly_full = false;
        }
        // The first number may be of an earlier run. A smaller one is of another region, or of fewer rules.
        let before = self.seen.replace(evictions).unwrap_or(evictions);
        match &mut self.episode {
            Some(episode) if evictions > before => episode.last = now,
            Some(episode) if now.saturating_sub(episode.last) >= QUIET => {
                let evicted = evictions.saturating_sub(episode.before);
                notices.push(Notice::NoLongerEvicting { evicted });
                self.episode = None;
            }
            None if evictions > before => {
                self.episode = Some(Episode { before, last: now });
                notices.push(Notice::Evicting);
            }
            Some(_) | None => {}
        }
        notices
    }
}

/// Watches how full a region is.
#[derive(Debug, Default)]
pub struct RegionFill {
    census: Census,
    watch: Watch,
    /// What the component is while keys are evicted.
    degraded: Option<String>,
}

impl RegionFill {
    /// Looks at the region at a time, in Unix seconds and by a clock that nobody sets; logs what changed.
    pub fn look(&mut self, region: &Region, rules: Option<&RuleSet>, now_s: u64, now: Duration) {
        self.census.go_on(region, now_s);
        let live_keys = self.census.last();
        let live = live_keys.map(|keys| keys.total);
        let max_keys = region.max_keys();
        let evictions = region.evictions().total();
        let notices = self.watch.look(live, max_keys.into(), evictions, now);
        for notice in notices {
            let most = live_keys.map(|keys| most_of(keys, rules));
            let most = most.as_deref().unwrap_or("not known yet");
            let live = live.unwrap_or_default();
            match notice {
                Notice::NearlyFull => warn!(
                    live_keys = live,
                    max_keys,
                    most,
                    "the region fills up: raise region.max_keys, or limit by something that has fewer values"
                ),
                Notice::Evicting => {
                    warn!(
                        live_keys = live,
                        max_keys,
                        most,
                        "the region is full: keys that have used least of their limit are evicted; raise \
                         region.max_keys, or limit by something that has fewer values"
                    );
                    self.degraded = Some(format!(
                        "full: keys that have used least of their limit are evicted; most keys: {most}"
                    ));
                }
                Notice::NoLongerEvicting { evicted } => {
                    info!(evicted, "no key of the region was evicted for a minute");
                    self.degraded = None;
                }
            }
        }
    }

    /// The state of a region that works otherwise.
    pub fn state(&self) -> State {
        match &self.degraded {
            Some(what) => State::Degraded(what.clone()),
            None => State::Up,
        }
    }

    /// Keys that count in the present window of their limit; `None` before they were counted.
    pub fn live_keys(&self) -> Option<u64> {
        self.census.last().map(|keys| keys.total)
    }
}

/// Which rule has the most keys.
fn most_of(keys: &LiveKeys, rules: Option<&RuleSet>) -> String {
    let Some((stats_index, keys)) = keys.most() else {
        return "none".to_owned();
    };
    let path = stats_index.and_then(|index| {
        let rules = rules?;
        let (id, _) = rules.rules().find(|(_, rule)| rule.stats_index == index)?;
        Some(rules.path(id).to_string())
    });
    match (path, stats_index) {
        (Some(path), _) => format!("{keys} of rule {path}"),
        (None, Some(_)) => format!("{keys} of a rule that is no longer in force"),
        (None, None) => format!("{keys} of limits of requests, or of peers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watch: &mut Watch, live: u64, evictions: u64, at_s: u64) -> Vec<Notice> {
        watch.look(Some(live), 100, evictions, Duration::from_secs(at_s))
    }

    #[test]
    fn a_region_that_fills_up_is_named_once_until_there_is_room_again() {
        let mut watch = Watch::default();
        let said: Vec<_> = [79, 80, 100, 71, 80, 69, 79, 81]
            .map(|live| look(&mut watch, live, 0, 0).len())
            .into();
        assert_eq!(said, [0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn evictions_are_named_when_they_begin_and_when_there_were_none_for_a_minute() {
        let mut watch = Watch::default();
        // Those of an earlier run are no news.
        assert_eq!(look(&mut watch, 0, 7, 0), []);
        assert_eq!(look(&mut watch, 0, 9, 1), [Notice::Evicting]);
        assert_eq!(look(&mut watch, 0, 12, 40), []);
        assert_eq!(look(&mut watch, 0, 12, 99), []);
        let over = Notice::NoLongerEvicting { evicted: 5 };
        assert_eq!(look(&mut watch, 0, 12, 100), [over]);
        assert_eq!(look(&mut watch, 0, 12, 200), []);
        assert_eq!(look(&mut watch, 0, 13, 201), [Notice::Evicting]);
    }

    #[test]
    fn a_new_region_with_fewer_evictions_is_no_eviction() {
        let mut watch = Watch::default();
        look(&mut watch, 0, 7, 0);
        assert_eq!(look(&mut watch, 0, 0, 1), []);
        assert_eq!(look(&mut watch, 0, 1, 2), [Notice::Evicting]);
    }
}
