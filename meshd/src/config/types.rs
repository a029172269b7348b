//! Types of settings that are our own.

use std::fmt;

use hivemind_shared::rules::NearLimitRatio;

use super::setting::FromText;

/// Permissions of a file: read and write for owner, group and others, `"0600"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// Read and write for the owner, nothing for anyone else.
    pub const OWNER_ONLY: Self = Self(0o600);

    /// The permission bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:04o}\"", self.0)
    }
}

impl FromText for FileMode {
    fn expected() -> String {
        "read and write permissions in octal, \"0600\" or \"0660\" for example, with both for the \
         owner"
            .to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        // `from_str_radix` takes a sign, `0o600` is YAML 1.2 for the same number.
        let digits = text.strip_prefix("0o").unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let bits = u32::from_str_radix(digits, 8).ok()?;
        (bits & 0o600 == 0o600 && bits & !0o666 == 0).then_some(Self(bits))
    }
}

/// A share, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    /// Default of `mesh.epsilon`.
    pub(super) const DEFAULT_EPSILON: Self = Self(0.01);

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromText for Ratio {
    fn expected() -> String {
        "a number from 0 to 1".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        let number: f64 = text.parse().ok()?;
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }
}

impl FromText for NearLimitRatio {
    fn expected() -> String {
        Ratio::expected()
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text.parse().ok()?)
    }
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// What needs someone to act.
    Error,
    /// What may need someone to act.
    Warn,
    /// What changed.
    Info,
    /// What meshd does.
    Debug,
    /// How it does it, libraries included.
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// How far apart the hosts of the mesh are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshPreset {
    /// One data centre: round trips of a few milliseconds.
    Lan,
    /// Several: round trips of a hundred milliseconds and more.
    Wan,
}

/// Where rules come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesSource {
    /// Files.
    File,
    /// A management server.
    Xds,
}

/// Implements [`FromText`] and the name for an enum whose values are words.
macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl $type {
            /// The word for it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What the word stands for.
            pub fn of_name(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// All words, for messages.
            pub const WORDS: &str = concat!("one of" $(, " ", $word)+);
        }

        impl FromText for $type {
            fn expected() -> String {
                Self::WORDS.to_owned()
            }

            fn from_text(text: &str) -> Option<Self> {
                Self::of_name(text)
            }
        }
    };
}

words!(LogLevel: Off = "off", Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace");
words!(LogFormat: Text = "text", Json = "json");
words!(RulesSource: File = "file", Xds = "xds");
words!(MeshPreset: Lan = "lan", Wan = "wan");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_modes_are_octal_and_leave_the_owner_both_permissions() {
        for (written, bits) in [("0600", 0o600), ("660", 0o660), ("0o666", 0o666)] {
            assert_eq!(FileMode::from_text(written).unwrap().bits(), bits);
        }
        for wrong in ["", "0", "0400", "0700", "+600", "rw", "1600", "0888"] {
            assert_eq!(FileMode::from_text(wrong), None, "{wrong:?} was taken");
        }
    }

    #[test]
    fn ratios_stay_between_0_and_1() {
        assert_eq!(
            NearLimitRatio::from_text("0.8"),
            Some(NearLimitRatio::default())
        );
        assert_eq!(Ratio::from_text("0.25").unwrap().get(), 0.25);
        for wrong in ["-0.1", "1.1", "NaN", "inf", ""] {
            assert_eq!(Ratio::from_text(wrong), None, "{wrong:?} was taken");
            assert_eq!(
                NearLimitRatio::from_text(wrong),
                None,
                "{wrong:?} was taken"
            );
        }
    }
}
