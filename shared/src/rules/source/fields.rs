//! Reading mappings and values of the types a rule file has, with a problem for everything else.

use std::collections::HashSet;
use std::sync::Arc;

use super::schema::{Place, complaint};
use crate::rules::rule::Modes;
use crate::yaml::{
    Invisible, Mapping, Node, Problem, Problems, Scalar, Source, Span, closest, printable,
};

/// What is meant by two limits of one descriptor.
pub(super) const SEVERAL_LIMITS: &str =
    "several limits of one descriptor are a list: 'rate_limits: [{…}, {…}]'";

/// Reads one file and collects its problems.
pub(super) struct FileReader<'a> {
    source: &'a Source,
    problems: &'a mut Problems,
    /// Texts read so far: most keys and names appear again and again.
    texts: HashSet<Arc<str>>,
    /// Where the reader is, as composite keys: `domain.key_value.key`.
    pub(super) path: String,
    /// Descriptors around the current one.
    pub(super) depth: usize,
    /// Whether limits that do not say so count what they deny.
    pub(super) counts_denied: bool,
}

impl<'a> FileReader<'a> {
    pub(super) fn new(source: &'a Source, modes: Modes, problems: &'a mut Problems) -> Self {
        Self {
            source,
            problems,
            texts: HashSet::new(),
            path: String::new(),
            depth: 0,
            counts_denied: !modes.denied_uncounted,
        }
    }

    pub(super) fn source(&self) -> &'a Source {
        self.source
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) {
        let problem = self.problem(span, message);
        self.problems.push(problem);
    }

    /// A problem that says where it is: by its line, or by the descriptor where there are no lines.
    fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        let message = message.into();
        if span.line() == 0 && !self.path.is_empty() {
            let message = format!("{}: {message}", printable(&self.path));
            return Problem::new(self.source, span, message);
        }
        Problem::new(self.source, span, message)
    }

    pub(super) fn error_with_hint(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let problem = self.problem(span, message).with_hint(hint);
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        let problem = self.problem(span, message).with_hint(hint).as_warning();
        self.problems.push(problem);
    }

    /// The one copy of a text.
    pub(super) fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(Arc::clone(&new));
        new
    }

    /// A mapping with nothing but the keys of its place, or a problem for each that is not.
    pub(super) fn mapping<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        place: Place,
    ) -> Option<&'n Mapping> {
        let Some(mapping) = node.as_mapping() else {
            let message = format!("{what} must be a mapping, not {}", node.describe());
            self.error_of_text(node, message);
            return None;
        };
        for (key, _) in mapping.pairs() {
            let Some(Scalar::Text(text)) = key.scalar() else {
                let shown = key.text().map_or_else(|| key.describe(), printable);
                let message = format!("config error, key is not of type string: {shown}");
                self.error_with_hint(
                    key.span(),
                    message,
                    format!("known here: {}", place.keys().join(", ")),
                );
                continue;
            };
            if let Some((message, hint)) = complaint(text, place) {
                self.error_with_hint(key.span(), message, hint);
            }
        }
        for duplicate in mapping.duplicates() {
            let message = format!(
                "'{}' is given twice; the last one counts",
                printable(&duplicate.key)
            );
            let first = format!("the first one is on line {}", duplicate.earlier.line());
            let hint = if *duplicate.key == *"rate_limit" {
                format!("{first}; {SEVERAL_LIMITS}")
            } else {
                first
            };
            self.warn(duplicate.later, message, hint);
        }
        Some(mapping)
    }

    /// The elements of a list of mappings; none when there is no list.
    pub(super) fn list<'n>(&mut self, mapping: &'n Mapping, key: &str) -> &'n [Node] {
        let Some(node) = mapping.get(key).filter(|node| !node.is_null()) else {
            return &[];
        };
        let Some(elements) = node.as_sequence() else {
            let message = format!("'{key}' must be a list, not {}", node.describe());
            self.error_with_hint(
                node.span(),
                message,
                "each element of a list begins with '- '",
            );
            return &[];
        };
        for element in elements
            .iter()
            .filter(|element| element.as_mapping().is_none())
        {
            let what = element.describe();
            let message =
                format!("config error, yaml file contains list of type other than map: {what}");
            self.error_of_text(element, message);
        }
        elements
    }

    /// An error about a node that is none of what it should be; where it is a text, that may be because of
    /// something in it that nobody sees.
    fn error_of_text(&mut self, node: &Node, message: String) {
        match node.text().and_then(Invisible::first_in) {
            Some(invisible) => self.error_with_hint(node.span(), message, invisible.advice()),
            None => self.error(node.span(), message),
        }
    }

    /// Warns of a text with something in it that nobody sees, where it is not written as an escape.
    fn warn_of_invisible(&mut self, node: &Node, key: &str, text: &str) {
        let Some(invisible) = Invisible::first_in(text) else {
            return;
        };
        let written = self.source.text().get(node.span().bytes());
        let is_seen = node.span().line() > 0
            && written.is_some_and(|written| !written.contains(invisible.character()));
        if !is_seen {
            let message = format!("'{key}' contains {invisible}, which cannot be seen");
            let hint = "only requests with the same character match; leave it out, or write it as an \
                        escape in double quotes if it is meant";
            self.warn(node.span(), message, hint);
        }
    }

    /// A text; empty when the key is missing, null, or has a value of another type.
    ///
    /// Whole numbers and booleans without quotes are fine, and stay as they are written.
    pub(super) fn text<'n>(&mut self, mapping: &'n Mapping, key: &str) -> &'n str {
        let Some(node) = mapping.get(key) else {
            return "";
        };
        let text = node.text().unwrap_or_default();
        self.warn_of_invisible(node, key, text);
        match node.scalar() {
            Some(Scalar::Text(_) | Scalar::Bool(_)) => text,
            Some(Scalar::Int(value)) if value <= i128::from(i64::MAX) => text,
            Some(Scalar::Null) => "",
            // A whole number that does not fit 64 bits with a sign reads as a floating point number.
            Some(Scalar::Int(_) | Scalar::Float(_)) => {
                let shown = printable(text);
                let message = format!(
                    "error checking config: '{key}' is text, but {shown} is a floating point number"
                );
                let hint = format!("put it in quotes: \"{shown}\"");
                self.error_with_hint(node.span(), message, hint);
                ""
            }
            Some(Scalar::Binary(_)) | None => {
                self.error(
                    node.span(),
                    format!("'{key}' must be text, not {}", node.describe()),
                );
                ""
            }
        }
    }

    /// A boolean; false when the key is missing, null, or has a value of another type.
    pub(super) fn flag(&mut self, mapping: &Mapping, key: &str) -> bool {
        let Some(node) = mapping.get(key) else {
            return false;
        };
        match node.scalar() {
            Some(Scalar::Bool(value)) => value,
            Some(Scalar::Null) => false,
            Some(Scalar::Text(text)) if matches!(Scalar::of_plain(text), Scalar::Bool(_)) => {
                let message = format!("'{key}' must be true or false, not {}", node.describe());
                self.error_with_hint(node.span(), message, "leave out the quotes");
                false
            }
            _ => {
                self.error(
                    node.span(),
                    format!("'{key}' must be true or false, not {}", node.describe()),
                );
                false
            }
        }
    }

    /// A whole number of 32 bits; `None` when the key is missing or null, and 0 in place of a value of
    /// another type.
    pub(super) fn number(&mut self, mapping: &Mapping, key: &str) -> Option<u32> {
        let node = mapping.get(key).filter(|node| !node.is_null())?;
        let scalar = node.scalar();
        if let Some(Scalar::Int(value)) = scalar
            && let Ok(value) = u32::try_from(value)
        {
            self.warn_of_octal(node, value);
            return Some(value);
        }
        let message = if let Some(Scalar::Float(_)) = scalar {
            let text = node.text().unwrap_or_default();
            format!(
                "error checking config: '{key}' is a whole number, but {text} is a floating point number"
            )
        } else {
            format!(
                "'{key}' must be a whole number from 0 to {}, not {}",
                u32::MAX,
                node.describe()
            )
        };
        match scalar {
            Some(Scalar::Text(text)) if matches!(Scalar::of_plain(text), Scalar::Int(_)) => {
                self.error_with_hint(node.span(), message, "leave out the quotes");
            }
            _ => self.error(node.span(), message),
        }
        Some(0)
    }

    /// In YAML 1.1 a leading zero means octal, which few people expect of `010`.
    fn warn_of_octal(&mut self, node: &Node, value: u32) {
        let text = node.text().unwrap_or_default();
        let decimal = text.parse::<u32>().ok();
        if decimal.is_some_and(|decimal| decimal != value) {
            let hint = format!("write {value}, or leave out the leading zero");
            self.warn(
                node.span(),
                format!("{text} is an octal number in YAML and means {value}"),
                hint,
            );
        }
    }
}

/// Where something was found before, for hints: its file, and its line where there are lines.
pub(super) fn place(source: &Source, span: Span) -> String {
    match span.line() {
        0 => source.name().to_string(),
        line => format!("{}:{line}", source.name()),
    }
}

/// Whether `key` seems to be there, only wrongly spelt: that is a problem already, and a second one
/// about a missing key would not help.
pub(super) fn misspelt(mapping: &Mapping, place: Place, key: &str) -> bool {
    mapping.get(key).is_none()
        && mapping
            .pairs()
            .iter()
            .filter_map(|(written, _)| written.text())
            .any(|written| {
                !place.keys().contains(&written)
                    && closest(written, place.keys().iter().copied()) == Some(key)
            })
}
