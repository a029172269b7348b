//! How envoyproxy/ratelimit writes values, put into words of ours. It reads them with Go's `strconv` and
//! `time`, and log levels with logrus.

use std::time::Duration;

/// How the values of a variable are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// As the key has it.
    Text,
    /// As Go's `strconv.ParseBool` reads it.
    Boolean,
    /// The same, of a key that says the opposite.
    Opposite,
    /// As Go's `time.ParseDuration` reads it.
    Duration,
    /// One of logrus' levels.
    LogLevel,
    /// `json` in any case of letters; anything else is text.
    LogFormat,
    /// `FILE` or `GRPC_XDS_SOTW`.
    Source,
    /// An IP address, perhaps in brackets, or a name.
    Address,
    /// An address and port; without an address, all of them.
    Bind,
    /// `name:value,name:value`; the values may be secret.
    Headers,
    /// A host and port as gRPC names them: alone, or behind `dns:///`, `dns:` or `passthrough:///`.
    Target,
    /// A number of which more than 1 means the same as 1.
    Share,
    /// A number of bytes; 0 is what gRPC takes without being told, 4 MiB.
    Size,
}

impl Reading {
    /// The value as our key takes it; the error says what was expected.
    pub(super) fn read(self, value: &str) -> Result<String, String> {
        let read = match self {
            Self::Text => Some(value.to_owned()),
            Self::Size => Some(if value == "0" { "4194304" } else { value }.to_owned()),
            Self::Boolean => boolean(value).map(|flag| flag.to_string()),
            Self::Opposite => boolean(value).map(|flag| (!flag).to_string()),
            Self::Duration => duration(value).map(|span| format!("{}ms", span.as_millis())),
            Self::LogLevel => log_level(value).map(str::to_owned),
            Self::LogFormat => Some(log_format(value).to_owned()),
            Self::Source => source(value).map(str::to_owned),
            Self::Address => Some(address(value).to_owned()),
            Self::Bind => Some(bind(value)),
            Self::Target => Some(target(value).to_owned()),
            Self::Share => Some(share(value).to_owned()),
            Self::Headers => headers(value),
        };
        read.ok_or_else(|| match self {
            // What was given may be a secret.
            Self::Headers => format!("expected {}", self.expected()),
            _ => format!("expected {}, not {value:?}", self.expected()),
        })
    }

    /// What is expected.
    const fn expected(self) -> &'static str {
        match self {
            Self::Boolean | Self::Opposite => "true or false",
            Self::Duration => "a duration such as 500ms, 10s or 1h30m",
            Self::LogLevel => "panic, fatal, error, warn, info, debug or trace",
            Self::Source => "FILE or GRPC_XDS_SOTW",
            Self::Headers => "a list of name:value",
            // These take any text; the key itself says what is wrong with it.
            Self::Text
            | Self::Size
            | Self::LogFormat
            | Self::Address
            | Self::Bind
            | Self::Target
            | Self::Share => "a text",
        }
    }
}

/// The spellings Go takes, and no others.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A sum of decimal numbers with units, `1h30m` or `1.5s`; a bare `0` is allowed. What is below a
/// millisecond is rounded up, so that a short time does not become none.
fn duration(value: &str) -> Option<Duration> {
    let text = value.strip_prefix('+').unwrap_or(value);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_seconds = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        seconds += number * unit_seconds;
        rest = after;
    }
    if text.is_empty() {
        return None;
    }
    // Sums of decimal fractions are a hair off.
    let millis = (seconds * 1e3 - 1e-6).ceil().max(0.0);
    Duration::try_from_secs_f64(millis / 1e3).ok()
}

fn log_level(value: &str) -> Option<&'static str> {
    match value.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => Some("error"),
        "warn" | "warning" => Some("warn"),
        "info" => Some("info"),
        "debug" => Some("debug"),
        "trace" => Some("trace"),
        _ => None,
    }
}

fn log_format(value: &str) -> &'static str {
    if value.eq_ignore_ascii_case("json") {
        "json"
    } else {
        "text"
    }
}

fn source(value: &str) -> Option<&'static str> {
    match value {
        "FILE" => Some("file"),
        "GRPC_XDS_SOTW" => Some("xds"),
        _ => None,
    }
}

/// Without brackets, which our key does not take.
fn address(value: &str) -> &str {
    value
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(value)
}

fn bind(value: &str) -> String {
    match value.rsplit_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        _ => value.to_owned(),
    }
}

/// What else gRPC can resolve has another form, which no host and port has.
fn target(value: &str) -> &str {
    ["dns:///", "passthrough:///", "dns:"]
        .into_iter()
        .find_map(|scheme| value.strip_prefix(scheme))
        .unwrap_or(value)
}

fn share(value: &str) -> &str {
    let is_more = value.parse::<f32>().is_ok_and(|share| share > 1.0);
    if is_more { "1" } else { value }
}

fn headers(value: &str) -> Option<String> {
    let pairs = value.split(',').map(|pair| {
        let (name, value) = pair.split_once(':')?;
        Some(format!("{}={}", name.trim(), value.trim()))
    });
    let pairs: Option<Vec<String>> = pairs.collect();
    pairs.map(|pairs| pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        for (written, flag) in [("1", true), ("T", true), ("True", true), ("FALSE", false)] {
            assert_eq!(boolean(written), Some(flag));
        }
        for wrong in ["", "yes", "tRUE", "on", " true"] {
            assert_eq!(boolean(wrong), None, "{wrong:?} was taken");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (written, read) in [
            ("24h", "86400000ms"),
            ("1h30m", "5400000ms"),
            ("1.5s", "1500ms"),
            (".5s", "500ms"),
            ("+2m0.1s", "120100ms"),
            ("75us", "1ms"),
            ("1\u{b5}s", "1ms"),
            ("0", "0ms"),
            ("0s", "0ms"),
        ] {
            assert_eq!(
                Reading::Duration.read(written).as_deref(),
                Ok(read),
                "{written}"
            );
        }
        for wrong in [
            "", "+", "5", "-5s", "s", "1..5s", "1d", "5 s", "9e999h", "1s5",
        ] {
            assert!(
                Reading::Duration.read(wrong).is_err(),
                "{wrong:?} was taken"
            );
        }
    }

    #[test]
    fn log_levels_are_those_of_logrus() {
        for (written, read) in [("WARN", "warn"), ("warning", "warn"), ("Panic", "error")] {
            assert_eq!(Reading::LogLevel.read(written).as_deref(), Ok(read));
        }
        assert!(Reading::LogLevel.read("verbose").is_err());
    }

    #[test]
    fn headers_may_have_colons_in_their_values_and_are_never_shown() {
        let read = Reading::Headers.read("authorization:Bearer a:b,x-team: shop");
        assert_eq!(read.as_deref(), Ok("authorization=Bearer a:b,x-team=shop"));
        let error = Reading::Headers.read("s3cret").unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn targets_may_have_a_scheme_that_asks_for_nothing_else() {
        for (written, read) in [
            ("gateway:18001", "gateway:18001"),
            ("dns:///gateway.ns.svc:18001", "gateway.ns.svc:18001"),
            ("dns:gateway:1", "gateway:1"),
            ("passthrough:///[::1]:1", "[::1]:1"),
            // A name server of its own: no host and port.
            ("dns://10.0.0.1/gateway:1", "//10.0.0.1/gateway:1"),
        ] {
            assert_eq!(Reading::Target.read(written).as_deref(), Ok(read));
        }
    }

    #[test]
    fn a_share_of_more_than_all_is_all() {
        for (written, read) in [("0.8", "0.8"), ("1", "1"), ("1.5", "1"), ("2e9", "1")] {
            assert_eq!(Reading::Share.read(written).as_deref(), Ok(read));
        }
        assert_eq!(Reading::Share.read("-1").as_deref(), Ok("-1"));
    }

    #[test]
    fn addresses_may_be_bracketed_or_names() {
        for (written, read) in [("[::]", "::"), ("localhost", "localhost"), ("::1", "::1")] {
            assert_eq!(Reading::Address.read(written).as_deref(), Ok(read));
        }
        for (written, read) in [
            (":9090", "0.0.0.0:9090"),
            ("localhost:1", "localhost:1"),
            ("[::]:1", "[::]:1"),
        ] {
            assert_eq!(Reading::Bind.read(written).as_deref(), Ok(read));
        }
    }
}
