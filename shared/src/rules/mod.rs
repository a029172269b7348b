//! Rules: which limit applies to which descriptor.
//!
//! Rules are written in YAML (`source`, feature `yaml`), compiled once into a [`RuleSet`], carried
//! through the shared-memory region in a compact binary form ([`encode`], [`decode`]), and asked on
//! every request ([`RuleSet::find`]).
//!
//! # Matching
//!
//! The rules of a domain form a tree. A request's descriptor walks it, one level an entry; at each
//! level the first of these that exists is taken, and the others are never tried again:
//!
//! 1. the node with the entry's key and exactly its value,
//! 2. the first node in file order whose pattern covers the entry: each `*` in its value (or its key)
//!    stands for zero or more bytes,
//! 3. the node with the entry's key and no value.
//!
//! A limit applies when it belongs to the node of the *last* entry. Everything is compared bytewise.
//!
//! envoyproxy/ratelimit compares `key_value` as one string; here keys and values are compared apart.
//! So the pairs `a` + `b_c` and `a_b` + `c` are two rules instead of a duplicate, and the rule of the
//! bare key `tenant_a` does not catch requests with the key `tenant` and the value `a`, for whom nobody
//! wrote it.

mod compile;
#[cfg(feature = "yaml")]
mod content;
mod decode;
#[cfg(feature = "yaml")]
mod diff;
mod encode;
#[cfg(feature = "yaml")]
mod explain;
#[cfg(feature = "yaml")]
pub mod files;
mod index;
mod near_limit;
mod pattern;
mod rule;
mod set;
#[cfg(feature = "yaml")]
pub mod source;
mod stats;
#[cfg(test)]
mod tests;
mod wire;

pub use compile::{CompileError, DEPTH_MAX, DESCRIPTORS_MAX, LIMITS_MAX};
#[cfg(feature = "yaml")]
pub use content::content;
pub use decode::{DecodeError, decode};
#[cfg(feature = "yaml")]
pub use diff::{Change, ChangeKind, Counters, OrderChange, RulesDiff, Side, diff};
pub use encode::encode;
#[cfg(feature = "yaml")]
pub use explain::{Candidate, End, Explanation, Missed, NodeId, RuleNode, Step, Verdict};
pub use near_limit::NearLimitRatio;
pub use rule::{Algorithm, Modes, Origin, Rule, RuleId, RuleLimit};
pub use set::{DomainId, Lookup, Match, RulePath, RuleSet};
pub use stats::assign_stats;
