//! The types of settings: how each is read from text, and how it is shown.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hivemind_shared::rules::NearLimitRatio;

use super::host_port::HostPort;
use super::peer::Peer;
use super::types::{FileMode, LogFormat, LogLevel, MeshPreset, Ratio, RulesSource};

/// A value as a layer wrote it: the environment and flags know text alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// One value.
    Text(String),
    /// A list, from the service file.
    List(Vec<String>),
}

/// A type a setting can have.
pub(super) trait Setting: Sized {
    /// Reads the setting; the error says what was expected, and completes "… is not usable: ".
    fn read(value: &Value) -> Result<Self, String>;

    /// The setting as the service file would write it.
    fn show(&self) -> String;
}

/// A type a single text can be read into.
pub(super) trait FromText: Sized {
    /// What is expected, for the message: "a number from 0 to 65535".
    fn expected() -> String;

    /// Reads the text.
    fn from_text(text: &str) -> Option<Self>;
}

/// Reads one text, or says what was expected in its place.
fn read_text<T: FromText>(value: &Value) -> Result<T, String> {
    match value {
        Value::Text(text) => {
            T::from_text(text).ok_or_else(|| format!("expected {}, not {text:?}", T::expected()))
        }
        Value::List(_) => Err(format!("expected {}, not a list", T::expected())),
    }
}

/// Implements [`Setting`] by [`FromText`] and a way to show.
macro_rules! text_setting {
    ($type:ty, $show:expr) => {
        impl Setting for $type {
            fn read(value: &Value) -> Result<Self, String> {
                read_text(value)
            }

            fn show(&self) -> String {
                let show: fn(&$type) -> String = $show;
                show(self)
            }
        }
    };
}

/// Implements [`FromText`] by the type's own `FromStr`.
macro_rules! parsed_text {
    ($type:ty, $expected:expr) => {
        impl FromText for $type {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    };
}

parsed_text!(u16, "a number from 0 to 65535");
text_setting!(u16, |number| number.to_string());
parsed_text!(u64, "a whole number");
text_setting!(u64, |number| number.to_string());
parsed_text!(NonZeroU32, "a number from 1 to 4294967295");
text_setting!(NonZeroU32, |number| number.to_string());
text_setting!(bool, |flag| flag.to_string());
text_setting!(String, |text| quoted(text));
text_setting!(PathBuf, |path| quoted(&path.to_string_lossy()));
text_setting!(Duration, |duration| show_duration(*duration));
text_setting!(FileMode, |mode| mode.to_string());
text_setting!(NearLimitRatio, |ratio| ratio.get().to_string());
text_setting!(Ratio, |ratio| ratio.get().to_string());
text_setting!(LogLevel, |level| level.name().to_owned());
text_setting!(LogFormat, |format| format.name().to_owned());
text_setting!(HostPort, |server| quoted(&server.to_string()));
text_setting!(RulesSource, |source| source.name().to_owned());
text_setting!(MeshPreset, |preset| preset.name().to_owned());

impl FromText for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

impl FromText for String {
    fn expected() -> String {
        "a text that is not empty and has no control characters".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    }
}

impl FromText for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        // A NUL would only surface as an obscure error when the path is first used.
        (!text.is_empty() && !text.contains('\0')).then(|| Path::new(text).to_owned())
    }
}

impl FromText for Duration {
    fn expected() -> String {
        "a whole number with a unit, such as 5ms, 10s, 2m or 1h".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        let digits_end = text.find(|character: char| !character.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits_end);
        let number: u64 = number.parse().ok()?;
        match unit {
            "ms" => Some(Self::from_millis(number)),
            "s" => Some(Self::from_secs(number)),
            "m" => number.checked_mul(60).map(Self::from_secs),
            "h" => number.checked_mul(3_600).map(Self::from_secs),
            _ => None,
        }
    }
}

/// A duration as settings write it, `500ms` or `2s`.
pub fn duration(text: &str) -> Option<Duration> {
    Duration::from_text(text)
}

/// A duration in the largest unit that shows all of it.
fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_millis() != 0 || seconds == 0 {
        format!("{}ms", duration.as_millis())
    } else if seconds.is_multiple_of(3_600) {
        format!("{}h", seconds / 3_600)
    } else if seconds.is_multiple_of(60) {
        format!("{}m", seconds / 60)
    } else {
        format!("{seconds}s")
    }
}

/// An optional setting: unset is `null`, and an empty text unsets what a lower layer has set.
impl<T: Setting> Setting for Option<T> {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text.is_empty() => Ok(None),
            value => T::read(value).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_owned(), T::show)
    }
}

impl Setting for Vec<Peer> {
    fn read(value: &Value) -> Result<Self, String> {
        let texts: Vec<&str> = match value {
            // As the environment and flags write a list.
            Value::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .collect(),
            Value::List(texts) => texts.iter().map(String::as_str).collect(),
        };
        texts
            .into_iter()
            .map(|text| {
                Peer::from_text(text)
                    .ok_or_else(|| format!("expected {}, not {text:?}", Peer::expected()))
            })
            .collect()
    }

    fn show(&self) -> String {
        let peers: Vec<String> = self.iter().map(|peer| quoted(&peer.to_string())).collect();
        format!("[{}]", peers.join(", "))
    }
}

/// Text as YAML reads it back unchanged: quoted unless it is plainly a word or a path.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        && !["true", "false", "null", "yes", "no", "on", "off"]
            .contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn durations_need_a_unit_and_show_in_the_largest() {
        for (written, shown, millis) in [
            ("5ms", "5ms", 5),
            ("1500ms", "1500ms", 1_500),
            ("2000ms", "2s", 2_000),
            ("120s", "2m", 120_000),
            ("1h", "1h", 3_600_000),
            ("0s", "0ms", 0),
        ] {
            let duration = Duration::read(&text(written)).unwrap();
            assert_eq!(duration, Duration::from_millis(millis));
            assert_eq!(duration.show(), shown);
        }
        for wrong in [
            "",
            "5",
            "ms",
            "-5ms",
            "1.5s",
            "5 ms",
            "99999999999999999999s",
            "5000000000000000000h",
        ] {
            assert!(Duration::read(&text(wrong)).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_list_is_comma_separated_outside_the_file() {
        let peers = Vec::<Peer>::read(&text("a, b:1,")).unwrap();
        assert_eq!(peers.show(), r#"["a:7946", "b:1"]"#);
        assert!(Vec::<Peer>::read(&text("")).unwrap().is_empty());
    }

    #[test]
    fn an_empty_text_unsets_an_optional_setting() {
        assert_eq!(Option::<PathBuf>::read(&text("")).unwrap(), None);
        assert!(PathBuf::read(&text("")).is_err());
    }

    #[test]
    fn what_is_shown_is_quoted_where_yaml_needs_it() {
        for (text, shown) in [
            ("/dev/shm/a-b.c", "/dev/shm/a-b.c"),
            ("yes", r#""yes""#),
            ("404", r#""404""#),
            ("a: #\"\\\t", r#""a: #\"\\\u0009""#),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }
}
