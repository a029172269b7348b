//! Rules from files: read at the start, followed, and brought into force again when they change. Or from
//! a management server, see [`xds`].

mod publish;
mod reload;
mod rules_hash;
pub mod xds;

use hivemind_shared::rules::RuleSet;
use hivemind_shared::yaml::Problems;

pub use self::publish::{Loads, Publisher, RulesState, RulesStatus, log_problems};
pub use self::reload::{LoadedRules, Reloader, load};
pub use self::rules_hash::RulesHash;
use crate::config::{Config, HostPort, RulesSource};
use crate::failure::Failure;
use crate::panics::PanicNotice;
use crate::server::health::{Health, State};

/// Asks for the rules to be read again at once, changed or not.
#[derive(Clone, Copy, Debug)]
pub struct Kick;

/// Rules as they are at the start.
#[derive(Clone, Debug)]
pub enum FirstRules {
    /// Those of the files.
    Files(Box<LoadedRules>),
    /// None yet: this management server has them.
    Server(HostPort),
}

impl FirstRules {
    /// The same as the files say it now, if they are good: while the region was waited for, its owner may
    /// have brought other rules into force, and they are not to be taken back.
    #[must_use]
    pub fn again(self, config: &Config) -> Self {
        match self {
            Self::Files(loaded) => {
                Self::Files(Box::new(loaded.again(&config.rate_limiting.config_path)))
            }
            server @ Self::Server(_) => server,
        }
    }

    /// What is to be published at once.
    pub fn rules(&self) -> Option<&RuleSet> {
        match self {
            Self::Files(loaded) => Some(&loaded.rules),
            Self::Server(_) => None,
        }
    }
}

/// Reads the rules by the configuration, or sees whether the management server can be talked to;
/// beside them come warnings.
///
/// # Errors
///
/// Every problem: of the rules, or of the configuration.
pub fn first(config: &Config) -> Result<(FirstRules, Problems), Failure> {
    match (config.rate_limiting.source, &config.xds.server) {
        (RulesSource::Xds, Some(server)) => {
            xds::check(&config.xds, server).map_err(Failure::Config)?;
            Ok((FirstRules::Server(server.clone()), Problems::default()))
        }
        _ => {
            let (loaded, warnings) =
                load(&config.rate_limiting.config_path, config.rules_options())
                    .map_err(Failure::Rules)?;
            Ok((FirstRules::Files(Box::new(loaded)), warnings))
        }
    }
}

/// Says in health when the thread that brings rules into force dies. Those in force stay, so that meshd
/// stays as ready as it is.
fn death_notice(health: Health) -> PanicNotice {
    PanicNotice::new(move || {
        let detail = "the thread that brings rules into force died: restart meshd".to_owned();
        health.update(|components| {
            components.rules = match components.rules {
                State::Down(_) => State::Down(detail),
                State::Up | State::Degraded(_) => State::Degraded(detail),
            };
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics::die_with;

    #[test]
    fn a_thread_that_dies_degrades_the_rules_and_brings_none() {
        let health = Health::starting();
        die_with(death_notice(health.clone()));
        assert!(matches!(health.now().rules, State::Down(why) if why.contains("died")));
        health.update(|components| components.rules = State::Up);
        die_with(death_notice(health.clone()));
        assert!(matches!(health.now().rules, State::Degraded(why) if why.contains("died")));
    }
}
