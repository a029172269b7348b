//! Statistics by request value, of rules that ask for them (`detailed_metric`, `value_to_metric`).
//!
//! Nobody counts for them on the way of a request: the counters of the region are by value already. So
//! they are looked at again and again, and what they grew by since is added to the series of their values.

mod growth;
mod observer;
mod series;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hivemind_shared::clock::{Clock, CoarseClock};

use self::observer::Observer;
pub use self::observer::{Dropped, DroppedHits};
pub use self::series::{Name, Series};
use crate::panics::PanicNotice;
use crate::region_owner::RegionOwner;
use crate::server::health::{Health, State};

/// How often the counters are looked at. A counter remembers its window and the one before: this is often
/// enough for windows of a second, also when a look comes late.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The series of all values.
#[derive(Debug)]
pub struct ValueSeries {
    owner: Arc<RegionOwner>,
    observer: Mutex<Observer>,
}

/// What is known of them at one time.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The series, in the order of their names.
    pub series: Vec<Series>,
    /// Hits that are in none.
    pub dropped: DroppedHits,
}

impl ValueSeries {
    /// As many series as `series_max`, of hits from now on.
    pub fn new(owner: Arc<RegionOwner>, series_max: usize) -> Self {
        let series = Self {
            owner,
            observer: Mutex::new(Observer::new(series_max)),
        };
        series.catch_up();
        series
    }

    /// Catches up with the counters, and shows what there is then. Takes a few milliseconds when there are
    /// many.
    pub fn show(&self) -> Shown {
        let observer = self.look();
        Shown {
            series: observer.series(),
            dropped: observer.dropped(),
        }
    }

    /// Catches up with the counters.
    pub fn catch_up(&self) {
        drop(self.look());
    }

    fn look(&self) -> MutexGuard<'_, Observer> {
        // A panic between two additions leaves sums that are a little too small.
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        let (region, rules) = self.owner.region_and_rules();
        observer.look(&region, &rules.unwrap_or_default(), CoarseClock.now_s());
        observer
    }
}

/// Starts the thread that looks at the counters until `stop` disconnects.
///
/// # Errors
///
/// When the operating system has no more threads.
pub fn start(
    series: Arc<ValueSeries>,
    stop: Receiver<()>,
    health: &Health,
) -> io::Result<JoinHandle<()>> {
    let notice = death_notice(health.clone());
    std::thread::Builder::new()
        .name("values".to_owned())
        .spawn(move || {
            let _notice = notice;
            while stop.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                series.catch_up();
            }
        })
}

/// Says in health when the thread dies. The series grow with each scrape, then, and may miss windows.
fn death_notice(health: Health) -> PanicNotice {
    PanicNotice::new(move || {
        health.update(|components| {
            let detail = "the thread that counts by request value died: restart meshd";
            components.metrics = State::Degraded(detail.to_owned());
        });
    })
}
