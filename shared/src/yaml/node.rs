//! The document tree.

use std::ops::Range;

use super::display::printable;
use super::scalar::Scalar;

/// Where a node stands in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
    line: u32,
    column: u32,
}

impl Span {
    /// A span of a byte range that begins at this line and column, both counted from 1.
    pub(super) fn new(bytes: Range<usize>, line: usize, column: usize) -> Self {
        // Files are bounded far below 4 GiB; a saturated position is merely a wrong caret.
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            start: narrow(bytes.start),
            end: narrow(bytes.end),
            line: narrow(line),
            column: narrow(column),
        }
    }

    /// Line, from 1; 0 for a span that stands for a whole file, or for nothing in any file.
    pub fn line(self) -> u32 {
        self.line
    }

    /// Column in characters, from 1.
    pub fn column(self) -> u32 {
        self.column
    }

    /// The bytes of the file it covers.
    pub fn bytes(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: may be a number, a boolean or nothing.
    Plain,
    /// In quotes or as a block (`|`, `>`): always text.
    Quoted,
}

/// The tag before a node, as far as it changes what the node means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// None, or one that changes nothing.
    None,
    /// `!!str`: text, however it is written.
    Text,
    /// `!!int`, `!!float`, `!!bool` or `!!null`: read like a plain scalar, also within quotes.
    Plain,
    /// `!!binary`: Base64.
    Binary,
}

/// A node of the document: a scalar, a sequence or a mapping, and where it stands.
///
/// A node that came in through an alias carries the position of the anchor it repeats.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) span: Span,
    pub(super) kind: NodeKind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A single value.
    Scalar {
        /// The text, quotes and escapes undone.
        text: Box<str>,
        /// How it is written.
        style: Style,
        /// What its tag says.
        tag: Tag,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values.
    Mapping(Mapping),
}

/// The pairs of a mapping in file order, merges done.
///
/// Of keys that appear twice only the last is here; pairs that came through `<<` follow those that
/// are written out, and never take their place.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    pub(super) pairs: Vec<(Node, Node)>,
    pub(super) duplicates: Vec<Duplicate>,
}

/// A key that a mapping has twice.
#[derive(Clone, Debug)]
pub struct Duplicate {
    /// The key's text.
    pub key: Box<str>,
    /// The one that counts for nothing.
    pub earlier: Span,
    /// The one that takes its place.
    pub later: Span,
}

/// Trees that nobody wrote: what another source says in the form of a file, so that it is checked as
/// one. Their nodes stand nowhere, on line 0.
impl Node {
    /// A scalar that is text, whatever it looks like.
    pub fn of_text(text: impl Into<Box<str>>) -> Self {
        Self::of_scalar(text.into(), Style::Quoted)
    }

    /// A scalar that means what it would without quotes: a number, a boolean, nothing.
    pub fn of_plain(text: impl Into<Box<str>>) -> Self {
        Self::of_scalar(text.into(), Style::Plain)
    }

    /// A list.
    pub fn of_list(elements: Vec<Self>) -> Self {
        Self {
            span: Span::default(),
            kind: NodeKind::Sequence(elements),
        }
    }

    /// A mapping. Keys must differ.
    pub fn of_mapping<K: Into<Box<str>>>(pairs: impl IntoIterator<Item = (K, Self)>) -> Self {
        let pairs = pairs
            .into_iter()
            .map(|(key, value)| (Self::of_text(key), value));
        Self {
            span: Span::default(),
            kind: NodeKind::Mapping(Mapping {
                pairs: pairs.collect(),
                duplicates: Vec::new(),
            }),
        }
    }

    fn of_scalar(text: Box<str>, style: Style) -> Self {
        Self {
            span: Span::default(),
            kind: NodeKind::Scalar {
                text,
                style,
                tag: Tag::None,
            },
        }
    }
}

impl Node {
    /// Where it stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// What it is.
    pub fn kind(&self) -> &NodeKind {
        &self.kind
    }

    /// A scalar's text as written, quotes undone, whatever type it has: `007` stays `007`.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// A scalar's value.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.kind {
            NodeKind::Scalar { text, style, tag } => Some(match (tag, style) {
                (Tag::Binary, _) => Scalar::Binary(text),
                (Tag::Text, _) | (Tag::None, Style::Quoted) => Scalar::Text(text),
                (Tag::Plain, _) | (Tag::None, Style::Plain) => Scalar::of_plain(text),
            }),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// Whether it is nothing: `~`, `null`, or no value at all.
    pub fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// The elements of a sequence.
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.kind {
            NodeKind::Sequence(elements) => Some(elements),
            NodeKind::Scalar { .. } | NodeKind::Mapping(_) => None,
        }
    }

    /// The mapping, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            NodeKind::Mapping(mapping) => Some(mapping),
            NodeKind::Scalar { .. } | NodeKind::Sequence(_) => None,
        }
    }

    /// The value at `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_mapping()?.get(key)
    }

    /// The node in words, for messages: `a list`, `the number 5`, `the string 'x'`.
    pub fn describe(&self) -> String {
        match (&self.kind, self.scalar()) {
            (NodeKind::Sequence(_), _) => "a list".to_owned(),
            (NodeKind::Mapping(_), _) => "a mapping".to_owned(),
            (NodeKind::Scalar { text, .. }, scalar) => match scalar {
                None | Some(Scalar::Null) => "nothing".to_owned(),
                Some(Scalar::Bool(value)) => format!("the boolean {value}"),
                Some(Scalar::Int(_) | Scalar::Float(_)) => {
                    format!("the number {}", printable(text))
                }
                Some(Scalar::Text(_)) => format!("the string '{}'", printable(text)),
                Some(Scalar::Binary(_)) => "binary data".to_owned(),
            },
        }
    }
}

impl Mapping {
    /// The pairs.
    pub fn pairs(&self) -> &[(Node, Node)] {
        &self.pairs
    }

    /// The value at `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.pairs
            .iter()
            .find(|(candidate, _)| candidate.text() == Some(key))
            .map(|(_, value)| value)
    }

    /// Keys that were given twice; a caller may warn about them or refuse them.
    pub fn duplicates(&self) -> &[Duplicate] {
        &self.duplicates
    }
}

/// The first document of a file.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub(super) root: Option<Node>,
    pub(super) next_document: Option<Span>,
}

impl Document {
    /// A document with this root, which was not read from a file.
    pub fn of_root(root: Node) -> Self {
        Self {
            root: Some(root),
            next_document: None,
        }
    }

    /// The outermost node; `None` for a file that is empty or holds nothing but comments.
    pub fn root(&self) -> Option<&Node> {
        self.root.as_ref()
    }

    /// Where a second document begins. It was not read, nor was any after it.
    pub fn next_document(&self) -> Option<Span> {
        self.next_document
    }
}
