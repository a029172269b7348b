//! The file layer: the service file, checked against the schema.

use std::path::Path;

use hivemind_shared::bounded_file::{self, Bounds, Deadline};
use hivemind_shared::yaml::{
    self, Invisible, Limits, Mapping, Node, Problem, Problems, Source, Span,
};

use super::origin::Origin;
use super::schema::{Key, keys_of, sections};
use super::setting::Value;
use crate::reload::READ_TIME_MAX;

/// Bytes of a service file that are read: the whole documented one is under 5 KiB.
const FILE_SIZE_MAX: u64 = 1024 * 1024;

/// What a service file sets, and where.
#[derive(Debug)]
pub(super) struct FileLayer {
    source: Source,
    pub(super) assignments: Vec<FileAssignment>,
}

/// One key the file sets.
#[derive(Debug)]
pub(super) struct FileAssignment {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    /// Where the value stands.
    pub(super) span: Span,
}

impl FileLayer {
    /// Reads the file at `path` as far as it can be understood; everything else is a problem.
    pub(super) fn read(path: &Path, problems: &mut Problems) -> Self {
        let name = path.to_string_lossy();
        let source = read_source(path).unwrap_or_else(|problem| {
            problems.push(problem);
            Source::new(&name, "")
        });
        let mut layer = Self {
            source,
            assignments: Vec::new(),
        };
        layer.assignments = layer.parse(problems);
        layer
    }

    /// The problem of a value of this file.
    pub(super) fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        Problem::new(&self.source, span, message)
    }

    /// Where a value of this file comes from.
    pub(super) fn origin(&self, span: Span) -> Origin {
        Origin::File {
            name: self.source.name().clone(),
            line: span.line(),
        }
    }

    fn parse(&self, problems: &mut Problems) -> Vec<FileAssignment> {
        let document = match yaml::parse(&self.source, &Limits::default()) {
            Ok(document) => document,
            Err(problem) => {
                problems.push(problem);
                return Vec::new();
            }
        };
        if let Some(span) = document.next_document() {
            problems.push(self.problem(span, "a service file is a single document"));
        }
        let Some(root) = document.root().filter(|root| !root.is_null()) else {
            return Vec::new();
        };
        if let Some(key) = rules_key(root) {
            let message =
                format!("this is a file of rules, not a service file: it has the key '{key}'");
            let name = self.source.name();
            problems.push(self.problem(root.span(), message).with_hint(format!(
                "name it in rate_limiting.config_path (--rate-limiting-config-path); `hivectl check {name}` checks it"
            )));
            return Vec::new();
        }
        let mut assignments = Vec::new();
        self.each_pair(
            root,
            "the service file",
            problems,
            |file, name, node, problems| {
                file.section(name, node, problems, &mut assignments);
            },
        );
        assignments
    }

    /// Calls `visit` with every key and value of a mapping.
    fn each_pair(
        &self,
        node: &Node,
        what: &str,
        problems: &mut Problems,
        mut visit: impl FnMut(&Self, &Node, &Node, &mut Problems),
    ) {
        let Some(mapping) = node.as_mapping() else {
            let message = format!(
                "{what} is a mapping of keys to values, not {}",
                node.describe()
            );
            problems.push(self.problem(node.span(), message));
            return;
        };
        self.refuse_duplicates(mapping, problems);
        for (name, value) in mapping.pairs() {
            visit(self, name, value, problems);
        }
    }

    fn refuse_duplicates(&self, mapping: &Mapping, problems: &mut Problems) {
        for duplicate in mapping.duplicates() {
            let message = format!(
                "'{}' is given a second time; the first is on line {}",
                yaml::printable(&duplicate.key),
                duplicate.earlier.line(),
            );
            problems.push(self.problem(duplicate.later, message));
        }
    }

    fn section(
        &self,
        name: &Node,
        node: &Node,
        problems: &mut Problems,
        assignments: &mut Vec<FileAssignment>,
    ) {
        let Some(section) = name
            .text()
            .and_then(|text| sections().find(|known| *known == text))
        else {
            problems.push(self.unknown(name, "section", sections()));
            return;
        };
        // A section whose keys are all commented out.
        if node.is_null() {
            return;
        }
        self.each_pair(node, section, problems, |file, name, node, problems| {
            let Some(key) = name
                .text()
                .and_then(|text| keys_of(section).find(|key| key.name == text))
            else {
                let known = keys_of(section).map(|key| key.name);
                problems.push(file.unknown(name, &format!("key in {section}"), known));
                return;
            };
            // Nothing written is nothing set.
            if node.is_null() {
                return;
            }
            match value_of(node) {
                Ok(value) => assignments.push(FileAssignment {
                    key,
                    value,
                    span: node.span(),
                }),
                Err(wrong) => {
                    let found = wrong.describe();
                    let message = format!(
                        "{} takes a value or a list of them, not {found}",
                        key.path()
                    );
                    problems.push(file.problem(wrong.span(), message));
                }
            }
        });
    }

    fn unknown(
        &self,
        name: &Node,
        what: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> Problem {
        let Some(text) = name.text() else {
            let message = format!("a {what} is a word, not {}", name.describe());
            return self.problem(name.span(), message);
        };
        let known: Vec<&str> = known.collect();
        let problem = self.problem(
            name.span(),
            format!("unknown {what}: '{}'", yaml::printable(text)),
        );
        if let Some(invisible) = Invisible::first_in(text) {
            return problem.with_hint(invisible.advice());
        }
        match yaml::closest(text, known.iter().copied()) {
            Some(similar) => problem.with_hint(format!("did you mean '{similar}'?")),
            None => problem.with_hint(format!("known are {}", known.join(", "))),
        }
    }
}

/// A key of a file of rules in a mapping that has no section.
fn rules_key(root: &Node) -> Option<&'static str> {
    let has_section = sections().any(|section| root.get(section).is_some());
    let mut keys = ["domain", "descriptors"].into_iter();
    keys.find(|key| !has_section && root.get(key).is_some())
}

/// The text of the file, of bounded size.
fn read_source(path: &Path) -> Result<Source, Problem> {
    let name = path.to_string_lossy();
    let bounds = Bounds {
        bytes_max: FILE_SIZE_MAX,
        deadline: Deadline::after(READ_TIME_MAX),
        streams: true,
    };
    let (bytes, _) = bounded_file::read(path, bounds).map_err(|error| {
        Problem::with_file(&name, format!("cannot read the service file: {error}"))
    })?;
    Source::from_bytes(&name, bytes)
}

/// A scalar or a list of scalars; the error is the node that is neither.
fn value_of(node: &Node) -> Result<Value, &Node> {
    if let Some(text) = node.text() {
        return Ok(Value::Text(text.to_owned()));
    }
    let elements = node.as_sequence().ok_or(node)?;
    let texts = elements
        .iter()
        .map(|element| element.text().map(str::to_owned).ok_or(element));
    texts.collect::<Result<_, _>>().map(Value::List)
}

#[cfg(test)]
mod tests {
    use hivemind_shared::rules::source::SERVICE_SECTIONS;

    use super::*;

    #[test]
    fn whoever_reads_rules_knows_the_sections_of_a_service_file() {
        assert_eq!(sections().collect::<Vec<_>>(), SERVICE_SECTIONS);
    }
}
