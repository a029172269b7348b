//! `hivectl log-level`: shows or changes what a live meshd logs.

use std::io::Write;

use clap::ValueEnum;
use hivemind_shared::yaml::printable;
use serde::Deserialize;
use serde_json::json;

use crate::admin::{AdminOption, Answer, Refusal};
use crate::failure::Failure;
use crate::output::{JsonOption, write_json};
use crate::region::RegionPlace;

/// Show the log level of a live meshd, or set another one.
///
/// It holds until it is set again, or meshd ends. meshd does it only with `admin.log_level: true` in its service
/// file, and logs it. It is found by the region that it owns.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The least important lines that are to be logged from now on
    level: Option<Level>,
    #[command(flatten)]
    output: JsonOption,
    #[command(flatten)]
    admin: AdminOption,
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Nothing at all
    Off,
    /// What needs someone to act
    Error,
    /// What may need someone to act
    Warn,
    /// What changed
    Info,
    /// What meshd does, decisions among it
    Debug,
    /// How it does it, libraries included
    Trace,
}

/// Why meshd did not change it, in its own words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefusedLogLevel {
    /// `admin.log_level` is not true.
    #[error("meshd at {address} does not change it: {message}")]
    Off { address: String, message: String },
    /// Any other reason.
    #[error("meshd at {address} cannot change it: {message}")]
    Other { address: String, message: String },
}

/// What `/log-level` says.
#[derive(Deserialize)]
struct InForce {
    level: String,
    rust_log: Option<String>,
}

pub(crate) fn run(
    options: &Options,
    place: &RegionPlace,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let answer = match options.level {
        None => options.admin.get("/log-level", place)?,
        Some(level) => {
            let name = level.to_possible_value();
            let name = name.as_ref().map_or("", |value| value.get_name());
            let request = json!({"level": name});
            options.admin.post("/log-level", &request, place)?
        }
    };
    if answer.status != 200 {
        return Err(refusal(&answer)?.into());
    }
    let in_force: InForce = answer.read()?;
    if options.output.json {
        return write_json(out, &answer.document);
    }
    let level = printable(&in_force.level);
    match in_force.rust_log {
        Some(rust_log) => writeln!(out, "{level}, and RUST_LOG={}", printable(&rust_log))?,
        None => writeln!(out, "{level}")?,
    }
    Ok(())
}

fn refusal(answer: &Answer) -> Result<RefusedLogLevel, Failure> {
    let Refusal { error, message } = answer.refusal("/log-level")?;
    let address = answer.address.clone();
    Ok(match error.as_str() {
        "off" => RefusedLogLevel::Off { address, message },
        _ => RefusedLogLevel::Other { address, message },
    })
}
