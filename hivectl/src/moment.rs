//! The time a region is looked at.

use std::str::FromStr;

use hivemind_shared::clock::unix_time_ms;
use hivemind_shared::region::RegionView;

/// As of when windows, ages and the fill are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Now.
    Now,
    /// When meshd last said it was alive: for a copy, about when it was made.
    Heartbeat,
    /// This Unix time in seconds.
    At(u64),
}

impl Moment {
    /// The moment as Unix time in milliseconds.
    pub(crate) fn unix_ms(self, region: &RegionView) -> u64 {
        match self {
            Self::Now => unix_time_ms(),
            // A region nobody has spoken up in yet is as old as its creation.
            Self::Heartbeat => region.heartbeat_unix_ms().max(region.created_unix_ms()),
            Self::At(unix_s) => unix_s.saturating_mul(1_000),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "heartbeat" => Ok(Self::Heartbeat),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| "write `now`, `heartbeat` or a Unix time in seconds".to_owned()),
        }
    }
}

/// The option of every command that looks at a region.
#[derive(Debug, clap::Args)]
pub(crate) struct MomentOption {
    /// Tell windows and ages as of then: `now`, `heartbeat` (for a copy, about when it was made) or a
    /// Unix time in seconds
    #[arg(long = "at", value_name = "TIME", default_value = "now")]
    pub(crate) moment: Moment,
}
