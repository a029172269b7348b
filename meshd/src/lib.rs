//! The Hivemind daemon: owns the region, keeps its rules up to date, and serves the Rate Limit
//! Service from the same counters the Envoy module uses.
//!
//! [`run`] is the whole program. Inside, [`daemon`] puts the parts together: [`config`] says what is
//! wanted, [`region_owner`] has the region, [`rules_source`] brings rules into it, [`server`] answers
//! calls, [`mesh`] shares counts with peers, [`handover`] brings the next meshd into this one's place.

#![forbid(unsafe_code)]

pub mod background;
mod check;
pub mod cli;
pub mod config;
pub mod daemon;
mod descriptors;
mod directory;
pub mod failure;
pub mod handover;
pub mod healthcheck;
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
        Err(failures) => {
            for failure in &failures {
                let _ = writeln!(std::io::stderr().lock(), "{failure}");
            }
            failures
                .first()
                .map_or(ExitCode::FAILURE, Failure::exit_code)
        }
    }
}

fn act(invocation: cli::Invocation) -> Result<(), Vec<Failure>> {
    let cli::Invocation { sources, action } = invocation;
    if let Action::Healthcheck(healthcheck) = action {
        return healthcheck.run(sources).map_err(|error| vec![error.into()]);
    }
    let loaded = config::load(sources).map_err(|problems| vec![Failure::Config(problems)])?;
    match action {
        Action::Run { ports_file } => {
            daemon::run(&loaded, ports_file.as_deref()).map_err(|failure| vec![failure])
        }
        Action::Check { ports_file } => check::run(&loaded, ports_file.as_deref()),
        Action::PrintConfig | Action::Healthcheck(_) => {
            let _ = write!(std::io::stdout().lock(), "{}", config::print(&loaded));
            Ok(())
        }
    }
}
