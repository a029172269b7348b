//! A file that is being read: its name and its text.

use std::sync::Arc;

use super::{Problem, Span};

/// A file's name and text, kept together because every problem needs both.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    text: String,
}

impl Source {
    /// A source of this name, which is what problems call it: a path as the user gave it, mostly.
    pub fn new(name: impl AsRef<str>, text: impl Into<String>) -> Self {
        Self {
            name: Arc::from(name.as_ref()),
            text: text.into(),
        }
    }

    /// A source from the bytes of a file.
    ///
    /// # Errors
    ///
    /// A problem that points at the first byte that is not UTF-8.
    pub fn from_bytes(name: impl AsRef<str>, bytes: Vec<u8>) -> Result<Self, Problem> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let start = error.utf8_error().valid_up_to();
                let source = Self::new(name, String::from_utf8_lossy(error.as_bytes()));
                Err(Problem::new(
                    &source,
                    source.span_of(start..start + 1),
                    "the file is not UTF-8 text",
                )
                .with_hint("save it with the encoding UTF-8"))
            }
        }
    }

    /// The name problems show.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The span of a byte range of the text; a range beyond the end is cut to it.
    pub fn span_of(&self, bytes: std::ops::Range<usize>) -> Span {
        let start = floor_char_boundary(&self.text, bytes.start);
        let end = floor_char_boundary(&self.text, bytes.end).max(start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Span::new(start..end, line, column)
    }

    /// The line around the byte at `offset`, without its line break: what stands before the byte and
    /// what follows, each cut to `bytes_max`, and whether the beginning was cut.
    ///
    /// The cut keeps the work small for a file that is one long line with many problems.
    pub(super) fn line_around(&self, offset: usize, bytes_max: usize) -> (&str, &str, bool) {
        let offset = floor_char_boundary(&self.text, offset);
        let window_start = floor_char_boundary(&self.text, offset.saturating_sub(bytes_max));
        let window_end = floor_char_boundary(&self.text, offset.saturating_add(bytes_max));
        let before = self.text.get(window_start..offset).unwrap_or_default();
        let after = self.text.get(offset..window_end).unwrap_or_default();
        let (before, is_cut) = match before.rfind(['\n', '\r']) {
            Some(line_break) => (before.get(line_break + 1..).unwrap_or_default(), false),
            None => (before, window_start > 0),
        };
        (
            before,
            after.split(['\n', '\r']).next().unwrap_or_default(),
            is_cut,
        )
    }
}

/// The largest character boundary that is not beyond `offset`.
fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_pointed_at() {
        let problem =
            Source::from_bytes("rules.yaml", b"domain: a\nkey: \xFFx\n".to_vec()).unwrap_err();
        assert_eq!((problem.line, problem.column), (2, 6));
    }

    #[test]
    fn a_span_counts_characters_not_bytes() {
        let source = Source::new("a", "x\nüü: y");
        let span = source.span_of(8..9);
        assert_eq!((span.line(), span.column()), (2, 5));
        assert_eq!(source.line_around(8, 100), ("üü: ", "y", false));
        assert_eq!(source.line_around(8, 2), (": ", "y", true));
    }

    #[test]
    fn any_range_is_cut_to_the_text() {
        let source = Source::new("a", "ü");
        for start in 0..5 {
            for end in 0..5 {
                let span = source.span_of(start..end);
                assert!(source.text().get(span.bytes()).is_some());
                let (before, after, _) = source.line_around(start, 10);
                assert_eq!(format!("{before}{after}"), "ü");
            }
        }
    }
}
