//! Promises that were not kept, in words.

use std::fmt;
use std::ops::RangeInclusive;

use crate::bound::Overshoot;
use crate::time::{MILLISECOND_US, SECOND_US};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Counts are not what they should be once everything is quiet.
    Counts {
        /// The first few.
        first: Vec<Difference>,
        /// How many there are.
        count: usize,
    },
    /// Counts did not agree in time.
    Slow {
        /// The time there was, microseconds.
        within_us: u64,
    },
    /// More passed than the formula allows.
    Overshoot {
        /// The key and its window.
        place: String,
        /// By how much.
        overshoot: Overshoot,
    },
    /// Requests were refused although all nodes together were within the limit.
    Early {
        /// The key and its window.
        place: String,
        /// Hits that were refused.
        hits: u64,
    },
    /// A hit took longer to the other nodes than it may.
    Stale {
        /// The longest, microseconds.
        longest_us: u64,
        /// What is allowed, microseconds.
        allowed_us: u64,
    },
    /// A node sent more than it may.
    Traffic {
        /// Which.
        node: usize,
        /// In which second since the beginning.
        second: usize,
        /// Bytes it sent.
        sent_bytes: u64,
        /// Bytes it may send.
        allowed_bytes: u64,
    },
    /// A datagram was larger than it may be.
    Large {
        /// Its bytes.
        bytes: usize,
        /// Bytes it may have.
        allowed_bytes: usize,
    },
    /// Datagrams went to addresses that are no node's.
    Nowhere {
        /// How many.
        datagrams: u64,
    },
    /// Requests found no room in their region, which has room for all keys.
    Uncounted {
        /// How many.
        requests: u64,
    },
    /// A mesh keeps track of more than it may, or of what nobody counted.
    Memory {
        /// Whose.
        node: usize,
        /// Of what.
        what: &'static str,
        /// How many it has.
        has: usize,
        /// How many it may have.
        allowed: usize,
    },
    /// A mesh dropped something although nobody sends anything wrong.
    Dropped {
        /// Whose.
        node: usize,
        /// Why it says it did.
        cause: String,
        /// How often.
        count: u64,
    },
    /// Something panicked.
    Panic {
        /// What it said.
        message: String,
    },
}

/// A count that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub node: usize,
    /// Whose key.
    pub key: String,
    /// In which window.
    pub window: u32,
    /// Which count: `local`, or `total` with what peers counted.
    pub what: &'static str,
    /// What it is.
    pub has: u64,
    /// What it should be.
    pub should: RangeInclusive<u64>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            key,
            window,
            what,
            has,
            should,
        } = self;
        write!(f, "node {node}, {key}, window {window}: {what} {has}")?;
        match (should.start(), should.end()) {
            (least, most) if least == most => write!(f, ", should be {least}"),
            (least, most) => write!(f, ", should be {least} to {most}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / MILLISECOND_US as f64;
        match self {
            Self::Counts { first, count } => {
                write!(f, "{count} counts are wrong:")?;
                for difference in first {
                    write!(f, "\n  {difference}")?;
                }
                if *count > first.len() {
                    write!(f, "\n  and {} more", count - first.len())?;
                }
                Ok(())
            }
            Self::Slow { within_us } => {
                let s = within_us / SECOND_US;
                write!(f, "counts did not agree within {s} s of quiet")
            }
            Self::Overshoot { place, overshoot } => write!(
                f,
                "{place}: {} passed of {}, that is {} beyond; with a staleness of {:.1} ms it may be {}",
                overshoot.passed,
                overshoot.limit,
                overshoot.beyond(),
                ms(overshoot.staleness_us),
                overshoot.bound
            ),
            Self::Early { place, hits } => write!(
                f,
                "{place}: {hits} hits were refused although the limit was not used up"
            ),
            Self::Stale {
                longest_us,
                allowed_us,
            } => write!(
                f,
                "a hit took {:.1} ms to become visible elsewhere, with nothing in its way; \
                 {:.1} ms are allowed",
                ms(*longest_us),
                ms(*allowed_us)
            ),
            Self::Traffic {
                node,
                second,
                sent_bytes,
                allowed_bytes,
            } => write!(
                f,
                "node {node} sent {sent_bytes} bytes in second {second}, {allowed_bytes} are allowed"
            ),
            Self::Large {
                bytes,
                allowed_bytes,
            } => write!(
                f,
                "a datagram had {bytes} bytes, {allowed_bytes} are allowed"
            ),
            Self::Nowhere { datagrams } => {
                write!(f, "{datagrams} datagrams went to addresses of nobody")
            }
            Self::Uncounted { requests } => {
                write!(f, "{requests} requests found no room in their region")
            }
            Self::Memory {
                node,
                what,
                has,
                allowed,
            } => write!(f, "node {node} keeps {has} {what}, {allowed} are allowed"),
            Self::Dropped { node, cause, count } => {
                write!(f, "node {node} dropped {count} times for `{cause}`")
            }
            Self::Panic { message } => write!(f, "panic: {message}"),
        }
    }
}
