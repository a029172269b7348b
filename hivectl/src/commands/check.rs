//! `hivectl check`: whether rules are good, before they are deployed.

use std::io::{self, Write};
use std::path::PathBuf;

use hivemind_shared::rules::files;
use hivemind_shared::rules::source::{self, Options as ParseOptions};
use hivemind_shared::yaml::Problems;

use crate::failure::Failure;
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
}

pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let mut problems = Problems::default();
    let mut sources = Vec::new();
    for path in &options.paths {
        let (files, unreadable) = files::read(path);
        problems.extend(unreadable);
        for file in files {
            match file.source() {
                Ok(source) => sources.push(source),
                Err(problem) => problems.push(problem),
            }
        }
    }
    match source::parse(&sources, &ParseOptions::default()) {
        Ok(loaded) => {
            problems.extend(loaded.warnings);
            if problems.has_errors() {
                return Err(Failure::Rules(problems));
            }
            // Beside the result; a warning nobody can read is no reason to fail.
            let _ = write!(io::stderr().lock(), "{problems}");
            let files = count(sources.len(), "file");
            let domains = count(loaded.rules.domains().len(), "domain");
            let rules = count(loaded.rules.rules().len(), "rule");
            Ok(writeln!(out, "ok: {files}, {domains}, {rules}")?)
        }
        Err(more) => {
            problems.extend(more);
            Err(Failure::Rules(problems))
        }
    }
}
