//! Somebody who asks about one key under one limit, on a clock that is set by hand.

use std::sync::{Arc, Barrier};

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Code, Decision, Limiter, Status};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{OwnedRegion, Region};

use super::{rules, small};

/// A full hundred minutes.
pub(crate) const START_S: u64 = 1_800_000_000;

/// A region with one rule: this limit.
pub(crate) fn region_with(limit: &str) -> OwnedRegion {
    let mut owned = Region::anonymous(&small()).unwrap();
    publish(&mut owned, limit);
    owned
}

/// Puts another limit in its place.
pub(crate) fn publish(owned: &mut OwnedRegion, limit: &str) {
    let text = format!("domain: d\ndescriptors:\n  - key: k\n    rate_limit: {limit}\n");
    owned.publish_rules(&rules(&text)).unwrap();
}

pub(crate) struct Asker {
    limiter: Limiter<ManualClock>,
    pub(crate) clock: ManualClock,
    decision: Decision,
}

impl Asker {
    /// One with a clock of its own, at [`START_S`].
    pub(crate) fn new(owned: &OwnedRegion) -> Self {
        Self::by(owned, ManualClock::at(START_S))
    }

    /// One by this clock.
    pub(crate) fn by(owned: &OwnedRegion, clock: ManualClock) -> Self {
        Self::on(owned.region().clone(), clock)
    }

    /// One in this region, by this clock.
    pub(crate) fn on(region: Arc<Region>, clock: ManualClock) -> Self {
        Self {
            limiter: Limiter::new(region, clock.clone()),
            clock,
            decision: Decision::new(),
        }
    }

    /// Asks whether so many hits pass; with none, whether one would.
    pub(crate) fn ask(&mut self, hits: u64) -> Status {
        let own = (hits == 0).then_some(0);
        self.call(own, u32::try_from(hits).unwrap())
    }

    /// Reports a cost, as a descriptor of its own.
    pub(crate) fn report(&mut self, hits: u64) -> Status {
        self.call(Some(hits), 1)
    }

    fn call(&mut self, own: Option<u64>, of_request: u32) -> Status {
        let entries = [Entry::new("k", "v")];
        let descriptor = Descriptor {
            hits_addend: own,
            ..Descriptor::new(&entries)
        };
        self.limiter
            .decide(b"d", &[descriptor], of_request, &mut self.decision)
            .unwrap();
        self.decision.statuses[0]
    }

    pub(crate) fn passes(&mut self, hits: u64) -> bool {
        self.ask(hits).code == Code::Ok
    }
}

/// How many of 2,000 hits pass that four threads make at once.
pub(crate) fn admitted_at_once(owned: &OwnedRegion, clock: &ManualClock) -> usize {
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        let ask = || {
            let mut asker = Asker::by(owned, clock.clone());
            barrier.wait();
            (0..500).filter(|_| asker.passes(1)).count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}
