//! The change from a running meshd to the next one, without a refused connection or a lost count.
//!
//! The running one, the *owner*, keeps a [`door`] open beside its region. A *newcomer* that finds the
//! region owned, and whose configuration and rules are good, knocks there ([`predecessor`] is its half of
//! the conversation, [`successor`] that of the owner):
//!
//! | newcomer | owner |
//! |---|---|
//! | `Ask`: is anybody there who hands over? | |
//! | | `Offer`: handles on its sockets and on the region's lock ([`belongings`]) |
//! | opens what it wants and was not offered; a port that is taken ends it here | serves |
//! | `Take`: everything is at hand | |
//! | | rests: no heartbeat, no rules, no mesh; calls go on. `Yours` |
//! | takes the region, starts all its parts, accepts connections | accepts connections too |
//! | `Ready` | |
//! | | stops accepting, says GOAWAY, ends when calls in flight have finished |
//!
//! Sockets change hands as file descriptors, not by `SO_REUSEPORT`: with that each process has a queue of
//! its own, and whoever waits in the old one's when it closes is reset. So there is one queue all the time,
//! and one lock that is never free.
//!
//! Until `Yours` the owner has given up nothing, and after it only the newcomer's end brings it back: the
//! conversation closes with the process, and the owner goes on where it was. Counts are in the region,
//! which both count in, so that they are exact whoever answers.

pub mod belongings;
pub mod door;
mod message;
pub mod predecessor;
pub mod succession;
pub mod successor;

pub use self::message::Estate;
