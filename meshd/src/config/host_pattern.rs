//! Names of hosts, one by one or all below a domain.

use std::fmt;

use super::setting::{FromText, Setting, Value, quoted};

/// A host name, or `*.` and a domain for every name below it. In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// Whether this name, in lower case and without a dot at its end, is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_prefix('*') {
            // With the dot, and something before it.
            Some(domain) => name.len() > domain.len() && name.ends_with(domain),
            None => name == self.0,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromText for HostPattern {
    fn expected() -> String {
        "a host name without a port, or *. and a domain, such as *.example.com".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        name.split('.')
            .all(is_label)
            .then(|| Self(text.to_ascii_lowercase()))
    }
}

impl Setting for Vec<HostPattern> {
    fn read(value: &Value) -> Result<Self, String> {
        let texts: Vec<&str> = match value {
            // As the environment and flags write a list.
            Value::Text(text) => text.split(',').collect(),
            Value::List(texts) => texts.iter().map(String::as_str).collect(),
        };
        let texts = texts.into_iter().map(str::trim);
        texts
            .filter(|text| !text.is_empty())
            .map(|text| {
                HostPattern::from_text(text)
                    .ok_or_else(|| format!("expected {}, not {text:?}", HostPattern::expected()))
            })
            .collect()
    }

    fn show(&self) -> String {
        let names: Vec<String> = self.iter().map(|name| quoted(&name.0)).collect();
        format!("[{}]", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_all_names_below_a_domain() {
        let read = |text: &str| HostPattern::from_text(text).unwrap();
        assert!(read("RL.example.org").matches("rl.example.org"));
        assert!(!read("rl.example.org").matches("x.rl.example.org"));
        for (name, is_below) in [
            ("a.example.org", true),
            ("a.b.example.org", true),
            ("example.org", false),
            (".example.org", false),
            ("xexample.org", false),
        ] {
            assert_eq!(read("*.example.org").matches(name), is_below, "{name}");
        }
        for wrong in [
            "", "*", "*.", "a..b", "a:80", "http://a", "a b", "*a.b", "a.*",
        ] {
            assert_eq!(HostPattern::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lists_are_read_and_shown() {
        let names = Vec::<HostPattern>::read(&Value::Text("a.b, *.c".to_owned())).unwrap();
        assert_eq!(names.show(), r#"[a.b, "*.c"]"#);
        let names = Value::List(vec!["a.b".to_owned(), "c:80".to_owned()]);
        assert!(Vec::<HostPattern>::read(&names).is_err());
    }
}
