//! What a slot says about its key's use: who asked last, how much of the limit was used up, and when.
//! No decision depends on it. It says which key is lost with the least harm when there is no slot left.

use super::words;

/// Statistics index of hits that no rule's statistics are for.
pub const NO_RULE: u32 = u32::MAX;

/// Who keeps a key in the table: a rule, a per-request override, or peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u32);

impl Source {
    const BITS: u32 = 13;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// A per-request override.
    pub const REQUEST: Self = Self(NO_RULE & Self::MASK);

    /// Peers, who counted hits of it; nobody has asked for it here.
    pub const PEERS: Self = Self(Self::REQUEST.0 - 1);

    /// The rule with this statistics index; with [`NO_RULE`] a request.
    #[inline]
    pub const fn of_hits(stats_index: u32) -> Self {
        Self(stats_index & Self::MASK)
    }

    /// The statistics index, or [`NO_RULE`].
    pub const fn stats_index(self) -> u32 {
        if self.is_rule() { self.0 } else { NO_RULE }
    }

    /// Whether it is a rule.
    pub const fn is_rule(self) -> bool {
        self.0 < Self::PEERS.0
    }
}

/// How much of its limit a key has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    const BITS: u32 = 3;

    /// Nothing, as far as is known.
    pub const NONE: Self = Self(0);

    /// So many hits of so many that are allowed, by quarters; all of them, and more than those, are shares of
    /// their own.
    #[inline]
    pub fn of(used: u64, allowed: u32) -> Self {
        let allowed = u64::from(allowed);
        if used > allowed {
            return Self(5);
        }
        Self(words::low_half(used.saturating_mul(4) / allowed.max(1)))
    }
}

/// What the usage word of a slot says: source (13 bits), when in its first second the key got the slot (10),
/// whether the window before the present one counts for its limit (1), share (3), and the time of the last hit in
/// Unix seconds (low 32 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who keeps the key.
    pub source: Source,
    /// Milliseconds of the second in which the key got its slot; [`Self::LASTED`] if it was asked for in a later
    /// one. Tells keys apart that came within a second.
    pub since_ms: u32,
    /// Whether hits of the window before may still refuse some in this one.
    pub spans_windows: bool,
    /// How much of the limit was used up at that time.
    pub share: Share,
    /// When hits were counted last, Unix seconds modulo 2^32.
    pub last_use_s: u32,
}

impl Usage {
    const SHARE_SHIFT: u32 = 32;
    const SPANS_SHIFT: u32 = Self::SHARE_SHIFT + Share::BITS;
    const SINCE_SHIFT: u32 = Self::SPANS_SHIFT + 1;
    const SINCE_BITS: u32 = 10;
    const SINCE_MASK: u64 = ((1 << Self::SINCE_BITS) - 1) << Self::SINCE_SHIFT;
    const SOURCE_SHIFT: u32 = u64::BITS - Source::BITS;

    /// More than any milliseconds of a second.
    pub const LASTED: u32 = (1 << Self::SINCE_BITS) - 1;

    /// Nothing used yet by this source, at a time in Unix milliseconds.
    pub fn begin(source: Source, now_ms: u64) -> Self {
        Self {
            source,
            since_ms: words::low_half(now_ms % 1_000),
            spans_windows: false,
            share: Share::NONE,
            last_use_s: words::low_half(now_ms / 1_000),
        }
    }

    /// Whether a usage word says the same but for when the key got its slot.
    #[inline]
    pub const fn is_noted_in(self, word: u64) -> bool {
        (word ^ self.word()) & !Self::SINCE_MASK == 0
    }

    /// What is known of it when a usage word says what was known before.
    pub const fn after(self, word: u64) -> Self {
        let before = Self::from_word(word);
        let is_first_second = before.last_use_s == self.last_use_s;
        Self {
            since_ms: if is_first_second {
                before.since_ms
            } else {
                Self::LASTED
            },
            ..self
        }
    }

    /// Reads a usage word; every bit pattern is one.
    pub const fn from_word(word: u64) -> Self {
        Self {
            source: Source(words::low_half(word >> Self::SOURCE_SHIFT)),
            since_ms: words::low_half((word & Self::SINCE_MASK) >> Self::SINCE_SHIFT),
            spans_windows: (word >> Self::SPANS_SHIFT) & 1 == 1,
            share: Share(words::low_half(word >> Self::SHARE_SHIFT) & ((1 << Share::BITS) - 1)),
            last_use_s: words::low_half(word),
        }
    }

    /// The word to store.
    #[inline]
    pub const fn word(self) -> u64 {
        ((self.source.0 as u64) << Self::SOURCE_SHIFT)
            | (((self.since_ms & Self::LASTED) as u64) << Self::SINCE_SHIFT)
            | ((self.spans_windows as u64) << Self::SPANS_SHIFT)
            | ((self.share.0 as u64) << Self::SHARE_SHIFT)
            | self.last_use_s as u64
    }

    /// How much is lost with the key: the smaller, the sooner it gives its slot up. Limits of requests come
    /// first, then what only peers have asked for, then keys of rules by the share of the limit that they have
    /// used; among equals the one that nobody asked for the longest, and of those that came within one second
    /// the first.
    ///
    /// `counts_now`: whether the key counts in the present window. If not, a limit that counts in single
    /// windows has nothing to lose.
    pub fn worth(self, now_s: u64, counts_now: bool) -> Worth {
        let share = if counts_now || self.spans_windows {
            self.share
        } else {
            Share::NONE
        };
        let class = match self.source {
            Source::REQUEST => 0,
            Source::PEERS => 1,
            _ => 2 + share.0,
        };
        let now = words::low_half(now_s);
        // A time in the future was noted before the clock was set back.
        let idle_s = now.saturating_sub(self.last_use_s);
        Worth((class, u32::MAX - idle_s, self.since_ms))
    }
}

/// The worth of keeping a key; see [`Usage::worth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth((u32, u32, u32));

impl Worth {
    /// Whether a key of this source may take the slot of one that is worth this much. What peers counted is
    /// known to the daemon, and is put there again when somebody asks for the key: it takes nothing from what
    /// was asked for here.
    pub fn yields_to(self, source: Source) -> bool {
        source != Source::PEERS || self.0.0 <= 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn usage(source: Source, share: Share, idle_s: u64) -> Usage {
        Usage {
            share,
            ..Usage::begin(source, (NOW_S - idle_s) * 1_000 + 5)
        }
    }

    #[test]
    fn keys_are_given_up_by_source_then_share_then_idle_time() {
        let rule = |used, idle_s| usage(Source::of_hits(7), Share::of(used, 100), idle_s);
        let order = [
            usage(Source::REQUEST, Share::of(101, 100), 0),
            usage(Source::PEERS, Share::NONE, 9),
            usage(Source::PEERS, Share::NONE, 0),
            rule(24, 9),
            rule(1, 3),
            rule(24, 0),
            rule(25, 9),
            rule(74, 9),
            rule(99, 9),
            rule(100, 9),
            rule(101, 9),
            rule(1_000, 8),
        ];
        let worth = order.map(|usage| usage.worth(NOW_S, true));
        assert!(worth.is_sorted_by(|a, b| a < b), "{worth:?}");
    }

    #[test]
    fn a_window_that_is_over_counts_only_for_limits_that_look_back() {
        let over = usage(Source::of_hits(7), Share::of(101, 100), 0);
        let spans = Usage {
            spans_windows: true,
            ..over
        };
        let unused = usage(Source::of_hits(7), Share::NONE, 0);
        assert_eq!(over.worth(NOW_S, false), unused.worth(NOW_S, true));
        assert_eq!(spans.worth(NOW_S, false), over.worth(NOW_S, true));
    }

    #[test]
    fn keys_of_one_second_are_given_up_as_they_came_and_those_of_an_earlier_one_last() {
        let at = |milliseconds| Usage::begin(Source::of_hits(7), NOW_S * 1_000 + milliseconds);
        let hit = Usage {
            since_ms: 0,
            ..at(0)
        };
        let next_s = Usage {
            last_use_s: hit.last_use_s + 1,
            ..hit
        };
        assert!(hit.is_noted_in(at(3).word()) && !next_s.is_noted_in(at(3).word()));
        assert_eq!(hit.after(at(3).word()), at(3));
        let lasted = next_s.after(at(3).word());
        assert_eq!(lasted.after(lasted.word()), lasted);
        let order = [at(3), at(999), lasted].map(|usage| usage.worth(NOW_S + 1, true));
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    }

    #[test]
    fn a_limit_of_nothing_is_used_up_by_nothing_and_exceeded_by_one_hit() {
        assert_eq!(Share::of(0, 0), Share::NONE);
        assert_eq!(Share::of(1, 0), Share::of(u64::MAX, u32::MAX));
    }

    #[test]
    fn what_peers_counted_takes_no_slot_of_a_key_that_was_asked_for_here() {
        let may_take = |source| {
            usage(source, Share::NONE, 9)
                .worth(NOW_S, true)
                .yields_to(Source::PEERS)
        };
        assert!(may_take(Source::REQUEST) && may_take(Source::PEERS));
        assert!(!may_take(Source::of_hits(0)));
    }

    proptest! {
        #[test]
        fn a_usage_survives_packing(index in 0_u32..4_096, since_ms in 0..=Usage::LASTED, spans_windows: bool, used: u64, allowed: u32, last_use_s: u32) {
            for source in [Source::REQUEST, Source::PEERS, Source::of_hits(index)] {
                let usage = Usage { source, since_ms, spans_windows, share: Share::of(used, allowed), last_use_s };
                prop_assert_eq!(Usage::from_word(usage.word()), usage);
            }
            prop_assert_eq!(Source::of_hits(index).stats_index(), index);
            prop_assert_eq!(Source::PEERS.stats_index(), NO_RULE);
            prop_assert_eq!(Source::of_hits(NO_RULE), Source::REQUEST);
        }

        #[test]
        fn any_word_reads_as_a_usage(word: u64) {
            let usage = Usage::from_word(word);
            prop_assert_eq!(Usage::from_word(usage.word()), usage);
        }
    }
}
