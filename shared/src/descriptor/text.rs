//! A descriptor in one line: `key=value,key=value`, as people write and read it.
//!
//! The first `=` ends a key, `,` ends a value. Where they are part of one, a backslash stands before them, as before a
//! backslash: `list=1\,2`. `\u{A0}` is the character of that number, and what a reader would not see is shown so.
//! Any other backslash stands for itself. What is shown can be typed again, unless it was cut.

use crate::yaml::display::{SHOWN_CHARS_MAX, is_harmless};
use crate::yaml::printable;

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A character of a key or value.
    Char(char),
    /// The `=` behind a key.
    KeyEnd,
    /// The `,` between two entries.
    EntryEnd,
}

/// What is no descriptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' in '{}' is no key=value; 'key=' asks with an empty value, and '\\,' is a comma in one", printable(.piece), printable(.text)
)]
pub struct NoEntry {
    piece: String,
    text: String,
}

/// Reads a descriptor.
///
/// # Errors
/// [`NoEntry`] for an entry without a `=`.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, NoEntry> {
    let mut entries = Vec::new();
    let mut key: Option<String> = None;
    let mut piece = String::new();
    for token in tokens(text).chain([Token::EntryEnd]) {
        match token {
            Token::Char(character) => piece.push(character),
            Token::KeyEnd => key = Some(std::mem::take(&mut piece)),
            Token::EntryEnd => {
                let value = std::mem::take(&mut piece);
                let Some(key) = key.take() else {
                    return Err(NoEntry {
                        piece: value,
                        text: text.to_owned(),
                    });
                };
                entries.push((key, value));
            }
        }
    }
    Ok(entries)
}

/// Whether a text seems to be meant as a descriptor: a key ends in it.
pub fn has_key(text: &str) -> bool {
    tokens(text).any(|token| token == Token::KeyEnd)
}

/// An entry as it is shown; a key or value of more than 80 characters is cut.
pub fn entry(key: &str, value: &str) -> String {
    let mut shown = String::new();
    push(key, true, &mut shown);
    shown.push('=');
    push(value, false, &mut shown);
    shown
}

/// A descriptor as it is shown.
pub fn descriptor<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let entries = entries.into_iter();
    let entries: Vec<String> = entries.map(|(key, value)| entry(key, value)).collect();
    entries.join(",")
}

/// A key alone, as it is shown in an entry.
pub fn key(key: &str) -> String {
    let mut shown = String::new();
    push(key, true, &mut shown);
    shown
}

fn push(text: &str, is_key: bool, shown: &mut String) {
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        match character {
            '\\' | ',' => shown.extend(['\\', character]),
            '=' if is_key => shown.extend(['\\', character]),
            _ if is_harmless(character) => shown.push(character),
            _ => shown.extend(character.escape_unicode()),
        }
    }
}

/// What a descriptor may begin with: whole entries, or the beginning of one.
#[derive(Clone, Debug)]
pub struct Prefix(Vec<Token>);

impl Prefix {
    /// The prefix that is written so.
    pub fn of(text: &str) -> Self {
        Self(tokens(text).collect())
    }

    /// Whether a descriptor of these entries begins with it.
    pub fn begins<'a>(&self, entries: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        let mut tokens = entries.enumerate().flat_map(|(position, (key, value))| {
            let comma = (position > 0).then_some(Token::EntryEnd);
            let key = key.chars().map(Token::Char);
            let value = value.chars().map(Token::Char);
            comma
                .into_iter()
                .chain(key)
                .chain([Token::KeyEnd])
                .chain(value)
        });
        self.0.iter().all(|token| tokens.next() == Some(*token))
    }
}

fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    let mut rest = text;
    let mut in_key = true;
    std::iter::from_fn(move || {
        if let Some((character, after)) = escape(rest) {
            rest = after;
            return Some(Token::Char(character));
        }
        let character = rest.chars().next()?;
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        Some(match character {
            '=' if in_key => {
                in_key = false;
                Token::KeyEnd
            }
            ',' => {
                in_key = true;
                Token::EntryEnd
            }
            other => Token::Char(other),
        })
    })
}

/// The character that an escape at the beginning of a text stands for, and what follows it.
fn escape(text: &str) -> Option<(char, &str)> {
    let escape = text.strip_prefix('\\')?;
    if let Some(number) = escape.strip_prefix("u{") {
        let (digits, after) = number.split_once('}')?;
        let number = u32::from_str_radix(digits, 16).ok()?;
        return Some((char::from_u32(number)?, after));
    }
    let character = escape.chars().next()?;
    let after = escape.strip_prefix([',', '=', '\\'])?;
    Some((character, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn shown(entries: &[(String, String)]) -> String {
        descriptor(entries.iter().map(|(key, value)| (&**key, &**value)))
    }

    fn begins(prefix: &str, entries: &[(&str, &str)]) -> bool {
        Prefix::of(prefix).begins(entries.iter().copied())
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
            (r"a=\u{A0}b\u{zz}", &[("a", "\u{a0}b\\u{zz}")]),
            (r"a=b\", &[("a", r"b\")]),
            (r"a=\u{41", &[("a", r"\u{41")]),
        ] {
            assert_eq!(parse(text), Ok(pairs(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in ["", "user", "a=1,", "a=1,b", ",", r"a\=b"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(has_key("user=") && !has_key("user") && !has_key(r"a\=b"));
    }

    #[test]
    fn what_separates_is_escaped_where_it_does_not() {
        for (entries, text) in [
            (&[("list", "a,b")][..], r"list=a\,b"),
            (&[("a=b", "c=d"), ("e", r"\")], r"a\=b=c=d,e=\\"),
            (&[("user\u{200b}", "a\nb")], r"user\u{200b}=a\u{a}b"),
        ] {
            assert_eq!(descriptor(entries.iter().copied()), text);
            assert_eq!(parse(text), Ok(pairs(entries)), "{text}");
        }
        assert!(entry("k", &"v".repeat(100)).ends_with("vv…"));
    }

    #[test]
    fn a_prefix_is_the_beginning_of_the_text() {
        let entries = &[("list", "a,b"), ("user", "ann")];
        for prefix in [
            "",
            "li",
            "list=",
            r"list=a\,",
            r"list=a\,b,",
            r"list=a\,b,user=a",
        ] {
            assert!(begins(prefix, entries), "{prefix}");
        }
        for prefix in [
            "list=a,",
            "list=b",
            "user",
            r"list=a\,b,user=ann,",
            "list=a\\,b,user\\=",
        ] {
            assert!(!begins(prefix, entries), "{prefix}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed_again(entries in prop::collection::vec((".{0,20}", ".{0,20}"), 1..4)) {
            let text = shown(&entries);
            prop_assert_eq!(parse(&text), Ok(entries.clone()));
            prop_assert!(Prefix::of(&text).begins(entries.iter().map(|(key, value)| (&**key, &**value))));
        }

        #[test]
        fn any_text_is_read(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
