//! `hivectl check`: whether rules are good, before they are deployed.

mod github;
mod json;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::failure::Failure;
use crate::output::{note, write_json};
use crate::rules::{self, FromFiles, MergeOption, UnusableRules, place};
use crate::text::count;

/// Check rules files, as meshd does before it uses them.
///
/// All paths together are one configuration, as if they were in one directory. Every problem is shown
/// with file, line and column. With errors in the rules the exit status is 65, when files cannot be read it is 66;
/// warnings leave it at 0.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rules files, or directories whose *.yaml and *.yml files are meant
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    merge: MergeOption,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line on the standard output when all is well, and problems on the standard error
    Text,
    /// One object, with all problems
    Json,
    /// Annotations of a GitHub workflow
    Github,
}

/// The exit status of rules that were read, good or bad.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let read = rules::read(&options.paths, &options.merge);
    if let Ok(read) = &read {
        read.show_needed_room();
    }
    match options.format {
        Format::Text => {
            let read = read?;
            read.show_warnings();
            if let Some((origin, setting)) = read.needed_settings() {
                note(format_args!("{}: {setting}", place(origin)));
            }
            writeln!(out, "{}", summary(&read))?;
        }
        Format::Json => {
            write_json(out, &json::CheckJson::of(&read))?;
            return Ok(status(&read));
        }
        Format::Github => {
            github::write(&read, out)?;
            return Ok(status(&read));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(read: &Result<FromFiles, UnusableRules>) -> ExitCode {
    match read {
        Ok(_) => ExitCode::SUCCESS,
        Err(unusable) => unusable.exit_code(),
    }
}

/// What was read, in a line.
fn summary(read: &FromFiles) -> String {
    let files = count(read.files, "file");
    let domains = count(read.book.rules.domains().len(), "domain");
    let rules = count(read.book.rules.rules().len(), "rule");
    format!("ok: {files}, {domains}, {rules}")
}
