//! Region layout, counter table, rules and the rate limit decision: the crate every other part of
//! Hivemind stands on. It knows none of them, does no I/O but the mapping (and, with
//! feature `yaml`, reading rule files), and has no async code.
//!
//! Where to begin: [`decision`] is what a request goes through; [`table`] is the algorithm under it;
//! [`region`] is the file both live in; [`rules`] is what is compared with.

#[cfg(feature = "yaml")]
pub mod bounded_file;
pub mod clock;
pub mod counting;
pub mod decision;
pub mod descriptor;
pub mod fingerprint;
#[cfg(feature = "listing")]
pub mod listing;
pub mod region;
pub mod rules;
pub mod sync;
pub mod table;
pub mod token_bucket;
pub mod window;
#[cfg(feature = "yaml")]
pub mod yaml;
