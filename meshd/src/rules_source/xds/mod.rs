//! Rules from a management server: xDS, state of the world over ADS, as Envoy Gateway serves it.
//!
//! [`session`] is the protocol, [`client`] the stream it runs on, [`resources`] the way from a message
//! to rules.

mod backoff;
mod client;
mod connection;
mod resources;
mod session;
mod status;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use hivemind_shared::rules::RuleSet;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::client::Client;
pub use self::connection::check;
pub use self::status::XdsStatus;
use super::Kick;
use super::publish::{Publisher, RulesState};
use crate::config::{Config, HostPort};
use crate::region_owner::RegionOwner;
use crate::server::health::{Health, State};

/// Starts the thread that follows the management server until `kicks` disconnects.
///
/// Rules of an earlier run that are in the region stay in force until the server has sent its own.
/// While there are none, meshd is ready only if that is not required.
///
/// # Errors
///
/// When the operating system has no more threads or file descriptors.
pub fn start(
    config: &Config,
    server: &HostPort,
    owner: Arc<RegionOwner>,
    health: &Health,
    kicks: mpsc::Receiver<Kick>,
) -> io::Result<(Arc<RulesState>, JoinHandle<()>)> {
    let required = config.rate_limiting.require_initial_config;
    let before = owner.rules();
    let names = before.as_deref().map(names).unwrap_or_default();
    let publisher = Publisher::of_expected(owner, health.clone(), names);
    let state = publisher.state();
    let rules = match publisher.rules_in_force() {
        Some(rules) => {
            let message = if rules > 0 {
                "rules from before this start are in force until the management server sends its own"
            } else {
                "a set of rules without limits from before this start is in force until the \
                 management server sends another one"
            };
            info!(rules, "{message}");
            State::Degraded(format!(
                "{rules} rules from before this start are in force, the management server has not sent its own"
            ))
        }
        None => {
            warn!(
                "there are no rules until the management server sends some: calls are answered with an error"
            );
            let detail =
                "no rate limit configuration loaded: the management server has not sent any"
                    .to_owned();
            if required {
                State::Down(detail)
            } else {
                State::Degraded(detail)
            }
        }
    };
    health.update(|components| {
        components.rules = rules;
        components.xds = Some(State::Degraded(format!("not connected to {server} yet")));
    });
    let client = Client::new(
        config.xds.clone(),
        server.clone(),
        config.rules_options(),
        publisher,
        health.clone(),
    );
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let notice = super::death_notice(health.clone());
    let thread = std::thread::Builder::new()
        .name("rules".to_owned())
        .spawn(move || {
            let _notice = notice;
            runtime.block_on(client.run(kicks));
            // A name server that does not answer must not hold up the end.
            runtime.shutdown_background();
        })?;
    Ok((state, thread))
}

/// Where rules came from, by what they say themselves.
fn names(rules: &RuleSet) -> Vec<String> {
    let files: BTreeSet<&str> = rules.rules().map(|(_, rule)| &*rule.origin.file).collect();
    files.into_iter().map(str::to_owned).collect()
}
