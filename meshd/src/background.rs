//! The threads beside the server that do blocking work at a slow pace.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::mpsc::error::TrySendError;
use tracing::error;

use crate::config::Config;
use crate::region_owner::{self, RegionOwner};
use crate::reload::Follower;
use crate::rules_source::{FirstRules, Kick, Reloader, RulesState, xds};
use crate::server::health::Health;
use crate::server::tls::{self, Tls};
use crate::value_series::{self, ValueSeries};

/// The threads beside the runtime: they do blocking work at a slow pace.
#[derive(Debug)]
pub struct Background {
    rules: Arc<RulesState>,
    follower: RulesFollower,
    /// None when there is no TLS.
    tls: Option<Follower>,
    stop_region: Sender<()>,
    /// None when there are to be no series.
    values: Option<Arc<ValueSeries>>,
    stop_values: Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

/// Whoever keeps the rules up to date.
#[derive(Debug)]
enum RulesFollower {
    /// They are in files.
    Files(Follower),
    /// They are at a management server: the way to the thread that talks to it.
    Server(tokio::sync::mpsc::Sender<Kick>),
}

impl Background {
    /// Starts the threads: one says that the region's owner is alive, one keeps the rules up to date, one
    /// counts by request value, and one keeps the files of TLS up to date if there are any.
    ///
    /// # Errors
    ///
    /// When the operating system has no more threads.
    pub fn start(
        config: &Config,
        owner: &Arc<RegionOwner>,
        rules: FirstRules,
        tls: Option<&Arc<Tls>>,
        health: &Health,
    ) -> io::Result<Self> {
        let (stop_region, region_stopped) = mpsc::channel();
        let region = region_owner::start_heartbeat(Arc::clone(owner), region_stopped)?;

        let mut threads = vec![region];

        let (state, follower) = match rules {
            FirstRules::Files(loaded) => {
                let path = config.rate_limiting.config_path.clone();
                let reloader = Reloader::new(path, *loaded, Arc::clone(owner), health.clone());
                let state = reloader.state();
                (state, RulesFollower::Files(Follower::start(reloader)?))
            }
            FirstRules::Server(server) => {
                // One kick that waits is as good as many.
                let (kick, kicks) = tokio::sync::mpsc::channel(1);
                let owner = Arc::clone(owner);
                let (state, thread) = xds::start(config, &server, owner, health, kicks)?;
                threads.push(thread);
                (state, RulesFollower::Server(kick))
            }
        };

        let (stop_values, values_stopped) = mpsc::channel();
        let series_max = usize::try_from(config.metrics.max_series).unwrap_or(usize::MAX);
        let values =
            (series_max > 0).then(|| Arc::new(ValueSeries::new(Arc::clone(owner), series_max)));
        if let Some(values) = &values {
            threads.push(value_series::start(
                Arc::clone(values),
                values_stopped,
                health,
            )?);
        }

        let tls = tls
            .map(|tls| tls::reload::start(Arc::clone(tls), health.clone()))
            .transpose()?;
        Ok(Self {
            rules: state,
            follower,
            tls,
            stop_region,
            values,
            stop_values,
            threads,
        })
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<RulesState> {
        Arc::clone(&self.rules)
    }

    /// Numbers by request value; none when there are to be no series of them.
    pub fn values(&self) -> Option<Arc<ValueSeries>> {
        self.values.clone()
    }

    /// Reads the rules again at once.
    pub fn reload_rules(&self) {
        let is_gone = match &self.follower {
            RulesFollower::Files(follower) => !follower.reload(),
            RulesFollower::Server(kick) => {
                matches!(kick.try_send(Kick), Err(TrySendError::Closed(_)))
            }
        };
        if is_gone {
            error!("rules cannot be reloaded: their thread is gone, restart meshd");
        }
    }

    /// Reads the files of TLS again at once, if there are any.
    pub fn reload_tls(&self) {
        if let Some(tls) = &self.tls
            && !tls.reload()
        {
            error!("TLS files cannot be reloaded: their thread is gone, restart meshd");
        }
    }

    /// Ends the threads and waits for them, but not for a file that is being read.
    pub fn stop(self) {
        // They end when there is nobody left who could tell them anything.
        drop((self.follower, self.tls, self.stop_region, self.stop_values));
        for thread in self.threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                error!(
                    thread = name,
                    "thread died of a panic: this is a bug in meshd"
                );
            }
        }
    }
}
