//! The Hivemind daemon: owns the region, keeps its rules up to date, and serves the Rate Limit
//! Service from the same counters the Envoy module uses.
//!
//! [`run`] is the whole program. Inside, [`daemon`] puts the parts together: [`config`] says what is
//! wanted, [`region_owner`] has the region, [`rules_source`] brings rules into it, [`server`] answers
//! calls, [`mesh`] shares counts with peers, [`handover`] brings the next meshd into this one's place.

#![forbid(unsafe_code)]

pub mod background;
pub mod cli;
pub mod config;
pub mod daemon;
mod descriptors;
pub mod failure;
pub mod handover;
pub mod mesh;
pub mod panics;
pub mod ports_file;
pub mod region_census;
pub mod region_fill;
pub mod region_owner;
pub mod reload;
pub mod rules_source;
mod secret_file;
pub mod server;
mod serving;
pub mod shutdown;
pub mod sockets;
pub mod telemetry;
pub mod value_series;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use self::cli::Action;
use self::failure::Failure;
use self::rules_source::FirstRules;

/// Runs meshd with these arguments, the program's name first, and this environment.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let invocation = match cli::parse(arguments, environment) {
        Ok(invocation) => invocation,
        Err(error) => {
            // Help and version come this way as well; a closed pipe is no reason to panic.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(64)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match act(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr().lock(), "{failure}");
            failure.exit_code()
        }
    }
}

fn act(invocation: cli::Invocation) -> Result<(), Failure> {
    let loaded = config::load(invocation.sources).map_err(Failure::Config)?;
    match invocation.action {
        Action::Run { ports_file } => daemon::run(&loaded, ports_file.as_deref()),
        Action::Check => check(&loaded),
        Action::PrintConfig => {
            let _ = write!(std::io::stdout().lock(), "{}", config::print(&loaded));
            Ok(())
        }
    }
}

/// Reads the keys, the TLS files and the rules as well, and says that all is well.
fn check(loaded: &config::Loaded) -> Result<(), Failure> {
    let keys = mesh::key_file::load(&loaded.config.mesh).map_err(Failure::Config)?;
    let tls = server::tls::load(&loaded.config.server).map_err(Failure::Config)?;
    let (rules, warnings) = rules_source::first(&loaded.config)?;
    let key_warning = keys.and_then(|keys| keys.warning);
    let mut out = std::io::stdout().lock();
    let tls_warnings = tls.map(|tls| tls.warnings()).unwrap_or_default();
    for warning in loaded
        .warnings
        .iter()
        .chain(&key_warning)
        .chain(&tls_warnings)
    {
        let _ = writeln!(out, "warning: {warning}");
    }
    let _ = write!(out, "{warnings}");
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
