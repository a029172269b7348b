//! A descriptor, as it is written on the command line.

use std::str::FromStr;

use hivemind_shared::descriptor::Entry;
use hivemind_shared::yaml::printable;

/// One descriptor: `key=value[,key=value…]`.
///
/// The first `=` ends the key; more of them belong to the value. `\,`, `\=` and `\\` stand for the
/// character itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorArgument {
    /// Keys and values.
    pub(crate) entries: Vec<(String, String)>,
}

impl DescriptorArgument {
    /// As the decision takes it.
    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        self.entries
            .iter()
            .map(|(key, value)| Entry::new(key, value))
            .collect()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let entries: Vec<String> = self
            .entries
            .iter()
            .map(|(key, value)| entry_text(key, value))
            .collect();
        entries.join(",")
    }
}

/// An entry for people.
pub(crate) fn entry_text(key: &str, value: &str) -> String {
    format!("{}={}", printable(key), printable(value))
}

impl FromStr for DescriptorArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        let mut key: Option<String> = None;
        let mut piece = String::new();
        let mut characters = text.chars().peekable();
        loop {
            match characters.next() {
                Some('\\') => match characters.next_if(|next| matches!(next, ',' | '=' | '\\')) {
                    Some(escaped) => piece.push(escaped),
                    None => piece.push('\\'),
                },
                Some('=') if key.is_none() => key = Some(std::mem::take(&mut piece)),
                end @ (Some(',') | None) => {
                    let value = std::mem::take(&mut piece);
                    let Some(key) = key.take() else {
                        return Err(format!(
                            "'{}' in '{}' is no key=value; 'key=' asks with an empty value, and '\\,' is a comma in one",
                            printable(&value),
                            printable(text)
                        ));
                    };
                    entries.push((key, value));
                    if end.is_none() {
                        return Ok(Self { entries });
                    }
                }
                Some(other) => piece.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String)> {
        text.parse::<DescriptorArgument>().unwrap().entries
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn entries_are_told_apart() {
        for (text, expected) in [
            ("user=ann", &[("user", "ann")][..]),
            ("a=1,b=2", &[("a", "1"), ("b", "2")]),
            ("query=a=b&c=d", &[("query", "a=b&c=d")]),
            ("user=", &[("user", "")]),
            ("=x", &[("", "x")]),
            (r"list=1\,2,b=3", &[("list", "1,2"), ("b", "3")]),
            (r"a\=b=c", &[("a=b", "c")]),
            (r"path=C:\x\\y", &[("path", r"C:\x\y")]),
        ] {
            assert_eq!(entries(text), pairs(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in ["", "user", "a=1,", "a=1,b", ","] {
            assert!(text.parse::<DescriptorArgument>().is_err(), "{text}");
        }
    }
}
