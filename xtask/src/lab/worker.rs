//! Counting in a host's region directly, as a worker thread of an Envoy with the module does.
//!
//! A region is a file, so this works from any thread of this process, whether the host's meshd runs or
//! not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, panic};

use hivemind_shared::clock::{Clock as _, CoarseClock};
use hivemind_shared::decision::{Code, DecideError, Decision, Limiter, key};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{AttachError, Region};
use hivemind_shared::window::Unit;

/// What is counted: a descriptor of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The domain of its rules.
    pub domain: String,
    /// The entry's key.
    pub key: String,
    /// The entry's value.
    pub value: String,
    /// The unit of the rule that applies to it.
    pub unit: Unit,
}

/// A counter of one host, in the current window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hits counted on this host.
    pub local: u64,
    /// Hits that other hosts have reported to it, less those that were forgiven.
    pub remote: i64,
}

impl Counts {
    /// What a decision on this host goes by.
    pub fn total(self) -> u64 {
        self.local.saturating_add_signed(self.remote)
    }
}

/// Nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The host has no region, or none that can be used.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// There is nothing to decide by, or no room.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// There is no thread.
    #[error("a worker needs a thread of its own: {0}")]
    Thread(#[source] io::Error),
}

/// A worker. It attaches when it is first used, and again when the region was replaced.
#[derive(Debug)]
pub struct Worker {
    region: PathBuf,
    limiter: Option<Limiter>,
    decision: Decision,
}

impl Worker {
    /// A worker on the region at this path, which need not be there yet.
    pub fn new(region: impl Into<PathBuf>) -> Self {
        Self {
            region: region.into(),
            limiter: None,
            decision: Decision::new(),
        }
    }

    /// Counts one hit and tells whether it may pass.
    ///
    /// # Errors
    ///
    /// [`WorkerError`]; the hit was not counted then.
    pub fn hit(&mut self, key: &Key) -> Result<bool, WorkerError> {
        self.attach()?;
        let Self {
            limiter, decision, ..
        } = self;
        let entries = [Entry::new(&key.key, &key.value)];
        let descriptors = [Descriptor::new(&entries)];
        if let Some(limiter) = limiter {
            limiter.decide(key.domain.as_bytes(), &descriptors, 1, decision)?;
        }
        Ok(decision.overall == Code::Ok)
    }

    /// Counts this many hits and tells how many of them may pass.
    ///
    /// # Errors
    ///
    /// [`WorkerError`]; the hits before it were counted.
    pub fn hits(&mut self, key: &Key, hits: u64) -> Result<u64, WorkerError> {
        let mut admitted = 0;
        for _ in 0..hits {
            admitted += u64::from(self.hit(key)?);
        }
        Ok(admitted)
    }

    /// What this host knows of a key's hits. The key need not have been counted here.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Attach`].
    pub fn counts(&mut self, key: &Key) -> Result<Counts, WorkerError> {
        let region = self.attach()?;
        let mut bytes = Vec::new();
        let entries = [Entry::new(&key.key, &key.value)];
        let bytes = key::write(
            &mut bytes,
            key.domain.as_bytes(),
            &entries,
            key.unit.into(),
            |_| None,
        );
        // By fingerprint: a key that peers reported has no label here.
        let fingerprint = region.hasher().fingerprint(bytes);
        let counter = region
            .counters(CoarseClock.now_s())
            .find(|it| it.fingerprint == fingerprint && it.period == key.unit.into());
        Ok(counter.map_or_else(Counts::default, |it| Counts {
            local: it.local,
            remote: it.remote,
        }))
    }

    /// Counts one hit every `interval` from now on, in a thread of its own.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Thread`].
    pub fn start(mut self, key: Key, interval: Duration) -> Result<Counting, WorkerError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let count = move || {
            let mut counted = 0;
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                // Without a region nothing counts: Envoy's failure mode has the word then.
                counted += u64::from(self.hit(&key).is_ok());
            }
            counted
        };
        let thread = std::thread::Builder::new().spawn(count);
        Ok(Counting {
            stop: Some(stop),
            thread: Some(thread.map_err(WorkerError::Thread)?),
        })
    }

    fn attach(&mut self) -> Result<Arc<Region>, WorkerError> {
        let current = |it: &Limiter| it.region().is_current(&self.region);
        let limiter = match self.limiter.take().filter(current) {
            Some(limiter) => limiter,
            None => Limiter::new(Arc::new(Region::attach(&self.region)?), CoarseClock),
        };
        Ok(Arc::clone(self.limiter.insert(limiter).region()))
    }
}

/// A worker that counts in the background, until this is dropped.
#[derive(Debug)]
pub struct Counting {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<u64>>,
}

impl Counting {
    /// Ends it, and tells how many hits were counted.
    pub fn stop(mut self) -> u64 {
        self.stop = None;
        let thread = self.thread.take().map(JoinHandle::join);
        thread.map_or(0, |it| {
            it.unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
