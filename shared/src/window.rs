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
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How long the windows of a limit are: so many units.
///
/// Like the windows of the units themselves they are aligned to the Unix epoch, so that everybody who
/// counts agrees where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    unit: Unit,
    multiplier: u16,
}

/// Why a number of units is no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// No units at all.
    #[error("a window of 0 units has no length")]
    Zero,
    /// More units than a window may have.
    #[error("a window has at most {most} of this unit, not {found}", most = Period::multiplier_max(*.unit))]
    TooLong {
        /// The unit.
        unit: Unit,
        /// How many of it were asked for.
        found: u32,
    },
}

impl Period {
    /// The longest window, in seconds: ten years of 365 days.
    pub const LENGTH_S_MAX: u32 = 10 * 31_536_000;

    /// Bits that [`Self::code`] takes at most.
    pub const CODE_BITS: u32 = 19;

    /// The most of a unit that one window may have: as many as fit [`Self::LENGTH_S_MAX`], 65,535 at
    /// most.
    #[inline]
    pub const fn multiplier_max(unit: Unit) -> u32 {
        // By number, worked out beforehand: slots of other keys are judged by it.
        const MOST: [u32; 8] = {
            let mut most = [0; 8];
            let mut at = 0;
            while at < Unit::ALL.len() {
                let unit = Unit::ALL[at];
                let fit = Period::LENGTH_S_MAX / unit.seconds();
                let bound = u16::MAX as u32;
                most[unit as usize] = if fit > bound { bound } else { fit };
                at += 1;
            }
            most
        };
        MOST[unit as usize]
    }

    /// So many units.
    ///
    /// # Errors
    /// [`PeriodError`] for none, or for more than [`Self::multiplier_max`].
    #[inline]
    pub fn new(unit: Unit, multiplier: u32) -> Result<Self, PeriodError> {
        if multiplier == 0 {
            return Err(PeriodError::Zero);
        }
        match u16::try_from(multiplier) {
            Ok(fits) if multiplier <= Self::multiplier_max(unit) => Ok(Self {
                unit,
                multiplier: fits,
            }),
            _ => Err(PeriodError::TooLong {
                unit,
                found: multiplier,
            }),
        }
    }

    /// The period of so many seconds, in the largest unit that has a whole number in it. Seconds that no unit
    /// can count are rounded up. `None` for 0, and for more than [`Self::LENGTH_S_MAX`].
    pub fn of_seconds(seconds: u64) -> Option<Self> {
        let seconds = u32::try_from(seconds).ok()?;
        let exact = |unit: Unit| {
            let is_whole = seconds.is_multiple_of(unit.seconds());
            is_whole.then(|| Self::new(unit, seconds / unit.seconds()).ok())?
        };
        let rounded = |unit: Unit| Self::new(unit, seconds.div_ceil(unit.seconds())).ok();
        let largest_first = Unit::ALL.into_iter().rev();
        let exact = largest_first.filter_map(exact).next();
        exact.or_else(|| Unit::ALL.into_iter().find_map(rounded))
    }

    /// The unit.
    pub const fn unit(self) -> Unit {
        self.unit
    }

    /// How many of it, 1 or more.
    pub const fn multiplier(self) -> u32 {
        self.multiplier as u32
    }

    /// Length of a window in seconds.
    #[inline]
    pub const fn seconds(self) -> u32 {
        self.unit.seconds() * self.multiplier as u32
    }

    /// Length of a window in milliseconds.
    #[inline]
    pub const fn milliseconds(self) -> u64 {
        self.seconds() as u64 * 1_000
    }

    /// The number that stands for this period in a region and between daemons: the unit's code, and
    /// above its three bits the multiplier less one. A single unit has the unit's own code.
    #[inline]
    pub const fn code(self) -> u32 {
        self.unit.code() as u32 | (self.multiplier as u32 - 1) << 3
    }

    /// The period of a code; `None` for a number that is no period's.
    #[inline]
    pub fn from_code(code: u32) -> Option<Self> {
        let unit = Unit::from_code(u8::try_from(code & 7).ok()?)?;
        Self::new(unit, (code >> 3) + 1).ok()
    }

    /// The window with this number.
    pub const fn window(self, number: u32) -> Window {
        let number = if number > Window::NUMBER_MAX {
            Window::NUMBER_MAX
        } else {
            number
        };
        Window {
            number,
            period: self,
        }
    }

    /// The window that `now_s` (Unix time in seconds) falls into.
    #[inline]
    pub fn window_at(self, now_s: u64) -> Window {
        // Saturates in the year 2106 for seconds; counts then stay in the last window.
        let number = u32::try_from(now_s / u64::from(self.seconds())).unwrap_or(u32::MAX);
        self.window(number)
    }
}

impl From<Unit> for Period {
    fn from(unit: Unit) -> Self {
        Self {
            unit,
            multiplier: 1,
        }
    }
}

impl std::fmt::Display for Period {
    /// `minute`, `5 minutes`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.multiplier {
            1 => self.unit.fmt(f),
            many => write!(f, "{many} {}s", self.unit),
        }
    }
}

/// One fixed window: of which period, and the how-many-eth since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    number: u32,
    period: Period,
}

impl Window {
    /// The largest window number that fits a counter word; one below the mark of an ended slot.
    pub const NUMBER_MAX: u32 = u32::MAX - 1;

    /// Windows since the Unix epoch.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// How long it is.
    pub const fn period(self) -> Period {
        self.period
    }

    /// Unix time in seconds at which the window begins.
    pub const fn start_s(self) -> u64 {
        self.number as u64 * self.period.seconds() as u64
    }

    /// Seconds until the window ends, 1 to its length; as the reference's `duration_until_reset`.
    #[inline]
    pub fn seconds_left(self, now_s: u64) -> u32 {
        let length_s = u64::from(self.period.seconds());
        let end_s = self.start_s() + length_s;
        // Between 1 and the length, also for a time just before the window; fits.
        u32::try_from(end_s.saturating_sub(now_s).clamp(1, length_s)).unwrap_or(u32::MAX)
    }

    /// Milliseconds until the window ends, 0 to its length.
    #[inline]
    pub fn milliseconds_left(self, now_ms: u64) -> u64 {
        let length_ms = self.period.milliseconds();
        let end_ms = self.start_s() * 1_000 + length_ms;
        end_ms.saturating_sub(now_ms).min(length_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_the_epoch() {
        let now_s = 1_795_000_123;
        for unit in Unit::ALL {
            let window = Period::from(unit).window_at(now_s);
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
        assert_eq!(Period::from(Unit::Week).window_at(604_799).number(), 0);
        assert_eq!(Period::from(Unit::Week).window_at(604_800).number(), 1);
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
            Period::from(Unit::Second).window_at(u64::MAX).number(),
            Window::NUMBER_MAX
        );
    }

    #[test]
    fn a_period_is_so_many_units_long() {
        let five_minutes = Period::new(Unit::Minute, 5).unwrap();
        assert_eq!(five_minutes.seconds(), 300);
        assert_eq!(five_minutes.window_at(599).number(), 1);
        assert_eq!(five_minutes.window_at(599).seconds_left(599), 1);
        assert_eq!(five_minutes.window(1).milliseconds_left(598_500), 1_500);
        // A clock that was set back, to before the window: no more is left than the whole of it.
        assert_eq!(five_minutes.window(1).milliseconds_left(299_999), 300_000);
        assert_eq!(five_minutes.window(1).seconds_left(298), 300);
        assert_eq!(five_minutes.to_string(), "5 minutes");
        assert_eq!(Period::from(Unit::Day).to_string(), "day");
    }

    #[test]
    fn a_period_has_at_least_one_unit_and_at_most_ten_years() {
        for unit in Unit::ALL {
            let most = Period::multiplier_max(unit);
            assert!(Period::new(unit, most).unwrap().seconds() <= Period::LENGTH_S_MAX);
            assert_eq!(Period::new(unit, 0), Err(PeriodError::Zero));
            let found = most + 1;
            assert_eq!(
                Period::new(unit, found),
                Err(PeriodError::TooLong { unit, found })
            );
        }
    }

    #[test]
    fn so_many_seconds_are_a_period_of_their_largest_unit() {
        for (seconds, unit, multiplier) in [
            (1, Unit::Second, 1),
            (90, Unit::Second, 90),
            (120, Unit::Minute, 2),
            (86_400, Unit::Day, 1),
            (90_000, Unit::Hour, 25),
            (31_536_000, Unit::Year, 1),
            (u64::from(Period::LENGTH_S_MAX), Unit::Year, 10),
            // Too many seconds to be counted one by one.
            (65_537, Unit::Minute, 1_093),
            (u64::from(Period::LENGTH_S_MAX) - 1, Unit::Day, 3_650),
        ] {
            let period = Period::new(unit, multiplier).unwrap();
            assert_eq!(Period::of_seconds(seconds), Some(period), "{seconds}");
        }
        for seconds in [0, u64::from(Period::LENGTH_S_MAX) + 1, u64::MAX] {
            assert_eq!(Period::of_seconds(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn period_codes_go_both_ways_and_fit_their_bits() {
        for unit in Unit::ALL {
            for multiplier in [1, 2, Period::multiplier_max(unit)] {
                let period = Period::new(unit, multiplier).unwrap();
                assert_eq!(Period::from_code(period.code()), Some(period));
                assert!(period.code() < 1 << Period::CODE_BITS);
            }
            assert_eq!(Period::from(unit).code(), u32::from(unit.code()));
        }
        assert_eq!(Period::from_code(0), None);
        assert_eq!(Period::from_code(u32::MAX), None);
    }
}
