//! Runs hundreds of meshes in one process, on a network that misbehaves by seed, and checks what they
//! promise.
//!
//! Everything that happens is an event at a virtual time, and everything random comes from the seed:
//! the same scenario with the same seed is the same run, datagram by datagram. So a failed check can be
//! replayed, and a hundred nodes over half a minute take seconds.
//!
//! * [`scenario::Scenario`] says what happens, as plain data; [`named`] has the ones with names, and
//!   [`draw`] makes one up from a seed.
//! * [`world::World`] lets it happen: [`host`]s with a region, the real decision and a mesh each, on a
//!   [`network`].
//! * [`truth`] notes every hit beside them, and [`checks`] compares.
//! * [`run::run`] does all of it and returns a [`report::Report`].

#![forbid(unsafe_code)]

pub mod aged;
pub mod aged_view;
pub mod bound;
pub mod checks;
pub mod clock;
pub mod draw;
pub mod failure;
pub mod fault;
pub mod histogram;
pub mod host;
pub mod keys;
pub mod named;
pub mod network;
pub mod pace;
pub mod payloads;
pub mod queue;
pub mod random;
pub mod report;
pub mod run;
pub mod scenario;
pub mod tally;
pub mod time;
pub mod trace;
pub mod traffic;
pub mod truth;
pub mod watched;
pub mod window_ledger;
pub mod workload;
pub mod world;
