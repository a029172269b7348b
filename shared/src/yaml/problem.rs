//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::sync::Arc;

use super::display::is_harmless;
use super::{Source, Span};

/// Longest piece of a line that is shown, in characters.
const SNIPPET_CHARS_MAX: usize = 120;
/// How much of it is shown to the left of the caret when the line is longer than that.
const SNIPPET_LEAD_CHARS: usize = 40;

/// Whether a problem keeps a file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used, but hardly means what its author wanted.
    Warning,
}

/// One problem: where it is, what it is, and how to get rid of it.
///
/// It carries the line it is about, so it can be shown when the file is no longer at hand. Shown, it
/// looks like this:
///
/// ```text
/// ratelimit.yaml:4:5: config error, unknown key 'unt'
///   |
/// 4 |     unt: hour
///   |     ^^^
///   = hint: did you mean 'unit'?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file's name, as its [`Source`] has it.
    pub file: Arc<str>,
    /// Line, from 1; 0 when the problem is the file as a whole.
    pub line: u32,
    /// Column in characters, from 1; 0 when the problem is the file as a whole.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    snippet: Option<Snippet>,
}

/// The offending line, cut and cleaned for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    line: String,
    /// Characters before the caret.
    indent: usize,
    /// Carets.
    width: usize,
}

impl Problem {
    /// An error at `span` of `source`.
    pub fn new(source: &Source, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: Arc::clone(source.name()),
            line: span.line(),
            column: span.column(),
            message: message.into(),
            hint: None,
            snippet: (span.line() > 0).then(|| Snippet::new(source, span)),
        }
    }

    /// An error that has no place within a file: it cannot be read, or is too large.
    pub fn with_file(file: impl AsRef<str>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: Arc::from(file.as_ref()),
            line: 0,
            column: 0,
            message: message.into(),
            hint: None,
            snippet: None,
        }
    }

    /// The same with a hint: what to write instead, which setting to use.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same as a warning: the file is used all the same.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl Snippet {
    fn new(source: &Source, span: Span) -> Self {
        let bytes = span.bytes();
        // A character takes up to four bytes.
        let (before, after, is_cut) = source.line_around(bytes.start, SNIPPET_CHARS_MAX * 4);
        let (before_len, after_len) = (before.chars().count(), after.chars().count());
        let fits = !is_cut && before_len + after_len <= SNIPPET_CHARS_MAX;
        let lead_len = if fits {
            before_len
        } else {
            before_len.min(SNIPPET_LEAD_CHARS)
        };
        let tail_len = after_len.min(SNIPPET_CHARS_MAX - lead_len);

        let is_lead_cut = is_cut || lead_len < before_len;
        let clean = |character| {
            if is_harmless(character) {
                character
            } else {
                ' '
            }
        };
        let mut line: String = if is_lead_cut {
            "…".to_owned()
        } else {
            String::new()
        };
        line.extend(before.chars().skip(before_len - lead_len).map(clean));
        line.extend(after.chars().take(tail_len).map(clean));
        line.truncate(line.trim_end().len());
        if tail_len < after_len {
            line.push('…');
        }

        let marked_bytes = bytes.len().min(after.len());
        let marked = after
            .get(..marked_bytes)
            .unwrap_or(after)
            .trim_end()
            .chars()
            .count();
        Self {
            line,
            indent: lead_len + usize::from(is_lead_cut),
            width: marked.clamp(1, tail_len.max(1)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        } else {
            write!(f, "{}: ", self.file)?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        let number = self.line.to_string();
        let margin = if self.snippet.is_some() {
            number.len()
        } else {
            0
        };
        if let Some(snippet) = &self.snippet {
            let carets = "^".repeat(snippet.width);
            write!(f, "\n{:margin$} |\n{number} | {}", "", snippet.line)?;
            write!(
                f,
                "\n{:margin$} | {:indent$}{carets}",
                "",
                "",
                indent = snippet.indent
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{:margin$} = hint: {hint}", "")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Most errors, and most warnings, that are kept; of more, only the number is.
const KEPT_MAX: usize = 1_000;

/// All problems of one run, over any number of files.
///
/// Shown, they are sorted by file and position, one below the other, each ended by a line break. Of
/// more than a thousand only the number is kept: nobody reads them, and a large file that is wrong
/// throughout should not cost more memory than a good one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    kept_errors: usize,
    kept_warnings: usize,
    /// How many more there were.
    dropped: usize,
}

impl Problems {
    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        let kept = match problem.severity {
            Severity::Error => &mut self.kept_errors,
            Severity::Warning => &mut self.kept_warnings,
        };
        if *kept < KEPT_MAX {
            *kept += 1;
            self.list.push(problem);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds all problems of another run.
    pub fn append(&mut self, others: Self) {
        self.dropped = self.dropped.saturating_add(others.dropped);
        self.extend(others);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are, those that are not kept included.
    pub fn len(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// Whether any of them keeps its file from being used.
    pub fn has_errors(&self) -> bool {
        self.list
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// The problems that are kept by file and position; at one position in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        let mut sorted: Vec<&Problem> = self.list.iter().collect();
        sorted.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        sorted.into_iter()
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(mut self) -> Self::IntoIter {
        self.list
            .sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        self.list.into_iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        let mut problems = Self::default();
        problems.push(problem);
        problems
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.iter() {
            writeln!(f, "{problem}")?;
        }
        if self.dropped > 0 {
            writeln!(f, "… and {} more", self.dropped)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: &Source, needle: &str, message: &str) -> Problem {
        let start = source.text().find(needle).unwrap();
        Problem::new(source, source.span_of(start..start + needle.len()), message)
    }

    #[test]
    fn a_problem_shows_the_line_and_a_caret_under_it() {
        let source = Source::new(
            "rules.yaml",
            "domain: edge\nlimits:\n\u{9}unt: hour # ü\r\n",
        );
        assert_eq!(
            at(&source, "unt", "unknown key 'unt'")
                .with_hint("did you mean 'unit'?")
                .to_string(),
            "rules.yaml:3:2: unknown key 'unt'\n  |\n3 |  unt: hour # ü\n  |  ^^^\n  = hint: did you mean 'unit'?"
        );
    }

    #[test]
    fn a_problem_without_a_place_is_one_line() {
        let problem = Problem::with_file("rules.yaml", "cannot be read").as_warning();
        assert_eq!(problem.to_string(), "rules.yaml: warning: cannot be read");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let source = Source::new("a", format!("{}HERE{}", "x".repeat(500), "y".repeat(500)));
        let shown = at(&source, "HERE", "m").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines.iter().all(|line| line.chars().count() < 140),
            "{shown}"
        );
        let caret = lines[3].find('^').unwrap();
        let marked: String = lines[2].chars().skip(caret).take(4).collect();
        assert_eq!(marked, "HERE");
    }

    #[test]
    fn a_span_over_several_lines_is_marked_on_its_first() {
        let source = Source::new("a", "key: |\n  one\n  two\nend");
        let shown = Problem::new(&source, source.span_of(5..19), "m").to_string();
        assert!(shown.ends_with("  |      ^"), "{shown}");
    }

    #[test]
    fn terminal_escapes_in_the_line_are_blanked() {
        let source = Source::new("a", "k: \u{1b}[31mx");
        assert!(!at(&source, "k", "m").to_string().contains('\u{1b}'));
    }

    #[test]
    fn of_very_many_problems_only_the_number_is_kept() {
        let mut problems = Problems::default();
        for _ in 0..5_000 {
            problems.push(Problem::with_file("a", "w").as_warning());
        }
        assert!(!problems.has_errors());
        problems.push(Problem::with_file("a", "e"));
        assert!(problems.has_errors());
        assert_eq!(problems.len(), 5_001);
        assert_eq!(problems.iter().count(), 1_001);
        let mut all = Problems::from(Problem::with_file("b", "w").as_warning());
        all.append(problems.clone());
        assert_eq!((all.len(), all.iter().count()), (5_002, 1_001));
        assert!(problems.to_string().ends_with("\n… and 4000 more\n"));
    }

    #[test]
    fn a_problem_at_the_very_end_of_a_file_is_shown() {
        let source = Source::new("a", "one\n");
        let shown = Problem::new(&source, source.span_of(4..4), "m").to_string();
        assert_eq!(shown, "a:2:1: m\n  |\n2 | \n  | ^");
    }

    #[test]
    fn problems_are_listed_by_file_and_position() {
        let first = Source::new("a.yaml", "one\ntwo\n");
        let second = Source::new("b.yaml", "three\n");
        let mut problems = Problems::default();
        problems.push(at(&second, "three", "c").as_warning());
        assert!(!problems.has_errors());
        problems.push(at(&first, "two", "b"));
        problems.push(at(&first, "one", "a"));
        let order: Vec<&str> = problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert!(problems.has_errors());
        assert_eq!(problems.len(), 3);
    }
}
