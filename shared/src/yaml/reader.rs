//! From the parser's events to the document tree, with every resource bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, StrInput};

use super::node::{Document, Duplicate, Mapping, Node, NodeKind, Span, Style, Tag};
use super::{Invisible, Problem, Source};

/// How much a file may ask for. What goes beyond ends in a [`Problem`], not in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of the text.
    pub max_bytes: usize,
    /// Nodes in the tree, those that aliases repeat included.
    pub max_nodes: usize,
    /// Nodes that anchors and aliases copy, all together. A few lines of nested aliases can stand for
    /// billions of nodes; nobody's rules do.
    pub max_copied_nodes: usize,
    /// Collections within one another.
    pub max_depth: usize,
}

impl Default for Limits {
    /// Enough for some 500,000 rules in one file: 64 MiB, 8 million nodes, 1 million of them copied,
    /// 200 levels.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_nodes: 8_000_000,
            max_copied_nodes: 1_000_000,
            max_depth: 200,
        }
    }
}

/// Bytes of a line that are looked through on either side of what is wrong with it.
const LINE_BYTES_MAX: usize = 480;

/// Reads the first document of `source`.
///
/// # Errors
///
/// The first thing that keeps the text from being a tree: broken syntax, an unknown anchor, a merge of
/// something that is no mapping, or a resource beyond `limits`.
pub fn parse(source: &Source, limits: &Limits) -> Result<Document, Problem> {
    let bytes = source.text().len();
    if bytes > limits.max_bytes {
        let message = format!(
            "the file has {bytes} bytes, more than the {} that are read",
            limits.max_bytes
        );
        return Err(Problem::with_file(source.name(), message));
    }
    let mut options = granit_parser::options! { block_scalar_eof_without_line_feed: true };
    options.set_emit_comments(false);
    let mut events = Parser::new_from_str_with_options(source.text(), options);
    let mut reader = Reader::new(source, limits);
    reader.read_document(&mut events)?;
    Ok(Document {
        root: reader.root,
        next_document: next_document(&mut events),
    })
}

/// Where another document begins after the one just read.
fn next_document<'t>(events: &mut Parser<'t, StrInput<'t>>) -> Option<Span> {
    match events.next()? {
        Ok((Event::DocumentStart(..), span)) => Some(span_of(&span)),
        Ok(_) => None,
        Err(error) => Some(span_at(error.marker())),
    }
}

struct Reader<'s> {
    source: &'s Source,
    limits: &'s Limits,
    root: Option<Node>,
    /// Collections that are open, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    copied_nodes: usize,
}

/// A collection whose end has not come yet.
struct Open {
    span: Span,
    /// The parser's number for its anchor, 0 without one.
    anchor: usize,
    content: Content,
    size: Size,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        pairs: Vec<(Node, Node)>,
        key: Option<Node>,
    },
}

/// A node that aliases may repeat.
struct Anchored {
    node: Node,
    size: Size,
}

/// How large a subtree is.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    /// Collections within one another, this one included.
    depth: usize,
}

impl<'s> Reader<'s> {
    fn new(source: &'s Source, limits: &'s Limits) -> Self {
        Self {
            source,
            limits,
            root: None,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            copied_nodes: 0,
        }
    }

    /// Takes events until the first document is complete, or the file ends without one.
    fn read_document<'t>(&mut self, events: &mut Parser<'t, StrInput<'t>>) -> Result<(), Problem> {
        for event in events {
            let (event, span) = event.map_err(|error| self.syntax_problem(&error))?;
            let span = span_of(&span);
            match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let style = if style == ScalarStyle::Plain {
                        Style::Plain
                    } else {
                        Style::Quoted
                    };
                    let kind = NodeKind::Scalar {
                        text: text.into(),
                        style,
                        tag: tag_of(tag.as_deref()),
                    };
                    self.count_nodes(1, span)?;
                    self.finish(Node { span, kind }, anchor, Size { nodes: 1, depth: 0 })?;
                }
                Event::SequenceStart(_, anchor, _) => {
                    self.open(span, anchor, Content::Sequence(Vec::new()))?;
                }
                Event::MappingStart(_, anchor, _) => {
                    self.open(
                        span,
                        anchor,
                        Content::Mapping {
                            pairs: Vec::new(),
                            key: None,
                        },
                    )?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(anchor) => self.repeat(anchor, span)?,
                Event::DocumentEnd | Event::StreamEnd => return Ok(()),
                // Starts of stream and document; the other kinds of event are switched off.
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, span: Span, anchor: usize, content: Content) -> Result<(), Problem> {
        self.count_nodes(1, span)?;
        self.check_depth(1, span)?;
        self.open.push(Open {
            span,
            anchor,
            content,
            size: Size { nodes: 1, depth: 1 },
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open.content {
            Content::Sequence(elements) => NodeKind::Sequence(elements),
            Content::Mapping { pairs, .. } => NodeKind::Mapping(self.mapping(pairs)?),
        };
        self.finish(
            Node {
                span: open.span,
                kind,
            },
            open.anchor,
            open.size,
        )
    }

    /// Puts a complete node where it belongs, and keeps a copy when it can be repeated.
    fn finish(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), Problem> {
        if anchor != 0 {
            self.count_copied(size.nodes, node.span)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    size,
                },
            );
        }
        self.attach(node, size);
        Ok(())
    }

    fn attach(&mut self, node: Node, size: Size) {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        parent.size.nodes += size.nodes;
        parent.size.depth = parent.size.depth.max(size.depth + 1);
        match &mut parent.content {
            Content::Sequence(elements) => elements.push(node),
            Content::Mapping { pairs, key } => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
        }
    }

    /// Puts a copy of an anchored node in the place of an alias.
    fn repeat(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        // Looked up twice because the limits are checked before anything is copied.
        let Some(size) = self.anchors.get(&anchor).map(|anchored| anchored.size) else {
            return Err(Problem::new(
                self.source,
                span,
                "an alias repeats the collection it is part of",
            ));
        };
        self.count_nodes(size.nodes, span)?;
        self.count_copied(size.nodes, span)?;
        self.check_depth(size.depth, span)?;
        if let Some(node) = self
            .anchors
            .get(&anchor)
            .map(|anchored| anchored.node.clone())
        {
            self.attach(node, size);
        }
        Ok(())
    }

    /// A mapping of these pairs: merges done, and of equal keys the last one.
    fn mapping(&self, pairs: Vec<(Node, Node)>) -> Result<Mapping, Problem> {
        let mut mapping = Mapping {
            pairs: Vec::with_capacity(pairs.len()),
            duplicates: Vec::new(),
        };
        let mut merged: Vec<(Node, Node)> = Vec::new();
        let mut places: HashMap<Box<str>, usize> = HashMap::new();
        for (key, value) in pairs {
            if is_merge(&key) {
                self.collect_merged(value, &mut merged)?;
                continue;
            }
            match key.text().map(|text| places.entry(text.into())) {
                Some(Entry::Occupied(place)) => {
                    if let Some(earlier) = mapping.pairs.get_mut(*place.get()) {
                        mapping.duplicates.push(Duplicate {
                            key: place.key().clone(),
                            earlier: earlier.0.span,
                            later: key.span,
                        });
                        *earlier = (key, value);
                    }
                }
                Some(Entry::Vacant(place)) => {
                    place.insert(mapping.pairs.len());
                    mapping.pairs.push((key, value));
                }
                None => mapping.pairs.push((key, value)),
            }
        }
        for (key, value) in merged {
            let is_new = match key.text().map(|text| places.entry(text.into())) {
                Some(Entry::Occupied(_)) => false,
                Some(Entry::Vacant(place)) => {
                    place.insert(mapping.pairs.len());
                    true
                }
                None => true,
            };
            if is_new {
                mapping.pairs.push((key, value));
            }
        }
        Ok(mapping)
    }

    /// Adds the pairs of a merge's value: a mapping, or a list of mappings of which earlier ones win.
    fn collect_merged(&self, value: Node, merged: &mut Vec<(Node, Node)>) -> Result<(), Problem> {
        let sources = match value.kind {
            NodeKind::Sequence(elements) => elements,
            NodeKind::Mapping(_) | NodeKind::Scalar { .. } => vec![value],
        };
        for source in sources {
            let NodeKind::Mapping(mapping) = source.kind else {
                let message = format!(
                    "'<<' merges a mapping or a list of mappings, not {}",
                    source.describe()
                );
                return Err(Problem::new(self.source, source.span, message));
            };
            merged.extend(mapping.pairs);
        }
        Ok(())
    }

    fn count_nodes(&mut self, nodes: usize, span: Span) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.max_nodes {
            let message = format!("more than {} values in one file", self.limits.max_nodes);
            return Err(Problem::new(self.source, span, message));
        }
        Ok(())
    }

    fn count_copied(&mut self, nodes: usize, span: Span) -> Result<(), Problem> {
        self.copied_nodes = self.copied_nodes.saturating_add(nodes);
        if self.copied_nodes > self.limits.max_copied_nodes {
            let message = format!(
                "anchors and aliases stand for more than {} values",
                self.limits.max_copied_nodes
            );
            return Err(Problem::new(self.source, span, message));
        }
        Ok(())
    }

    fn check_depth(&self, deeper: usize, span: Span) -> Result<(), Problem> {
        if self.open.len() + deeper > self.limits.max_depth {
            let message = format!("nested deeper than {} levels", self.limits.max_depth);
            return Err(Problem::new(self.source, span, message));
        }
        Ok(())
    }

    fn syntax_problem(&self, error: &ScanError) -> Problem {
        let problem = Problem::new(
            self.source,
            span_at(error.marker()),
            format!("not valid YAML: {}", error.kind()),
        );
        let problem = match error.kind() {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar => {
                problem.with_hint("YAML is indented with spaces; replace the tab")
            }
            // Mostly a pattern.
            ErrorKind::UnknownAnchor | ErrorKind::MissingAnchorOrAliasName => problem.with_hint(
                "a text that begins with '*' goes in quotes; without, it is an alias of an anchor, '&name', \
                 that has to come before",
            ),
            ErrorKind::UnexpectedCharacter { .. } | ErrorKind::MappingValueNotAllowed => {
                problem.with_hint("put the text in quotes")
            }
            _ => problem,
        };
        // Looks like an indentation or a space, and is none.
        let offset = error.marker().byte_offset().unwrap_or_default();
        let (before, after, _) = self.source.line_around(offset, LINE_BYTES_MAX);
        let invisible = [before, after].into_iter().find_map(|part| {
            // A tab has a hint of its own where it is wrong.
            Invisible::first_in(&part.replace('\t', " "))
        });
        match invisible {
            Some(invisible) => problem.with_hint(invisible.advice()),
            None => problem,
        }
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, NodeKind::Scalar { text, style: Style::Plain, .. } if **text == *"<<")
}

fn tag_of(tag: Option<&granit_parser::Tag>) -> Tag {
    let Some(tag) = tag else { return Tag::None };
    match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
        Some("str") => Tag::Text,
        Some("int" | "float" | "bool" | "null") => Tag::Plain,
        Some("binary") => Tag::Binary,
        _ => Tag::None,
    }
}

fn span_of(span: &granit_parser::Span) -> Span {
    Span::new(
        span.byte_range().unwrap_or_default(),
        span.start.line(),
        span.start.col() + 1,
    )
}

fn span_at(marker: &Marker) -> Span {
    let offset = marker.byte_offset().unwrap_or_default();
    Span::new(offset..offset, marker.line(), marker.col() + 1)
}
