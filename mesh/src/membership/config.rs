//! How patient the membership protocol is, and how much it says.
//!
//! | | LAN | WAN |
//! |---|---|---|
//! | each node asks one member "are you there?" every | 500 ms | 2 s |
//! | asks three others to ask it as well after | 200 ms | 1 s |
//! | declares a suspect down after, up to 8 members | 2 s | 12 s |
//! | the same, 65 to 128 members | 4.2 s | 25 s |
//! | news goes to three (four) members every | 200 ms | 500 ms |
//! | asks one (two) members for all they know every | 10 s | 30 s |
//! | knocks at three members thought down every | 5 s | 15 s |
//!
//! News is rare; without any, no gossip is sent.

use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use foca::Config;

use crate::settings::Preset;

/// The largest payload sent or taken in, bytes. It leaves room in a datagram of 1,200 bytes for
/// whatever is around it.
pub const PAYLOAD_BYTES_MAX: usize = 1_100;

/// How often each node passes a piece of news on at least. With a third of all datagrams lost, 12 leave
/// one node in four thousand without it; foca's own 5 for a cluster of 20 leave one in thirty, and each
/// may be a node that goes on suspecting a member that has objected.
const TRANSMISSIONS_MIN: NonZeroU8 = NonZeroU8::MIN.saturating_add(11);

/// What the wrapper does in intervals, beside the protocol's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intervals {
    /// How often members thought down are knocked at, microseconds.
    pub(super) knock_us: u64,
    /// How often it is looked who is down long enough to be forgotten, microseconds.
    pub(super) forget_us: u64,
}

impl Intervals {
    pub(super) const fn of(preset: Preset) -> Self {
        Self {
            knock_us: match preset {
                Preset::Lan => 5_000_000,
                Preset::Wan => 15_000_000,
            },
            forget_us: 60_000_000,
        }
    }
}

/// The protocol's settings for a cluster of about this many members, this one included.
///
/// The intervals of a preset never change, so that the protocol takes over the settings for another
/// size while it runs.
pub(super) fn config(preset: Preset, members: NonZeroU32) -> Config {
    let base = match preset {
        Preset::Lan => Config::new_lan(members),
        Preset::Wan => Config::new_wan(members),
    };
    // Half as patient as the crate's own LAN values, and two fifths of its WAN values: a member that is
    // thought there and is not costs retransmissions and loosens the overshoot bound, and one that is
    // declared down wrongly comes back within a round trip.
    let (probe_period_ms, probe_rtt_ms, patience, announce_s) = match preset {
        Preset::Lan => (500, 200, 0.5, 10),
        Preset::Wan => (2_000, 1_000, 0.4, 30),
    };
    Config {
        probe_period: Duration::from_millis(probe_period_ms),
        probe_rtt: Duration::from_millis(probe_rtt_ms),
        suspect_to_down_after: base.suspect_to_down_after.mul_f64(patience),
        max_transmissions: base.max_transmissions.max(TRANSMISSIONS_MIN),
        max_packet_size: NonZeroUsize::new(PAYLOAD_BYTES_MAX).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        periodic_announce: base.periodic_announce.map(|params| foca::PeriodicParams {
            frequency: Duration::from_secs(announce_s),
            ..params
        }),
        // Done by the wrapper: foca stops when the last member is down, so that the two halves of a
        // cluster of two would never find each other again.
        periodic_announce_to_down_members: None,
        // Done by the wrapper: foca would remember each change for a day, however many there are.
        remove_down_after: None,
        ..base
    }
}

/// The settings to leave with: the news must not be used up before it is out to `messages` members.
pub(super) fn leaving(config: Config, messages: NonZeroU8) -> Config {
    Config {
        max_transmissions: messages.max(config.max_transmissions),
        ..config
    }
}

/// The cluster size the settings are made for: the next power of two, so that they do not change with
/// every single member.
pub(super) fn rounded_size(members: usize) -> NonZeroU32 {
    u32::try_from(members)
        .ok()
        .and_then(u32::checked_next_power_of_two)
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(members: usize) -> NonZeroU32 {
        rounded_size(members)
    }

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!([0, 1, 3, 100].map(|n| size(n).get()), [1, 1, 4, 128]);
    }

    #[test]
    fn patience_and_repetition_grow_with_the_cluster_and_intervals_do_not() {
        for preset in [Preset::Lan, Preset::Wan] {
            let [small, large] = [2, 1_000].map(|members| config(preset, size(members)));
            assert!(large.suspect_to_down_after > small.suspect_to_down_after);
            assert!(large.max_transmissions >= small.max_transmissions);
            assert_eq!(large.probe_period, small.probe_period);
            assert_eq!(large.probe_rtt, small.probe_rtt);
            assert!(small.probe_rtt * 2 <= small.probe_period);
        }
    }
}
