//! Patterns with wildcards.

use std::sync::Arc;

/// A text in which each `*` stands for zero or more bytes of any kind.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: Arc<str>,
    /// Bytes before the first star and after the last one; `None` without a star. Most values fail on
    /// one of these two, so they are kept apart.
    ends: Option<Ends>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    prefix_len: usize,
    suffix_start: usize,
}

/// Whether a text of a rule is a pattern.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains('*')
}

impl Pattern {
    pub(super) fn new(text: Arc<str>) -> Self {
        let ends = text
            .find('*')
            .zip(text.rfind('*'))
            .map(|(first, last)| Ends {
                prefix_len: first,
                suffix_start: last + 1,
            });
        Self { text, ends }
    }

    /// Whether the pattern covers all of `value`.
    pub(super) fn covers(&self, value: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        let Some(ends) = self.ends else {
            return pattern == value;
        };
        let (prefix, rest) = pattern.split_at(ends.prefix_len);
        let (middle, suffix) = rest.split_at(ends.suffix_start - ends.prefix_len);
        // Prefix and suffix may not overlap in the value: `ab*bc` does not cover `abc`.
        let Some(between) = value
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(suffix))
        else {
            return false;
        };
        contains_in_order(between, middle)
    }
}

/// Whether some text is covered by both patterns.
#[cfg(feature = "yaml")]
pub(super) fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Whether what is left of `a` and of `b` has a text in common, from the ends to the front.
    let mut below = vec![false; b.len() + 1];
    for at in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for other in (0..=b.len()).rev() {
            let (first, second) = (a.get(at), b.get(other));
            let next = |row: &[bool], at: usize| row.get(at).copied().unwrap_or(false);
            row[other] = match (first, second) {
                (None, None) => true,
                (Some(b'*'), Some(b'*')) => next(&below, other) || next(&row, other + 1),
                // The star is over, or takes one more byte of the other.
                (Some(b'*'), Some(_)) => next(&below, other) || next(&row, other + 1),
                (Some(_), Some(b'*')) => next(&row, other + 1) || next(&below, other),
                (Some(b'*'), None) => next(&below, other),
                (None, Some(b'*')) => next(&row, other + 1),
                (Some(first), Some(second)) => first == second && next(&below, other + 1),
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

/// Whether the parts of `stars` (`*`, `*part*`, `*one*other*`) occur in `text` one after the other.
///
/// Taking the leftmost occurrence of each part leaves the most room for those that follow, so there
/// is nothing to try again.
fn contains_in_order(text: &[u8], stars: &[u8]) -> bool {
    let mut rest = text;
    for part in stars
        .split(|byte| *byte == b'*')
        .filter(|part| !part.is_empty())
    {
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, value: &str) -> bool {
        Pattern::new(Arc::from(pattern)).covers(value.as_bytes())
    }

    #[test]
    fn a_star_stands_for_any_number_of_bytes() {
        for (pattern, value) in [
            ("*", ""),
            ("*", "anything/at:all"),
            ("foo*", "foo"),
            ("foo*", "foo/bar"),
            ("*foo", "barfoo"),
            ("/api*v1", "/api/v1"),
            ("foo*bar*baz", "foobarbaz"),
            ("foo*bar*baz", "foo1bar2bar3baz"),
            ("**", "x"),
            ("a**b", "ab"),
            ("*a*", "bab"),
            ("ü*", "übung"),
            ("exact", "exact"),
        ] {
            assert!(covers(pattern, value), "{pattern} {value}");
        }
    }

    #[test]
    fn everything_but_the_stars_has_to_be_there_in_order() {
        for (pattern, value) in [
            ("foo*", "fo"),
            ("*foo", "foobar"),
            ("abc*cde", "abcde"),
            ("foo*bar*baz", "foobaz"),
            ("foo*bar*baz", "foobazbar"),
            ("a*b*a", "aba_"),
            ("a*b*b*a", "aba"),
            ("*a*", "bbb"),
            // The two parts may not share a byte.
            ("*aba*aba*", "ababa"),
            ("exact", "exactly"),
            ("Foo*", "foo"),
        ] {
            assert!(!covers(pattern, value), "{pattern} {value}");
        }
    }

    /// The definition, as slow as it is plain.
    fn covers_by_definition(pattern: &[u8], value: &[u8]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some((b'*', rest)) => {
                (0..=value.len()).any(|taken| covers_by_definition(rest, &value[taken..]))
            }
            Some((first, rest)) => value
                .split_first()
                .is_some_and(|(byte, left)| byte == first && covers_by_definition(rest, left)),
        }
    }

    #[test]
    fn patterns_that_no_text_fits_both_of_do_not_overlap() {
        for (a, b, expected) in [
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("*a", "*b", false),
            ("/v1/*", "/v1/admin/*", true),
            ("x", "x", true),
            ("*", "", true),
            ("a*b", "ab*c", false),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        }
    }

    proptest::proptest! {
        #[test]
        fn overlap_agrees_with_trying_all_short_texts(a in "[ab*]{0,4}", b in "[ab*]{0,4}") {
            // If there is a text at all, there is one no longer than both together.
            let mut texts = vec![String::new()];
            let mut from = 0;
            for _ in 0..8 {
                let to = texts.len();
                for at in from..to {
                    for letter in ["a", "b"] {
                        texts.push(format!("{}{letter}", texts[at]));
                    }
                }
                from = to;
            }
            let common = texts.iter().any(|text| covers(&a, text) && covers(&b, text));
            proptest::prop_assert_eq!(overlap(&a, &b), common);
        }

        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*]{0,8}", value in "[ab]{0,10}") {
            proptest::prop_assert_eq!(
                covers(&pattern, &value),
                covers_by_definition(pattern.as_bytes(), value.as_bytes())
            );
        }
    }
}
