//! Says in the log when meshd is ready, and which components it waits for while it is not.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::health::{Components, Health, State};

/// How long meshd may be unready before the log says what it waits for: most starts are shorter.
const FIRST_REPORT_AFTER: Duration = Duration::from_secs(1);

/// Each report of the same wait comes so many times later than the one before.
const REPORT_INTERVAL_FACTOR: u32 = 4;

/// The longest time between two reports of the same wait.
const REPORT_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// Follows `health` for ever. The first line that says that meshd is ready is written when `/ready` first
/// answers with 200.
pub async fn follow(health: Health) {
    let mut changes = health.subscribe();
    let mut readiness = Readiness::new(Instant::now());
    loop {
        let components = changes.borrow_and_update().clone();
        if let Some(line) = readiness.observe(&components, Instant::now()) {
            line.log();
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = until(readiness.next_report) => {}
        }
    }
}

/// Waits until `at`, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// What the log was told of readiness.
#[derive(Debug)]
struct Readiness {
    /// Whether meshd has ever been ready.
    was_ready: bool,
    /// Since when it has not been, and how often that was said; none while it is ready.
    unready: Option<Unready>,
    /// When to say again what is missing; none while it is ready.
    next_report: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Unready {
    since: Instant,
    interval: Duration,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// For the first time.
    Ready,
    /// After it was not for this long.
    ReadyAgain(Duration),
    /// It has not been ready yet.
    NotYet {
        missing: String,
        waited: Duration,
        is_first: bool,
    },
    /// It was ready.
    NoLonger { missing: String },
    /// It was ready once, and has not been for this long.
    StillNot { missing: String, waited: Duration },
}

impl Readiness {
    fn new(now: Instant) -> Self {
        Self {
            was_ready: false,
            unready: Some(Unready {
                since: now,
                interval: FIRST_REPORT_AFTER,
            }),
            next_report: Some(now + FIRST_REPORT_AFTER),
        }
    }

    /// What is to be said of `components`, if anything.
    fn observe(&mut self, components: &Components, now: Instant) -> Option<Line> {
        match (components.are_ready(), self.unready) {
            (true, None) => None,
            (true, Some(Unready { since, .. })) => {
                self.unready = None;
                self.next_report = None;
                let is_again = std::mem::replace(&mut self.was_ready, true);
                Some(if is_again {
                    Line::ReadyAgain(now - since)
                } else {
                    Line::Ready
                })
            }
            (false, None) => {
                let interval = FIRST_REPORT_AFTER * REPORT_INTERVAL_FACTOR;
                self.unready = Some(Unready {
                    since: now,
                    interval,
                });
                self.next_report = Some(now + interval);
                Some(Line::NoLonger {
                    missing: missing(components),
                })
            }
            (false, Some(Unready { since, interval })) => {
                if self.next_report.is_some_and(|at| now < at) {
                    return None;
                }
                let next = (interval * REPORT_INTERVAL_FACTOR).min(REPORT_INTERVAL_MAX);
                self.unready = Some(Unready {
                    since,
                    interval: next,
                });
                self.next_report = Some(now + next);
                let (missing, waited) = (missing(components), now - since);
                Some(if self.was_ready {
                    Line::StillNot { missing, waited }
                } else {
                    Line::NotYet {
                        missing,
                        waited,
                        is_first: interval == FIRST_REPORT_AFTER,
                    }
                })
            }
        }
    }
}

impl Line {
    fn log(self) {
        match self {
            Self::Ready => info!("meshd is ready"),
            Self::ReadyAgain(after) => info!(?after, "meshd is ready again"),
            Self::NotYet {
                missing,
                waited,
                is_first: true,
            } => info!(missing, ?waited, "meshd is not ready yet"),
            Self::NotYet {
                missing, waited, ..
            } => warn!(missing, ?waited, "meshd is not ready yet"),
            Self::NoLonger { missing } => warn!(missing, "meshd is not ready any more"),
            Self::StillNot { missing, waited } => {
                warn!(missing, ?waited, "meshd is still not ready");
            }
        }
    }
}

/// The components that are down, each with its cause.
fn missing(components: &Components) -> String {
    let down = components.named().filter_map(|(name, state)| match state {
        State::Down(cause) => Some(format!("{name}: {cause}")),
        State::Up | State::Degraded(_) => None,
    });
    down.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Health in which these components are down.
    fn down(names: &[&str]) -> Components {
        let health = Health::starting();
        health.update(|components| {
            let state = |name| {
                if names.contains(&name) {
                    State::Down(format!("no {name} yet"))
                } else {
                    State::Up
                }
            };
            components.region = state("region");
            components.rules = state("rules");
            components.mesh = state("mesh");
            components.server = state("server");
        });
        health.now()
    }

    #[test]
    fn ready_is_said_once_and_only_when_nothing_is_down() {
        let now = Instant::now();
        let mut readiness = Readiness::new(now);
        assert_eq!(readiness.observe(&down(&["mesh", "rules"]), now), None);
        assert_eq!(readiness.observe(&down(&["mesh"]), now), None);
        assert_eq!(readiness.observe(&down(&[]), now), Some(Line::Ready));
        assert_eq!(readiness.observe(&down(&[]), now), None);
        assert_eq!(readiness.next_report, None, "there is nothing to report");
    }

    #[test]
    fn a_wait_is_reported_with_every_component_and_cause_and_ever_more_rarely() {
        let began = Instant::now();
        let mut readiness = Readiness::new(began);
        let mut reports = Vec::new();
        while reports.len() < 8 {
            let now = readiness.next_report.unwrap();
            let Some(Line::NotYet {
                missing,
                waited,
                is_first,
            }) = readiness.observe(&down(&["rules", "mesh"]), now)
            else {
                panic!("a report was due");
            };
            assert_eq!(missing, "rules: no rules yet; mesh: no mesh yet");
            assert_eq!(is_first, reports.is_empty());
            assert_eq!(waited, now - began);
            assert_eq!(readiness.observe(&down(&["rules", "mesh"]), now), None);
            reports.push(waited.as_secs());
        }
        assert_eq!(reports, [1, 5, 21, 85, 341, 941, 1541, 2141]);
    }

    #[test]
    fn losing_and_regaining_readiness_is_one_line_each() {
        let mut now = Instant::now();
        let mut readiness = Readiness::new(now);
        readiness.observe(&down(&[]), now);
        for _ in 0..2 {
            let missing = "region: no region yet".to_owned();
            let line = readiness.observe(&down(&["region"]), now);
            assert_eq!(line, Some(Line::NoLonger { missing }));
            assert_eq!(readiness.observe(&down(&["region"]), now), None);
            now += Duration::from_secs(3);
            let line = readiness.observe(&down(&[]), now);
            assert_eq!(line, Some(Line::ReadyAgain(Duration::from_secs(3))));
        }
    }
}
