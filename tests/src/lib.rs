//! What the end-to-end tests share.
//!
//! Each test has a host of its own: a directory, a region, a meshd, an upstream and its Envoys, all
//! on loopback and on ports the system picks; or several hosts, in network namespaces ([`cluster`]). So
//! tests run side by side and leave nothing behind.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod conformance;
pub mod flood;
pub mod harness;
