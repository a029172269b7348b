//! How calls of the Rate Limit Service ended, and how long they took.
//!
//! Every worker counts in memory of its own, so that counting never waits for another core; the numbers
//! are added up when somebody asks for them.

mod http2;
mod response_time;
mod unknown_domains;

use std::sync::Arc;
use std::time::Duration;

use hivemind_shared::sync::{AtomicWord, Ordering};

pub use self::http2::{ConnectionError, Http2Counts};
pub use self::response_time::ResponseTimes;
use self::response_time::Stopwatch;
pub use self::unknown_domains::OTHERS;
use self::unknown_domains::UnknownDomains;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass.
    Ok,
    /// It may not.
    OverLimit,
    /// Its message could not be read.
    Malformed,
    /// It named no domain.
    EmptyDomain,
    /// It had no descriptors.
    EmptyDescriptorList,
    /// Too many of its descriptors brought a limit of their own.
    TooManyRequestLimits,
    /// There were no rules to decide by.
    NoRules,
    /// The region had no room for a key of it.
    RegionFull,
    /// Others changed a counter of it too often.
    Contended,
}

impl Outcome {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::OverLimit,
        Self::Malformed,
        Self::EmptyDomain,
        Self::EmptyDescriptorList,
        Self::TooManyRequestLimits,
        Self::NoRules,
        Self::RegionFull,
        Self::Contended,
    ];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::OverLimit => "over_limit",
            Self::Malformed => "malformed",
            Self::EmptyDomain => "empty_domain",
            Self::EmptyDescriptorList => "empty_descriptor_list",
            Self::TooManyRequestLimits => "too_many_request_limits",
            Self::NoRules => "no_rules",
            Self::RegionFull => "region_full",
            Self::Contended => "contended",
        }
    }

    /// Whether the call got an answer.
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::OverLimit)
    }
}

/// How often calls ended in each way.
pub type OutcomeCounts = [(Outcome, u64); Outcome::ALL.len()];

/// What one worker counts. On cache lines that no other worker writes to.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CallCounts {
    outcomes: [AtomicWord; Outcome::ALL.len()],
    shadowed: AtomicWord,
    times: Stopwatch,
    unknown_domains: UnknownDomains,
    http2: Http2Counts,
}

impl CallCounts {
    /// A call ended like this.
    pub(super) fn ended(&self, outcome: Outcome) {
        // Relaxed, here and below: a number for people.
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A call took this long.
    pub(super) fn took(&self, time: Duration) {
        self.times.add(time);
    }

    /// A call was over its limits, and passes because all do.
    pub(super) fn shadowed(&self) {
        self.shadowed.fetch_add(1, Ordering::Relaxed);
    }

    /// So many descriptors came with a domain that no rules are for.
    pub(super) fn unknown_domain(&self, domain: &str, descriptors: usize) {
        self.unknown_domains.add(domain, descriptors as u64);
    }

    /// What became of calls and connections of HTTP/2.
    pub(super) const fn http2(&self) -> &Http2Counts {
        &self.http2
    }

    fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }
}

/// What all workers count.
#[derive(Debug)]
pub struct Calls {
    grpc: Vec<Arc<CallCounts>>,
    json: Arc<CallCounts>,
}

impl Calls {
    /// Counts for so many workers that serve gRPC, and for `/json`.
    pub fn of_workers(workers: usize) -> Self {
        Self {
            grpc: (0..workers).map(|_| Arc::default()).collect(),
            json: Arc::default(),
        }
    }

    /// Those of each worker.
    pub fn grpc(&self) -> &[Arc<CallCounts>] {
        &self.grpc
    }

    /// Those of `/json`.
    pub fn json(&self) -> &Arc<CallCounts> {
        &self.json
    }

    /// How calls by gRPC ended.
    pub fn grpc_outcomes(&self) -> OutcomeCounts {
        Outcome::ALL.map(|outcome| {
            let counts = self.grpc.iter().map(|counts| counts.outcome(outcome));
            (outcome, counts.sum())
        })
    }

    /// How calls on `/json` ended.
    pub fn json_outcomes(&self) -> OutcomeCounts {
        Outcome::ALL.map(|outcome| (outcome, self.json.outcome(outcome)))
    }

    /// How long calls by gRPC took.
    pub fn grpc_times(&self) -> ResponseTimes {
        let times = self.grpc.iter().map(|counts| counts.times.read());
        times.fold(ResponseTimes::default(), ResponseTimes::and)
    }

    /// Calls by gRPC that clients reset.
    pub fn resets(&self) -> u64 {
        let counts = self.grpc.iter().map(|counts| counts.http2.resets());
        counts.sum()
    }

    /// Connections of gRPC that meshd ended with an error, by cause.
    pub fn connection_errors(&self) -> [(ConnectionError, u64); ConnectionError::ALL.len()] {
        ConnectionError::ALL.map(|cause| {
            let counts = self.grpc.iter().map(|counts| counts.http2.errors(cause));
            (cause, counts.sum())
        })
    }

    /// Calls that were over their limits and passed because all do, `rate_limiting.shadow_mode`.
    pub fn shadowed(&self) -> u64 {
        let counts = self.all().map(|it| it.shadowed.load(Ordering::Relaxed));
        counts.sum()
    }

    /// Descriptors by the domain they came with, where no rules are for it. Domains beyond
    /// the first few of a worker are together under [`OTHERS`].
    pub fn unknown_domains(&self) -> Vec<(String, u64)> {
        UnknownDomains::sum(self.all().map(|counts| &counts.unknown_domains))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<CallCounts>> {
        self.grpc.iter().chain([&self.json])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_stand_in_their_own_places() {
        let calls = Calls::of_workers(2);
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
            calls.grpc()[place % 2].ended(outcome);
        }
        assert!(calls.grpc_outcomes().iter().all(|(_, count)| *count == 1));
        assert!(calls.json_outcomes().iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn what_workers_counted_is_added_up() {
        let calls = Calls::of_workers(2);
        for counts in calls.all() {
            counts.shadowed();
            counts.unknown_domain("elsewhere", 2);
            counts.took(Duration::from_micros(20));
        }
        assert_eq!(calls.shadowed(), 3);
        assert_eq!(calls.unknown_domains(), [("elsewhere".to_owned(), 6)]);
        // Only gRPC is timed.
        assert_eq!(calls.grpc_times().count(), 2);
    }
}
