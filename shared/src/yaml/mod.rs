//! YAML with positions: a small document tree in which every node knows where it stands, so that
//! whatever is wrong with a file can be shown to the person who wrote it.
//!
//! Reading is in two steps. [`parse`] turns the text of a [`Source`] into a [`Document`] of
//! [`Node`]s: syntax, anchors, aliases and `<<` merges are dealt with there, and every resource an
//! input could ask for is bounded by [`Limits`]. The caller then walks the nodes, knows what it
//! expects of each, and reports what it finds as [`Problem`]s; it goes on after a problem, so that
//! one run shows all of them.
//!
//! ```
//! use hivemind_shared::yaml::{self, Limits, Problem, Problems, Scalar, Source};
//!
//! let source = Source::new("service.yaml", "server:\n  grpc_port: many\n");
//! let document = yaml::parse(&source, &Limits::default())?;
//! let mut problems = Problems::default();
//! let server = document.root().and_then(|root| root.get("server"));
//! if let Some(port) = server.and_then(|server| server.get("grpc_port")) {
//!     if !matches!(port.scalar(), Some(Scalar::Int(0..=65_535))) {
//!         problems.push(
//!             Problem::new(&source, port.span(), format!("a port is a number, not {}", port.describe()))
//!                 .with_hint("0 lets the system choose one"),
//!         );
//!     }
//! }
//! assert_eq!(
//!     problems.to_string(),
//!     "service.yaml:2:14: a port is a number, not the string 'many'\n  \
//!        |\n\
//!      2 |   grpc_port: many\n  \
//!        |              ^^^^\n  \
//!        = hint: 0 lets the system choose one\n"
//! );
//! # Ok::<(), Problem>(())
//! ```
//!
//! Only the first document of a file is read, and of a key given twice in one mapping the last one
//! counts: that is how the YAML library of envoyproxy/ratelimit reads files, and its files must go on
//! meaning what they meant. Both facts are kept ([`Document::next_document`],
//! [`Mapping::duplicates`]) for callers that want to warn or refuse.

pub(crate) mod display;
mod invisible;
mod node;
mod problem;
mod reader;
mod scalar;
mod source;
mod suggest;
#[cfg(test)]
mod tests;

pub use display::{escaped, printable};
pub use invisible::Invisible;
pub use node::{Document, Duplicate, Mapping, Node, NodeKind, Span, Style, Tag};
pub use problem::{Problem, Problems, Severity};
pub use reader::{Limits, parse};
pub use scalar::Scalar;
pub use source::Source;
pub use suggest::closest;
