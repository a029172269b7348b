//! `RUST_LOG`: what is logged, by target.

use std::ffi::OsString;
use std::str::FromStr;

use hivemind_shared::yaml::printable;
use tracing_subscriber::filter::{ParseError, Targets};

/// The variable, which programs in Rust have in common.
const VARIABLE: &str = "RUST_LOG";

/// What `RUST_LOG` says: `LEVEL` for all, `TARGET=LEVEL` for a part, several of them with commas between.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFilter {
    text: String,
    targets: Targets,
}

impl LogFilter {
    /// Reads the variable; none when it is not set, or empty.
    ///
    /// # Errors
    ///
    /// Why it has no effect: it was meant for another program, maybe, and is no reason not to start.
    pub(super) fn read(environment: &[(OsString, OsString)]) -> Result<Option<Self>, String> {
        let set = environment.iter().find(|(name, _)| name == VARIABLE);
        let Some((_, value)) = set.filter(|(_, value)| !value.is_empty()) else {
            return Ok(None);
        };
        let text = value.to_string_lossy();
        text.parse().map(Some).map_err(|error| {
            format!(
                "{VARIABLE}={} has no effect: {error}; write LEVEL or TARGET=LEVEL, with commas between several",
                printable(&text)
            )
        })
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says of each target.
    pub const fn targets(&self) -> &Targets {
        &self.targets
    }
}

impl FromStr for LogFilter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(Self {
            text: text.to_owned(),
            targets: text.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Option<LogFilter>, String> {
        LogFilter::read(&[(VARIABLE.into(), value.into())])
    }

    #[test]
    fn it_is_read_where_it_says_something() {
        assert_eq!(LogFilter::read(&[]), Ok(None));
        assert_eq!(read(""), Ok(None));
        for text in ["debug", "meshd::mesh=trace,h2=warn", "off"] {
            assert_eq!(read(text).unwrap().unwrap().text(), text);
        }
        let why = read("meshd=loud\u{1b}").unwrap_err();
        assert!(
            why.contains("RUST_LOG=meshd=loud\\u{1b} has no effect"),
            "{why}"
        );
    }
}
