//! `meshd --check`: says what a start would say, and changes nothing.

use std::io::Write;
use std::path::Path;

use hivemind_shared::region::{OwnError, RegionOptions, check_rules_fit, examine};

use crate::config::{Config, Loaded};
use crate::failure::Failure;
use crate::mesh::key_file::{self, Keys};
use crate::ports_file::Ports;
use crate::region_owner::OpenError;
use crate::rules_source::{self, FirstRules};
use crate::server::tls;
use crate::sockets::Sockets;

/// Looks at everything that a start of this configuration needs, and says that all is well.
///
/// # Errors
///
/// Every failure that a start would meet, in the order of a start.
pub(crate) fn run(loaded: &Loaded, ports_file: Option<&Path>) -> Result<(), Vec<Failure>> {
    let config = &loaded.config;
    let mut failures = Vec::new();
    let mut remarks: Vec<String> = loaded.warnings.iter().map(warning).collect();

    let keys = key_file::load(&config.mesh).map_err(Failure::Config);
    let keys = kept(keys, &mut failures).flatten();
    let tls = tls::load(&config.server).map_err(Failure::Config);
    let tls = kept(tls, &mut failures).flatten();
    let rules = kept(rules_source::first(config), &mut failures);
    remarks.extend(
        keys.iter()
            .filter_map(|keys| keys.warning.as_ref())
            .map(warning),
    );
    remarks.extend(tls.iter().flat_map(|tls| tls.warnings()).map(warning));

    let owned = kept(examine_region(config, keys.as_ref()), &mut failures).flatten();
    let sockets = Sockets::examine(config, owned.is_some());
    match owned {
        Some(owned) if config.region.takeover_timeout.is_zero() => {
            failures.push(OpenError::from(owned).into());
        }
        Some(OwnError::Owned { pid, .. }) => {
            let pid = pid.map(|pid| format!(" (process {pid})"));
            let pid = pid.unwrap_or_default();
            remarks.push(format!(
                "another meshd{pid} owns the region: a start takes over from it, with the ports and sockets it has"
            ));
        }
        _ => {}
    }
    failures.extend(sockets.into_iter().map(Failure::Listen));
    if let Some((FirstRules::Files(loaded), _)) = &rules
        && let Err(error) = check_rules_fit(&loaded.rules, config.region.rules_bytes)
    {
        failures.push(OpenError::Publish(error).into());
    }
    if let Some(path) = ports_file {
        kept(Ports::examine(path).map_err(Failure::from), &mut failures);
    }

    let mut out = std::io::stdout().lock();
    for remark in remarks {
        let _ = writeln!(out, "{remark}");
    }
    let Some((rules, warnings)) = rules else {
        return Err(failures);
    };
    let _ = write!(out, "{warnings}");
    if !failures.is_empty() {
        return Err(failures);
    }
    let _ = match rules {
        FirstRules::Files(loaded) => {
            let rules = loaded.rules.rules().len();
            writeln!(out, "configuration ok, {rules} rules ok")
        }
        FirstRules::Server(server) => {
            writeln!(out, "configuration ok, rules come from {server}")
        }
    };
    Ok(())
}

/// What came of a part, or else one more failure.
fn kept<T>(result: Result<T, Failure>, failures: &mut Vec<Failure>) -> Option<T> {
    result.map_err(|failure| failures.push(failure)).ok()
}

fn warning(text: impl std::fmt::Display) -> String {
    format!("warning: {text}")
}

/// The meshd that owns the region, if one does, as the error it is to a start that does not wait.
fn examine_region(config: &Config, keys: Option<&Keys>) -> Result<Option<OwnError>, Failure> {
    let region = &config.region;
    let options = RegionOptions {
        hash_key: keys.map(|keys| keys.ring.hash_key()),
        ..RegionOptions::from(region)
    };
    match examine(&region.path, &options) {
        Ok(()) => Ok(None),
        Err(owned @ OwnError::Owned { .. }) => Ok(Some(owned)),
        Err(error) => Err(OpenError::from(error).into()),
    }
}
