//! `metadata`: any mapping, kept as the JSON that answers carry.

use std::fmt::Write as _;
use std::sync::Arc;

use super::fields::FileReader;
use crate::yaml::{Mapping, Node, NodeKind, Scalar, Span, printable};

impl FileReader<'_> {
    /// The metadata of a descriptor as a JSON object.
    pub(super) fn metadata(&mut self, descriptor: &Mapping) -> Option<Arc<str>> {
        let node = descriptor.get("metadata").filter(|node| !node.is_null())?;
        if node.as_mapping().is_none() {
            self.error(
                node.span(),
                format!("'metadata' must be a mapping, not {}", node.describe()),
            );
            return None;
        }
        let mut json = String::new();
        match write_json(node, &mut json) {
            Ok(()) => Some(self.shared(&json)),
            Err((span, what)) => {
                self.error(span, format!("error parsing metadata: {what}"));
                None
            }
        }
    }
}

/// Appends a node as JSON; says what cannot be JSON, and where it is.
fn write_json(node: &Node, json: &mut String) -> Result<(), (Span, String)> {
    match node.kind() {
        NodeKind::Scalar { text, .. } => {
            let number = match node.scalar() {
                None | Some(Scalar::Null) => {
                    json.push_str("null");
                    return Ok(());
                }
                Some(Scalar::Text(text)) => {
                    write_json_text(text, json);
                    return Ok(());
                }
                Some(Scalar::Bool(value)) => value.to_string(),
                Some(Scalar::Int(value)) => value.to_string(),
                // Rust writes finite numbers as JSON does.
                Some(Scalar::Float(value)) if value.is_finite() => format!("{value:?}"),
                Some(Scalar::Float(_)) => {
                    return Err((
                        node.span(),
                        format!("{} is no number in JSON", printable(text)),
                    ));
                }
                Some(Scalar::Binary(_)) => return Err((node.span(), "binary data".to_owned())),
            };
            json.push_str(&number);
        }
        NodeKind::Sequence(elements) => {
            json.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_json(element, json)?;
            }
            json.push(']');
        }
        NodeKind::Mapping(mapping) => {
            let mut fields = Vec::new();
            for (key, value) in mapping.pairs() {
                let Some(name) = key.text() else {
                    return Err((
                        key.span(),
                        format!("a key must be text, not {}", key.describe()),
                    ));
                };
                fields.push((name, value));
            }
            // The order means nothing, and is another one where rules come from a management server.
            fields.sort_by_key(|(name, _)| *name);
            json.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_json_text(name, json);
                json.push(':');
                write_json(value, json)?;
            }
            json.push('}');
        }
    }
    Ok(())
}

fn write_json_text(text: &str, json: &mut String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}
