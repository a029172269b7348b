//! Units of time and the fixed windows they cut it into.

/// The unit of a limit, as the Rate Limit Service names it.
///
/// Months are 30 days and years 365 days long, and weeks begin on Thursday 00:00 UTC, because every
/// window is `unix_time / length`: that is what envoyproxy/ratelimit does, and what its users compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Unit {
    /// One second.
    Second = 1,
    /// 60 seconds.
    Minute = 2,
    /// 3,600 seconds.
    Hour = 3,
    /// 86,400 seconds.
    Day = 4,
    /// 604,800 seconds, from Thursday 00:00 UTC on.
    Week = 5,
    /// 30 days.
    Month = 6,
    /// 365 days.
    Year = 7,
}

impl Unit {
    /// Every unit, shortest first.
    pub const ALL: [Self; 7] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Year,
    ];

    /// Length of this unit's window in seconds.
    pub const fn seconds(self) -> u32 {
        // By number: a look-up, where a match would compile to jumps.
        const SECONDS: [u32; 8] = [1, 1, 60, 3_600, 86_400, 604_800, 2_592_000, 31_536_000];
        SECONDS[self as usize]
    }

    /// The unit with this code in a region or a compiled rule set (the enum's own number).
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Second),
            2 => Some(Self::Minute),
            3 => Some(Self::Hour),
            4 => Some(Self::Day),
            5 => Some(Self::Week),
            6 => Some(Self::Month),
            7 => Some(Self::Year),
            _ => None,
        }
    }

    /// The code [`Self::from_code`] reads.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The unit as rules write it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The unit of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|unit| unit.name().eq_ignore_ascii_case(name))
    }

    /// The window of this unit with this number.
    pub const fn window(self, number: u32) -> Window {
        let number = if number > Window::NUMBER_MAX {
            Window::NUMBER_MAX
        } else {
            number
        };
        Window { number, unit: self }
    }

    /// The window that `now_s` (Unix time in seconds) falls into.
    #[inline]
    pub fn window_at(self, now_s: u64) -> Window {
        // Saturates in the year 2106 for seconds; counts then stay in the last window.
        let number = u32::try_from(now_s / u64::from(self.seconds())).unwrap_or(u32::MAX);
        self.window(number)
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One fixed window: which unit, and the how-many-eth since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    number: u32,
    unit: Unit,
}

impl Window {
    /// The largest window number that fits a counter word; one below the mark of an ended slot.
    pub const NUMBER_MAX: u32 = u32::MAX - 1;

    /// Windows since the Unix epoch.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The unit whose windows these are.
    pub const fn unit(self) -> Unit {
        self.unit
    }

    /// Unix time in seconds at which the window begins.
    pub const fn start_s(self) -> u64 {
        self.number as u64 * self.unit.seconds() as u64
    }

    /// Seconds until the window ends, 1 to its length; as the reference's `duration_until_reset`.
    #[inline]
    pub fn seconds_left(self, now_s: u64) -> u32 {
        let length_s = u64::from(self.unit.seconds());
        let end_s = self.start_s() + length_s;
        // Between 1 and the length, also for a time just before the window; fits.
        u32::try_from(end_s.saturating_sub(now_s).clamp(1, length_s)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_the_epoch() {
        let now_s = 1_795_000_123;
        for unit in Unit::ALL {
            let window = unit.window_at(now_s);
            assert!(window.start_s() <= now_s);
            assert!(now_s < window.start_s() + u64::from(unit.seconds()));
            assert_eq!(
                window.start_s() + u64::from(unit.seconds()),
                now_s + u64::from(window.seconds_left(now_s))
            );
        }
    }

    #[test]
    fn weeks_begin_on_thursday() {
        // 1970-01-01 was a Thursday.
        assert_eq!(Unit::Week.window_at(604_799).number(), 0);
        assert_eq!(Unit::Week.window_at(604_800).number(), 1);
    }

    #[test]
    fn unit_names_and_codes_go_both_ways() {
        for unit in Unit::ALL {
            assert_eq!(Unit::from_code(unit.code()), Some(unit));
            assert_eq!(Unit::from_name(&unit.name().to_uppercase()), Some(unit));
        }
        assert_eq!(Unit::from_name("unknown"), None);
        assert_eq!(Unit::from_code(0), None);
    }

    #[test]
    fn a_clock_beyond_the_last_window_number_saturates() {
        assert_eq!(
            Unit::Second.window_at(u64::MAX).number(),
            Window::NUMBER_MAX
        );
    }
}
