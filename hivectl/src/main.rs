//! Looks into a region, live or copied, has counters reset, checks rules before they are deployed, and makes
//! keys.
//!
//! Each command is a file in [`commands`]. It reads what it needs, writes its result to the standard
//! output it is given, and ends in a [`Failure`](failure::Failure) or not; this file only wires.

#![forbid(unsafe_code)]

mod admin;
mod cli;
mod commands;
mod descriptor;
mod failure;
mod limit_json;
mod moment;
mod output;
mod owner;
mod region;
mod rules;
mod table;
mod text;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, Command};
use crate::commands::{check, diff, explain, keygen, log_level, ls, peers, reset, stat};
use crate::failure::{Failure, STATUS_DIFFERS, STATUS_USAGE};
use crate::region::{PATH_VARIABLE, RegionPlace};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way as well; a closed pipe is no reason to panic.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(STATUS_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&arguments) {
        Ok(status) => status,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let place = RegionPlace::find(arguments.region.clone(), std::env::var_os(PATH_VARIABLE));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut status = ExitCode::SUCCESS;
    match &arguments.command {
        Command::Stat(options) => stat::run(options, &place, &mut out),
        Command::Ls(options) => ls::run(options, &place, &mut out),
        Command::Peers(options) => peers::run(options, &place, &mut out),
        Command::Reset(options) => reset::run(options, &place, &mut out),
        Command::LogLevel(options) => log_level::run(options, &place, &mut out),
        Command::Check(options) => check::run(options, &mut out).map(|found| status = found),
        Command::Explain(options) => explain::run(options, &place, &mut out),
        Command::Diff(options) => diff::run(options, &place, &mut out).map(|same| {
            if !same {
                status = ExitCode::from(STATUS_DIFFERS);
            }
        }),
        Command::Keygen(options) => keygen::run(options, &mut out),
    }?;
    out.flush()?;
    Ok(status)
}
