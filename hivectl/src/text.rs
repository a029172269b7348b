//! Numbers and times as people read them.

const DAY_S: u64 = 86_400;

/// Days in 400 years, after which the calendar repeats.
const CYCLE_DAYS: u64 = 146_097;

/// A Unix time in seconds as RFC 3339 in UTC: `2026-11-30T12:00:00Z`.
pub(crate) fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / DAY_S, unix_s % DAY_S);
    let mut year = 1970 + days / CYCLE_DAYS * 400;
    let mut day = days % CYCLE_DAYS;
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    for length in month_days(year) {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z",
        day = day + 1,
        hour = second / 3_600,
        minute = second / 60 % 60,
        second = second % 60,
    )
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_days(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_days(year: u64) -> [u64; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// A length of time, in the unit that suits it: `0.3 s`, `45 s`, `12 min`, `5 h`, `9 days`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..10 => format!("{seconds}.{tenth} s", tenth = ms % 1_000 / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / DAY_S),
    }
}

/// A short length of time in microseconds: `250 µs`, `1.3 ms`, `45 ms`, `1.3 s`, `45 s`.
pub(crate) fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us / 100 % 10),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => duration(us / 1_000),
    }
}

/// A number of bytes, rounded: `58.3 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64;
    let mut shown = "bytes";
    for unit in UNITS {
        if size < 1_024.0 {
            break;
        }
        size /= 1_024.0;
        shown = unit;
    }
    format!("{size:.1} {shown}")
}

/// How many of a thing: `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_800_000_000, "2027-01-15T08:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_800, "10000-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(unix_s), expected);
        }
    }

    #[test]
    fn any_number_is_a_time() {
        assert!(utc(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn lengths_of_time_and_sizes_are_short() {
        assert_eq!(duration(0), "0.0 s");
        assert_eq!(duration(4_999), "4.9 s");
        assert_eq!(duration(119_999), "119 s");
        assert_eq!(duration(7_199_000), "119 min");
        assert_eq!(duration(172_799_000), "47 h");
        assert_eq!(duration(u64::MAX), "213503982334 days");
        assert_eq!(latency(999), "999 µs");
        assert_eq!(latency(1_390), "1.3 ms");
        assert_eq!(latency(999_999), "999 ms");
        assert_eq!(latency(1_390_000), "1.3 s");
        assert_eq!(latency(u64::MAX), "213503982 days");
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(61_112_320), "58.3 MiB");
        assert_eq!(bytes(13 << 30), "13.0 GiB");
    }
}
