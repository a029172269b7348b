//! Development tasks, and the machinery they share with the end-to-end tests: building the
//! binaries, fetching Envoy, starting processes and looking after them.
//!
//! Everything here runs on loopback or in network namespaces of its own ([`lab`]), in directories of its
//! own, with ports the system picks.

#![forbid(unsafe_code)]

pub mod artifacts;
pub mod bench;
pub mod bootstrap;
pub mod demo;
pub mod envoy;
pub mod http;
pub mod interrupt;
pub mod lab;
pub mod load;
pub mod meshd;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod scratch;
pub mod simulate;
pub mod site;
pub mod soak;
pub mod table;
pub mod upstream;
pub mod wait;
pub mod window;
pub mod workspace;
