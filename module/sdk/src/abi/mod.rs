//! The C interface between Envoy and a module: the types both sides agree on, and the functions
//! Envoy exports. The functions a module exports are in this crate's hooks.

pub(crate) mod callbacks;
mod types;

pub use types::*;
