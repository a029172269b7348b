//! The protocol by which Hivemind daemons share their counts.
//!
//! Nothing in here opens a socket, reads a clock or draws a random number: the daemon hands in
//! datagrams, the time and a seed, and takes out datagrams. The simulator does the same with hundreds
//! of meshes at once, so what it finds is true of the daemon.
//!
//! * [`node::Mesh`] is the whole of it: give it datagrams and ticks.
//! * [`seal`] opens and closes datagrams: who may talk to whom.
//! * [`wire`] is what is in them, byte by byte.
//! * [`membership`] knows who is there.
//! * [`counters`] is the way to the region.
//! * [`settings`], [`status`]: what goes in from the operator, and what comes out for them.

#![forbid(unsafe_code)]

pub mod book;
mod budget;
pub mod counters;
pub mod drops;
mod flights;
mod join;
mod link;
pub mod membership;
mod names;
pub mod node;
pub mod outbox;
mod overshoot;
mod probe;
pub mod refusals;
pub mod region;
pub mod seal;
pub mod settings;
pub mod status;
pub mod time;
mod traffic;
pub mod urgency;
pub mod wire;
