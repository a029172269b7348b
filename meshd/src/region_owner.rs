//! Owning the region: takes it at the start, publishes rules in it, says every second that its owner
//! is alive, and makes a new one when somebody removed it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hivemind_shared::clock::{CoarseClock, unix_time_ms};
use hivemind_shared::decision::Limiter;
use hivemind_shared::region::{
    LoadRulesError, Opened, OwnError, OwnedRegion, PublishError, Published, Region, RegionLock,
    RegionOptions,
};
use hivemind_shared::rules::RuleSet;
use tracing::{error, info, warn};

use crate::config;
use crate::panics::PanicNotice;
use crate::region_fill::RegionFill;
use crate::server::Decider;
use crate::server::health::{Health, State};

/// How often the region hears that its owner is alive.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Why the region could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// The rules do not fit in it.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// The region, as long as this process owns it.
#[derive(Debug)]
pub struct RegionOwner {
    path: PathBuf,
    options: RegionOptions,
    health: Health,
    decider: Decider,
    /// How it came by the region it began with.
    opened: Opened,
    owned: Mutex<Owned>,
    fill: Mutex<RegionFill>,
    started: Instant,
}

/// The region that a start made in an empty place. It is removed when this is dropped, so that a start that fails
/// leaves nothing behind.
#[derive(Debug)]
pub struct Creation(Option<Arc<RegionOwner>>);

impl Creation {
    /// The start has succeeded: the region stays.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if let Some(owner) = &self.0
            && owner.opened == Opened::Created
        {
            owner.lock().region.remove();
        }
    }
}

/// A region, and the number of this run of its actor on the mesh.
#[derive(Clone, Debug)]
pub struct RegionRun {
    /// The region.
    pub region: Arc<Region>,
    /// Larger than the number of every earlier run in this region.
    pub incarnation: u64,
}

/// Is told when there is another region.
struct Follower(Box<dyn Fn(RegionRun) + Send>);

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}

#[derive(Debug)]
struct Owned {
    region: OwnedRegion,
    /// What is published, with the statistics places it has in this region; none before the first.
    rules: Option<Arc<RuleSet>>,
    /// Where tools find the admin port, to say so in a new region.
    admin: Option<SocketAddr>,
    /// Who wants to know about a new region.
    followers: Vec<Follower>,
    /// The last failure to replace a lost region, so that it is logged once.
    last_failure: Option<String>,
    /// Whether it was logged that another process writes words of the owner.
    is_tampered: bool,
    /// Rules that came while this one rested, for when it goes on: those above are the ones whose places in the
    /// region are known.
    waiting: Option<RuleSet>,
    /// Whether another meshd is about to own the region: what owners write there is its own by now.
    rests: bool,
}

impl RegionOwner {
    /// Resumes or makes the region, to which `lock` is the right, and publishes the first rules in it;
    /// without any, those that an earlier run left there stay in force, also in a new region in place of
    /// its own. With a `hash_key`, which the
    /// hosts of a mesh agree on, a region that has another one is replaced.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or the rules do not fit.
    pub fn open(
        lock: RegionLock,
        config: &config::Region,
        hash_key: Option<[u8; 16]>,
        rules: Option<RuleSet>,
        health: Health,
    ) -> Result<Self, OpenError> {
        let options = RegionOptions {
            hash_key,
            ..RegionOptions::from(config)
        };
        let left = if rules.is_none() { lock.rules() } else { None };
        let Opening {
            mut region,
            rules,
            opened,
        } = open(lock, &options, rules.as_ref())?;
        let rules = match rules {
            None if opened == Opened::Resumed => left_behind(&region),
            None => left.and_then(|left| carry_over(&mut region, &left)),
            published => published,
        };
        health.update(|components| components.region = State::Up);
        Ok(Self {
            path: config.path.clone(),
            options,
            health,
            decider: Decider::new(limiter(&region)),
            opened,
            owned: Mutex::new(Owned {
                region,
                rules: rules.map(Arc::new),
                admin: None,
                followers: Vec::new(),
                last_failure: None,
                is_tampered: false,
                waiting: None,
                rests: false,
            }),
            fill: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// Whether it began with the region of an earlier run, its counts and its actor.
    pub fn is_resumed(&self) -> bool {
        self.opened == Opened::Resumed
    }

    /// Undoes what this start made, unless it is kept.
    pub fn creation(self: &Arc<Self>) -> Creation {
        Creation(Some(Arc::clone(self)))
    }

    /// The region as it is now.
    pub fn region(&self) -> Arc<Region> {
        Arc::clone(self.lock().region.region())
    }

    /// Begins a run on the mesh; `follower` is told when a new region has begun another one.
    pub fn follow(&self, follower: impl Fn(RegionRun) + Send + 'static) -> RegionRun {
        let mut owned = self.lock();
        owned.followers.push(Follower(Box::new(follower)));
        next_run(&owned.region)
    }

    /// Tells tools where the admin port is; `None` once it is closed.
    pub fn set_admin_address(&self, address: Option<SocketAddr>) {
        let mut owned = self.lock();
        if !owned.rests {
            owned.region.set_admin_address(address);
        }
        owned.admin = address;
    }

    /// The way to the region for those who count in it.
    pub fn decider(&self) -> Decider {
        self.decider.clone()
    }

    /// Puts rules in force for everyone attached to the region; returns their generation.
    ///
    /// # Errors
    ///
    /// When they do not fit. The published rules stay then.
    pub fn publish(&self, rules: &RuleSet) -> Result<u64, PublishError> {
        let mut owned = self.lock();
        if owned.rests {
            // Should this process go on as the owner, it publishes them then.
            owned.waiting = Some(rules.clone());
            return Ok(owned.region.region().rules_generation());
        }
        let published = owned.region.publish_rules(rules)?;
        owned.rules = Some(Arc::new(published.rules));
        Ok(published.generation)
    }

    /// The published rules; none before the first.
    pub fn rules(&self) -> Option<Arc<RuleSet>> {
        self.lock().rules.clone()
    }

    /// The region, and the rules that are published in it.
    pub fn region_and_rules(&self) -> (Arc<Region>, Option<Arc<RuleSet>>) {
        let owned = self.lock();
        (Arc::clone(owned.region.region()), owned.rules.clone())
    }

    /// The generation of the published rules.
    pub fn rules_generation(&self) -> u64 {
        self.lock().region.region().rules_generation()
    }

    /// Says that the owner is alive, and replaces the region if its file is gone.
    pub fn beat(&self) {
        let mut owned = self.lock();
        if owned.rests {
            return;
        }
        self.beat_in(&mut owned);
        let (region, rules) = (Arc::clone(owned.region.region()), owned.rules.clone());
        drop(owned);
        self.look_at_fill(&region, rules.as_deref());
    }

    /// Looks at how full the region is, and says so.
    fn look_at_fill(&self, region: &Region, rules: Option<&RuleSet>) {
        let mut fill = self.lock_fill();
        let now_s = unix_time_ms() / 1_000;
        fill.look(region, rules, now_s, self.started.elapsed());
        let state = fill.state();
        self.health.update(|components| {
            if !matches!(components.region, State::Down(_)) {
                components.region = state;
            }
        });
    }

    /// The region is there, however full it is.
    fn say_it_works(&self) {
        let state = self.lock_fill().state();
        self.health.update(|components| components.region = state);
    }

    /// Keys that count in the present window of their limit, as of the last seconds; `None` before they were
    /// counted.
    pub fn live_keys(&self) -> Option<u64> {
        self.lock_fill().live_keys()
    }

    fn lock_fill(&self) -> MutexGuard<'_, RegionFill> {
        // A panic between two numbers leaves some that the next look replaces.
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat_in(&self, owned: &mut Owned) {
        owned.region.beat(unix_time_ms());
        if !owned.region.region().is_current(&self.path) {
            self.replace(owned);
            return;
        }
        if owned.last_failure.take().is_some() {
            info!(path = %self.path.display(), "the region is back");
        }
        self.say_it_works();
        if owned.mend() && !owned.is_tampered {
            owned.is_tampered = true;
            warn!(
                path = %self.path.display(),
                "words of this meshd in the region were changed by another process, and were put right: only \
                 Envoys of yours should have the region open"
            );
        }
    }

    /// A second handle on the right to the region, for the meshd that is to own it next; `None` once the
    /// right was left.
    ///
    /// # Errors
    ///
    /// When the operating system has no more file descriptors.
    pub fn share_lock(&self) -> io::Result<Option<OwnedFd>> {
        self.lock().region.share_lock()
    }

    /// Writes nothing in the region any more but counts: another meshd is about to own it.
    pub fn rest(&self) {
        self.lock().rests = true;
    }

    /// Whether another meshd owns the region, or is about to.
    pub fn rests(&self) -> bool {
        self.lock().rests
    }

    /// Does something in the region that its owner alone may do; `None` when another meshd is about to own it.
    pub fn while_owning<T>(&self, work: impl FnOnce(&Region) -> T) -> Option<T> {
        let owned = self.lock();
        (!owned.rests).then(|| work(owned.region.region()))
    }

    /// Goes on as the owner, after a [`Self::rest`] that came to nothing: writes again what the other one
    /// may have written meanwhile, and begins another run on the mesh.
    pub fn go_on(&self) {
        let mut owned = self.lock();
        owned.rests = false;
        owned.region.sign();
        owned.region.set_admin_address(owned.admin);
        let waiting = owned.waiting.take().map(Arc::new);
        if let Some(rules) = waiting.or_else(|| owned.rules.clone()) {
            match owned.region.publish_rules(&rules) {
                Ok(published) => owned.rules = Some(Arc::new(published.rules)),
                Err(failure) => {
                    error!(%failure, "the rules cannot be published again: restart meshd");
                    self.health.update(|components| {
                        let detail = format!("not published again after a hand-over: {failure}");
                        components.rules = State::Degraded(detail);
                    });
                }
            }
        }
        let region = Arc::clone(owned.region.region());
        self.beat_in(&mut owned);
        // Otherwise the other one has put a region of its own there, and followers know by now.
        if Arc::ptr_eq(&region, owned.region.region()) {
            for Follower(tell) in &owned.followers {
                tell(next_run(&owned.region));
            }
        }
    }

    /// Leaves the right to the region to the meshd that shares it. Calls in flight go on counting.
    pub fn let_go(&self) {
        let mut owned = self.lock();
        owned.rests = true;
        owned.region.let_go();
    }

    /// Makes a new region in place of one whose file was removed. Its counters went with the file.
    fn replace(&self, owned: &mut Owned) {
        let made = RegionLock::take(&self.path, self.options.mode)
            .map_err(OpenError::from)
            .and_then(|lock| open(lock, &self.options, owned.rules.as_deref()));
        match made {
            Ok(Opening {
                region,
                rules,
                opened,
            }) => {
                let path = self.path.display();
                if opened == Opened::Resumed {
                    warn!(%path, "the region was exchanged: went on with the one that is there now");
                } else {
                    warn!(%path, "the region was removed: went on with a new one");
                }
                self.decider.replace(limiter(&region));
                region.set_admin_address(owned.admin);
                for Follower(tell) in &owned.followers {
                    tell(next_run(&region));
                }
                owned.region = region;
                owned.rules = rules.map(Arc::new);
                owned.last_failure = None;
                owned.is_tampered = false;
                self.say_it_works();
            }
            Err(failure) => {
                let failure = failure.to_string();
                if owned.last_failure.as_ref() != Some(&failure) {
                    error!(
                        error = failure,
                        "the region was removed and cannot be replaced"
                    );
                }
                self.health.update(|components| {
                    components.region = State::Down(format!("removed: {failure}"));
                });
                owned.last_failure = Some(failure);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Owned> {
        // A panic between two fields leaves nothing half done that the next beat would not mend.
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A region that was opened.
struct Opening {
    region: OwnedRegion,
    /// The rules that were published, as they are in it.
    rules: Option<RuleSet>,
    opened: Opened,
}

impl Owned {
    /// Puts right what another process wrote over words that the owner alone writes; says whether there was
    /// anything.
    fn mend(&self) -> bool {
        let is_mended = self.region.mend();
        // Without a port of its own, it may be the port of the meshd that hands over.
        let in_short = |address: SocketAddr| (address.ip(), address.port());
        let found = self.region.region().admin_address().map(in_short);
        let is_moved = self.admin.is_some() && found != self.admin.map(in_short);
        if is_moved {
            self.region.set_admin_address(self.admin);
        }
        is_mended || is_moved
    }
}

/// Opens the region and publishes rules in it, if there are any.
fn open(
    lock: RegionLock,
    options: &RegionOptions,
    rules: Option<&RuleSet>,
) -> Result<Opening, OpenError> {
    let (mut region, opened) = OwnedRegion::open_locked(lock, options)?;
    let published = rules.map(|rules| region.publish_rules(rules)).transpose();
    if published.is_err() && opened == Opened::Created {
        region.remove();
    }
    let published = published?;
    let generation = region.region().rules_generation();
    region.beat(unix_time_ms());
    let path = region.path().display();
    let max_keys = options.max_keys;
    match &opened {
        Opened::Created => info!(%path, max_keys, generation, "region created"),
        Opened::Resumed => info!(%path, max_keys, generation, "region resumed with its counters"),
        Opened::Replaced { reason } => {
            warn!(%path, max_keys, generation, reason, "region replaced: its counters are lost");
        }
    }
    Ok(Opening {
        region,
        rules: published.map(|Published { rules, .. }| rules),
        opened,
    })
}

/// Puts the rules of the region from before in force in the one that took its place: they are better than
/// none until the management server sends some.
fn carry_over(region: &mut OwnedRegion, rules: &RuleSet) -> Option<RuleSet> {
    match region.publish_rules(rules) {
        Ok(Published { generation, rules }) => {
            let count = rules.rules().len();
            let message = if count > 0 {
                "the rules of the region before stay in force"
            } else {
                "the set of rules of the region before, which has no limits, stays in force"
            };
            info!(generation, rules = count, "{message}");
            Some(rules)
        }
        Err(failure) => {
            warn!(%failure, "the rules of the region before do not fit in the new one");
            None
        }
    }
}

/// The rules of an earlier run, which are in force in the region.
fn left_behind(region: &OwnedRegion) -> Option<RuleSet> {
    match region.region().load_rules() {
        Ok((_, rules)) => Some(rules),
        Err(LoadRulesError::NonePublished) => None,
        Err(failure) => {
            warn!(%failure, "the region has rules of an earlier run, which are of no use");
            None
        }
    }
}

fn next_run(region: &OwnedRegion) -> RegionRun {
    RegionRun {
        region: Arc::clone(region.region()),
        incarnation: region.next_incarnation(unix_time_ms()),
    }
}

fn limiter(region: &OwnedRegion) -> Limiter {
    Limiter::new(Arc::clone(region.region()), CoarseClock)
}

/// Starts the thread that beats until `stop` disconnects.
///
/// # Errors
///
/// When the operating system has no more threads.
pub fn start_heartbeat(owner: Arc<RegionOwner>, stop: Receiver<()>) -> io::Result<JoinHandle<()>> {
    let health = owner.health.clone();
    let notice = PanicNotice::new(move || {
        health.update(|components| {
            components.region = State::Down("its thread died: restart meshd".to_owned());
        });
    });
    std::thread::Builder::new()
        .name("region".to_owned())
        .spawn(move || {
            let _notice = notice;
            while stop.recv_timeout(HEARTBEAT_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                owner.beat();
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_heartbeat_that_dies_takes_the_region_down() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config::Config::with_node_name("test".to_owned()).region;
        config.path = directory.path().join("region");
        let lock = RegionLock::take(&config.path, config.mode.bits()).unwrap();
        let health = Health::starting();
        let owner = RegionOwner::open(lock, &config, None, None, health.clone()).unwrap();
        assert_eq!(health.now().region, State::Up);
        // As a bug in whoever is told of a new region would.
        owner.follow(|_| panic!("as a bug would"));
        std::fs::remove_file(&config.path).unwrap();
        let (_go_on, stop) = mpsc::channel();
        let thread = start_heartbeat(Arc::new(owner), stop).unwrap();
        assert!(thread.join().is_err());
        let State::Down(why) = health.now().region else {
            panic!("{:?}", health.now());
        };
        assert!(why.contains("died"), "{why}");
    }
}
