//! Writing a result.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// The option of every command whose result can be JSON.
#[derive(Debug, clap::Args)]
pub(crate) struct JsonOption {
    /// Write JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Writes a value as indented JSON and a line break.
pub(crate) fn write_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    // Gives the I/O error back with its kind, so that a closed pipe is still told apart.
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Says something beside the result, on the standard error.
pub(crate) fn note(message: impl Display) {
    // A note nobody can read is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "hivectl: {message}");
}
