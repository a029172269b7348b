//! Whole numbers in the JSON form of protobuf: as a number or as a text, with a fraction of zeros or an
//! exponent where the writer likes them, and read exactly, unlike through floating point.

use std::borrow::Cow;

use hivemind_shared::yaml::printable;
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::value::RawValue;

/// More decimal digits than any of the types has.
const DIGITS_MAX: usize = 20;

/// A type of whole numbers.
pub(super) trait Whole: TryFrom<i128> {
    /// What it holds, for messages.
    const RANGE: &'static str;
}

impl Whole for u32 {
    const RANGE: &'static str = "0 to 4294967295";
}

impl Whole for u64 {
    const RANGE: &'static str = "0 to 18446744073709551615";
}

impl Whole for i32 {
    const RANGE: &'static str = "-2147483648 to 2147483647";
}

/// A number of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number<T>(pub(super) T);

/// What was found in place of a number.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number from {range}, not {found}")]
pub(super) struct NoNumber {
    range: &'static str,
    found: String,
}

impl<T: Whole> Number<T> {
    /// Reads a JSON value.
    pub(super) fn of(json: &str) -> Result<Self, NoNumber> {
        // The text of a string, or of whatever else it is.
        let text = serde_json::from_str(json).unwrap_or(Cow::Borrowed(json));
        let number = decimal(&text).and_then(|number| T::try_from(number).ok());
        number.map(Self).ok_or_else(|| NoNumber {
            range: T::RANGE,
            found: printable(json),
        })
    }
}

impl<'de, T: Whole> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Self::of(json.get()).map_err(D::Error::custom)
    }
}

/// The value of a JSON number that is whole and not too large for any of the types.
fn decimal(text: &str) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        // A point has digits on both sides.
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let is_whole_part = whole == "0" || !whole.is_empty() && !whole.starts_with('0');
    let digits = [whole, fraction].concat();
    if !is_whole_part || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // With the zeros at its end as part of the exponent.
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let fraction_digits = i64::try_from(fraction.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let exponent = exponent
        .checked_add(zeros)?
        .checked_sub(fraction_digits)
        .and_then(|exponent| u32::try_from(exponent).ok())?;
    if significant.len() + usize::try_from(exponent).ok()? > DIGITS_MAX {
        return None;
    }
    let number: i128 = significant.parse().ok()?;
    Some(sign * number * 10_i128.pow(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_exactly_however_they_are_written() {
        for (json, number) in [
            ("0", 0),
            ("-0", 0),
            ("0.0", 0),
            ("0e999999", 0),
            ("1", 1),
            ("1.0", 1),
            ("1e0", 1),
            ("1E+0", 1),
            ("10e-1", 1),
            ("0.1e1", 1),
            ("100.00e-2", 1),
            (r#""1""#, 1),
            (r#""1.0""#, 1),
            (r#""1e2""#, 100),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("18446744073709551615", u64::MAX),
            ("1844674407370955161.5e1", u64::MAX),
        ] {
            assert_eq!(Number::<u64>::of(json), Ok(Number(number)), "{json}");
        }
        assert_eq!(Number::<i32>::of("-2147483648.0"), Ok(Number(i32::MIN)));
    }

    #[test]
    fn nothing_else_is_a_number() {
        let long = format!("1{}", "0".repeat(100_000));
        for json in [
            "-1",
            "1.5",
            "1e-1",
            "18446744073709551616",
            "1e20",
            "1e99999999999999999999",
            "1e-9223372036854775808",
            &long,
            "true",
            "null",
            "[1]",
            r#""""#,
            r#"" 1""#,
            r#""+1""#,
            r#""01""#,
            r#""1.""#,
            r#"".5""#,
            r#""1e""#,
            r#""0x1""#,
            r#""NaN""#,
        ] {
            let error = Number::<u64>::of(json).unwrap_err().to_string();
            assert!(
                error.starts_with("expected a whole number from 0 to"),
                "{error}"
            );
        }
    }
}
