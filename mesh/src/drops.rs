//! Why a datagram, or a part of one, was not used. Each cause is counted.

/// A cause, from the outside in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// Shorter than the smallest datagram there is, or not one of ours at all.
    Malformed,
    /// Of a version of the wire format that is not understood here.
    OtherVersion,
    /// Of another cluster: their `mesh.cluster` differs.
    OtherCluster,
    /// Sealed with a key that is not in the ring: the sender has an old key, a wrong one, or none.
    UnknownKey,
    /// The seal does not fit: forged, damaged, or sealed with another key of the same name.
    Unauthentic,
    /// Seen before, too old to tell, or of an earlier run of its sender.
    Replayed,
    /// The run of its sender begins more than a day after now: a clock is wrong, or somebody wants to silence a
    /// host.
    IncarnationAhead,
    /// Sent by this very process: a bootstrap name leads back here.
    FromSelf,
    /// Opened, but what is inside makes no sense: a faulty or hostile member.
    BadContent,
    /// Opened, and more of its kind than is taken in at a time, or to be answered where no member is known.
    Throttled,
    /// Counts by a period that no rule here has, and no request can bring.
    UnknownPeriod,
    /// Counts of windows that have passed here, or are not near yet: the clocks differ.
    OutsideWindows,
    /// Counts of new keys beyond what this host has room for.
    NoRoom,
    /// Counts of more actors than this host keeps apart.
    TooManyActors,
    /// The datagram could not be sent: the system refused it.
    Unsent,
}

impl DropCause {
    /// Every cause.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::OtherVersion,
        Self::OtherCluster,
        Self::UnknownKey,
        Self::Unauthentic,
        Self::Replayed,
        Self::IncarnationAhead,
        Self::FromSelf,
        Self::BadContent,
        Self::Throttled,
        Self::UnknownPeriod,
        Self::OutsideWindows,
        Self::NoRoom,
        Self::TooManyActors,
        Self::Unsent,
    ];

    /// The cause in one word, for metrics and people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OtherVersion => "other_version",
            Self::OtherCluster => "other_cluster",
            Self::UnknownKey => "unknown_key",
            Self::Unauthentic => "unauthentic",
            Self::Replayed => "replayed",
            Self::IncarnationAhead => "incarnation_ahead",
            Self::FromSelf => "from_self",
            Self::BadContent => "bad_content",
            Self::Throttled => "throttled",
            Self::UnknownPeriod => "unknown_period",
            Self::OutsideWindows => "outside_windows",
            Self::NoRoom => "no_room",
            Self::TooManyActors => "too_many_actors",
            Self::Unsent => "unsent",
        }
    }
}

/// How often each cause was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropCause::ALL.len()]);

impl Drops {
    /// Counts one more.
    pub fn add(&mut self, cause: DropCause) {
        self.add_many(cause, 1);
    }

    /// Counts several more.
    pub fn add_many(&mut self, cause: DropCause, count: u64) {
        let sum = &mut self.0[cause as usize];
        *sum = sum.saturating_add(count);
    }

    /// How often this one was met.
    pub fn of(&self, cause: DropCause) -> u64 {
        self.0[cause as usize]
    }

    /// Every cause with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropCause, u64)> {
        DropCause::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_place_and_a_name_of_its_own() {
        let mut drops = Drops::default();
        for (times, cause) in DropCause::ALL.into_iter().enumerate() {
            drops.add_many(cause, times as u64);
        }
        let counted: Vec<_> = drops.iter().map(|(_, count)| count).collect();
        assert_eq!(
            counted,
            (0..DropCause::ALL.len() as u64).collect::<Vec<_>>()
        );
        let names: std::collections::BTreeSet<_> =
            DropCause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), DropCause::ALL.len());
    }
}
