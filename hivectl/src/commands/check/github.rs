//! What was found as annotations of a GitHub workflow, which shows them beside the lines of a pull request:
//! `::error file=NAME,line=LINE,col=COLUMN::MESSAGE`.

use std::io::{self, Write};

use hivemind_shared::yaml::{Problem, Severity};

use super::summary;
use crate::rules::{FromFiles, UnusableRules};
use crate::text::count;

pub(super) fn write(
    read: &Result<FromFiles, UnusableRules>,
    out: &mut impl Write,
) -> io::Result<()> {
    let problems = match read {
        Ok(read) => &read.warnings,
        Err(unusable) => unusable.problems(),
    };
    let mut shown = 0_usize;
    for problem in problems.iter() {
        writeln!(out, "{}", annotation(problem))?;
        shown += 1;
    }
    let omitted = problems.len().saturating_sub(shown);
    if omitted > 0 {
        writeln!(out, "::notice::{} more", count(omitted, "problem"))?;
    }
    match read {
        Ok(read) => {
            if let Some((origin, setting)) = read.needed_settings() {
                let (file, line) = (property(&origin.file), origin.line);
                writeln!(out, "::notice file={file},line={line}::{}", data(setting))?;
            }
            writeln!(out, "{}", summary(read))
        }
        Err(_) => Ok(()),
    }
}

fn annotation(problem: &Problem) -> String {
    let kind = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let file = property(&problem.file);
    let place = if problem.line > 0 {
        format!("file={file},line={},col={}", problem.line, problem.column)
    } else {
        format!("file={file}")
    };
    let message = match &problem.hint {
        Some(hint) => format!("{}\nhint: {hint}", problem.message),
        None => problem.message.clone(),
    };
    format!("::{kind} {place}::{}", data(&message))
}

/// A message: what would end it is escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property, where more would end it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_or_message_ends_them() {
        let problem =
            Problem::with_file("a,b:c%.yaml\n::error::x", "100 %\r\n::error::y").with_hint("z");
        assert_eq!(
            annotation(&problem),
            "::error file=a%2Cb%3Ac%25.yaml%0A%3A%3Aerror%3A%3Ax::100 %25%0D%0A::error::y%0Ahint: z"
        );
        assert_eq!(
            annotation(&problem.as_warning()).split(' ').next(),
            Some("::warning")
        );
    }
}
