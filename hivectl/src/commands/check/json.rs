//! What was found, for programs.

use hivemind_shared::yaml::{Problem, Severity};
use serde::Serialize;

use crate::rules::{FromFiles, UnusableRules};

#[derive(Serialize)]
pub(super) struct CheckJson<'a> {
    /// Whether the rules can be used.
    ok: bool,
    /// `null` where they cannot.
    files: Option<usize>,
    domains: Option<usize>,
    rules: Option<usize>,
    problems: Vec<ProblemJson<'a>>,
    /// How many more problems there are.
    omitted: usize,
}

#[derive(Serialize)]
struct ProblemJson<'a> {
    /// `error`, `warning` or `notice`.
    severity: &'static str,
    file: &'a str,
    /// `null` where it is the file as a whole.
    line: Option<u32>,
    column: Option<u32>,
    message: &'a str,
    hint: Option<&'a str>,
}

impl<'a> CheckJson<'a> {
    pub(super) fn of(read: &'a Result<FromFiles, UnusableRules>) -> Self {
        let problems = match read {
            Ok(read) => &read.warnings,
            Err(unusable) => unusable.problems(),
        };
        let mut shown: Vec<_> = problems.iter().map(ProblemJson::of).collect();
        let omitted = problems.len().saturating_sub(shown.len());
        let read = read.as_ref().ok();
        let needed = read.and_then(FromFiles::needed_settings);
        shown.extend(needed.map(|(origin, setting)| ProblemJson {
            severity: "notice",
            file: &origin.file,
            line: Some(origin.line),
            column: None,
            message: setting,
            hint: None,
        }));
        Self {
            ok: read.is_some(),
            files: read.map(|read| read.files),
            domains: read.map(|read| read.book.rules.domains().len()),
            rules: read.map(|read| read.book.rules.rules().len()),
            problems: shown,
            omitted,
        }
    }
}

impl<'a> ProblemJson<'a> {
    fn of(problem: &'a Problem) -> Self {
        Self {
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            file: &problem.file,
            line: (problem.line > 0).then_some(problem.line),
            column: (problem.column > 0).then_some(problem.column),
            message: &problem.message,
            hint: problem.hint.as_deref(),
        }
    }
}
