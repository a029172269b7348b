//! The threads beside the server that do blocking work at a slow pace.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tracing::error;

use crate::config::Config;
use crate::region_owner::{self, RegionOwner};
use crate::rules_source::{self, Kick, LoadedRules, Reloader, RulesState};
use crate::server::health::Health;
use crate::server::tls::{self, Tls};

/// The threads beside the runtime: they do blocking work at a slow pace.
#[derive(Debug)]
pub struct Background {
    rules: Arc<RulesState>,
    kick_rules: Sender<Kick>,
    /// None when there is no TLS.
    kick_tls: Option<Sender<Kick>>,
    stop_region: Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts the threads: one says that the region's owner is alive, one reloads rules, and one the
    /// files of TLS if there are any.
    ///
    /// # Errors
    ///
    /// When the operating system has no more threads.
    pub fn start(
        config: &Config,
        owner: &Arc<RegionOwner>,
        rules: LoadedRules,
        tls: Option<&Arc<Tls>>,
        health: &Health,
    ) -> io::Result<Self> {
        let (stop_region, region_stopped) = mpsc::channel();
        let region = region_owner::start_heartbeat(Arc::clone(owner), region_stopped)?;

        let path = config.rate_limiting.config_path.clone();
        let reloader = Reloader::new(path, rules, Arc::clone(owner), health.clone());
        let state = reloader.state();
        let (kick_rules, kicks) = mpsc::channel();
        let reloads = rules_source::start(reloader, kicks)?;
        let mut threads = vec![region, reloads];

        let mut kick_tls = None;
        if let Some(tls) = tls {
            let (kick, kicks) = mpsc::channel();
            threads.push(tls::reload::start(Arc::clone(tls), health.clone(), kicks)?);
            kick_tls = Some(kick);
        }
        Ok(Self {
            rules: state,
            kick_rules,
            kick_tls,
            stop_region,
            threads,
        })
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<RulesState> {
        Arc::clone(&self.rules)
    }

    /// Reads the rules again at once.
    pub fn reload_rules(&self) {
        if self.kick_rules.send(Kick).is_err() {
            error!("rules cannot be reloaded: their thread is gone, restart meshd");
        }
    }

    /// Reads the files of TLS again at once, if there are any.
    pub fn reload_tls(&self) {
        if let Some(kick) = &self.kick_tls
            && kick.send(Kick).is_err()
        {
            error!("TLS files cannot be reloaded: their thread is gone, restart meshd");
        }
    }

    /// Ends the threads and waits for them.
    pub fn stop(self) {
        // They end when there is nobody left who could tell them anything.
        drop((self.kick_rules, self.kick_tls, self.stop_region));
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
