//! `hivectl check`: whether rules are good, before they are deployed.

use std::io::Write;
use std::path::PathBuf;

use crate::failure::Failure;
use crate::rules::{self, MergeOption};
use crate::text::count;

/// Check rules files, as meshd does before it uses them.
///
/// All paths together are one configuration, as if they were in one directory. Every problem is shown
/// with file, line and column on the standard error. With errors the exit status is 65; warnings are
/// shown and leave it at 0.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rules files, or directories whose *.yaml and *.yml files are meant
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    merge: MergeOption,
}

pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let read = rules::read(&options.paths, &options.merge)?;
    read.show_warnings();
    read.show_needed_settings();
    let files = count(read.files, "file");
    let domains = count(read.book.rules.domains().len(), "domain");
    let rules = count(read.book.rules.rules().len(), "rule");
    Ok(writeln!(out, "ok: {files}, {domains}, {rules}")?)
}
