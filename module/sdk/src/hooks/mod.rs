//! The event hooks: functions Envoy looks up by name in the shared object and calls.
//!
//! Each one makes Rust values of what C hands in, calls the module's code behind
//! [`guard`](crate::guard::guard), and has an answer ready for the case that it panics.

mod cell;
mod config;
mod filter;
mod route;
mod unused;

#[cfg(test)]
mod tests;

pub(crate) use route::RouteConfig;
