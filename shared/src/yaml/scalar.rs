//! What a scalar means: the types of YAML 1.1, as Go's YAML library takes them.
//!
//! Rule files were written for envoyproxy/ratelimit, so `yes` is a boolean, `010` is eight, `1e3` is a
//! floating point number and `1:30` is text, whatever later versions of YAML say.

/// A scalar's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Nothing: `~`, `null` or an empty place.
    Null,
    /// `true`, `yes`, `on`, `y` and their opposites.
    Bool(bool),
    /// A whole number that 64 bits hold, with or without sign; also `0x`, `0o`, `0b`, `0…` and `1_000`.
    Int(i128),
    /// A number with a fraction or an exponent, or one too large for 64 bits.
    Float(f64),
    /// Anything else, and everything in quotes.
    Text(&'a str),
    /// Base64 text marked `!!binary`.
    Binary(&'a str),
}

impl<'a> Scalar<'a> {
    /// What `text` means when it stands unquoted.
    pub fn of_plain(text: &'a str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Self::Bool(true)
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => Self::Bool(false),
            ".nan" | ".NaN" | ".NAN" => Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Self::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Self::Float(f64::NEG_INFINITY),
            _ if text.starts_with(|first: char| {
                first.is_ascii_digit() || matches!(first, '+' | '-' | '.')
            }) =>
            {
                number(text).unwrap_or(Self::Text(text))
            }
            _ => Self::Text(text),
        }
    }
}

/// A number, if `text` is one.
fn number(text: &str) -> Option<Scalar<'static>> {
    let digits: String = text.chars().filter(|character| *character != '_').collect();
    if let Some(int) = integer(&digits) {
        return Some(Scalar::Int(int));
    }
    if is_decimal_float(&digits) {
        digits.parse().ok().map(Scalar::Float)
    } else {
        None
    }
}

/// A whole number from `i64::MIN` to `u64::MAX`, in the base its prefix names.
fn integer(digits: &str) -> Option<i128> {
    let (negative, magnitude) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (radix, magnitude) = split_base(magnitude);
    // A second sign would be taken by the parser below.
    if !magnitude.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(magnitude, radix).ok()?;
    let value = if negative { -value } else { value };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&value)
        .then_some(value)
}

/// The base a number is written in, and its digits.
fn split_base(magnitude: &str) -> (u32, &str) {
    let prefixed = |lower: &str, upper: &str| {
        magnitude
            .strip_prefix(lower)
            .or_else(|| magnitude.strip_prefix(upper))
    };
    if let Some(digits) = prefixed("0x", "0X") {
        (16, digits)
    } else if let Some(digits) = prefixed("0b", "0B") {
        (2, digits)
    } else if let Some(digits) = prefixed("0o", "0O") {
        (8, digits)
    } else if magnitude.len() > 1 && magnitude.starts_with('0') {
        (8, &magnitude[1..])
    } else {
        (10, magnitude)
    }
}

/// Digits with at most one point, an optional sign and an optional exponent.
fn is_decimal_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_is_number = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_is_number = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_is_number && exponent_is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_yaml_1_1_are_booleans_and_null() {
        for text in ["yes", "on", "True", "Y", "ON"] {
            assert_eq!(Scalar::of_plain(text), Scalar::Bool(true), "{text}");
        }
        for text in ["no", "off", "FALSE", "n"] {
            assert_eq!(Scalar::of_plain(text), Scalar::Bool(false), "{text}");
        }
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(Scalar::of_plain(text), Scalar::Null, "{text}");
        }
        for text in ["yEs", "nUll", "truE", "none"] {
            assert_eq!(Scalar::of_plain(text), Scalar::Text(text));
        }
    }

    #[test]
    fn whole_numbers_are_read_in_their_base() {
        for (text, value) in [
            ("0", 0),
            ("404", 404),
            ("+5", 5),
            ("-1", -1),
            ("007", 7),
            ("010", 8),
            ("0o17", 15),
            ("0x1F", 31),
            ("0b101", 5),
            ("-0x10", -16),
            ("1_000", 1_000),
            ("9223372036854775807", i128::from(i64::MAX)),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(Scalar::of_plain(text), Scalar::Int(value), "{text}");
        }
    }

    #[test]
    fn numbers_with_point_or_exponent_and_huge_ones_are_floats() {
        for text in [
            "1.5",
            "1e3",
            ".5",
            "5.",
            "-1.5E-3",
            "08",
            "18446744073709551616",
            ".inf",
            ".nan",
        ] {
            assert!(matches!(Scalar::of_plain(text), Scalar::Float(_)), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_number_is_text() {
        for text in [
            "1.2.3",
            "10.0.0.1",
            "1:30",
            "1e",
            "0x",
            "0xg",
            "+",
            "-",
            ".",
            "..",
            "e3",
            "1a",
            "--1",
            "+-1",
            "2001-01-01",
            "2001:db8::1",
            "/v1/*",
            "grüße",
            "-",
            "_1",
        ] {
            assert_eq!(Scalar::of_plain(text), Scalar::Text(text));
        }
    }
}
