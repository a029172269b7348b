//! Envoy's header matchers, as Envoy 1.39 and later evaluate them: a header that occurs several times
//! matches when one of its values does, and inversion comes last.

use std::ops::Range;

use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;

/// A condition on one request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderMatcher {
    /// The header's name, in lower case.
    pub(crate) name: Box<str>,
    /// What its value must be.
    pub(crate) value: ValueMatch,
    /// Whether the opposite is wanted.
    pub(crate) invert: bool,
    /// Whether a header that is not there counts as an empty one. Otherwise it matches nothing, not
    /// even inverted.
    pub(crate) missing_is_empty: bool,
}

/// A condition on a header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueMatch {
    /// The header is there, or, with `false`, is not.
    Present(bool),
    /// The text, and whether upper and lower case are the same.
    Text(TextMatch, bool),
    /// A whole number in this range; the end is not in it.
    Range(Range<i64>),
}

/// A condition on a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextMatch {
    /// It is this.
    Exact(Box<str>),
    /// It begins with this.
    Prefix(Box<str>),
    /// It ends with this.
    Suffix(Box<str>),
    /// This is somewhere in it.
    Contains(Box<str>),
}

impl HeaderMatcher {
    /// Whether the request meets the condition.
    pub(crate) fn matches(&self, request: &impl EnvoyHttpFilter) -> bool {
        if let ValueMatch::Present(wanted) = self.value {
            let present =
                self.missing_is_empty || request.get_request_header_value(&self.name).is_some();
            return (present == wanted) != self.invert;
        }
        let values = request.get_request_header_values(&self.name);
        let matches = match (values.is_empty(), self.missing_is_empty) {
            (true, false) => return false,
            (true, true) => self.value.matches(b""),
            (false, _) => values
                .iter()
                .any(|value| self.value.matches(value.as_slice())),
        };
        matches != self.invert
    }
}

impl ValueMatch {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(wanted) => *wanted,
            Self::Text(text, false) => text.matches(value, |one, other| one == other),
            Self::Text(text, true) => text.matches(value, <[u8]>::eq_ignore_ascii_case),
            Self::Range(range) => integer(value).is_some_and(|number| range.contains(&number)),
        }
    }
}

impl TextMatch {
    /// Compares with `same`, which is given pieces of equal length.
    fn matches(&self, value: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        match self {
            Self::Exact(text) => value.len() == text.len() && same(value, text.as_bytes()),
            Self::Prefix(text) => value
                .get(..text.len())
                .is_some_and(|head| same(head, text.as_bytes())),
            Self::Suffix(text) => {
                let tail = value
                    .len()
                    .checked_sub(text.len())
                    .and_then(|start| value.get(start..));
                tail.is_some_and(|tail| same(tail, text.as_bytes()))
            }
            Self::Contains(text) => {
                // `windows` does not take 0; an empty text is in every other one.
                text.is_empty()
                    || value
                        .windows(text.len())
                        .any(|part| same(part, text.as_bytes()))
            }
        }
    }
}

/// A whole number in base 10 with an optional sign, nothing else.
fn integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::config::tests::header_matcher;
    use crate::fake_envoy::FakeEnvoy;

    /// What Envoy 1.40 answered for each matcher, by header values: none, an empty one, `a`, `a` and
    /// `b`, `5`, `+5`, `10`, `A,x`.
    const ROWS: [(&str, &str); 18] = [
        (r#""present_match": true"#, ".YYYYYYY"),
        (r#""present_match": true, "invert_match": true"#, "Y......."),
        (r#""present_match": false"#, "Y......."),
        (
            r#""present_match": false, "invert_match": true"#,
            ".YYYYYYY",
        ),
        (
            r#""present_match": true, "treat_missing_header_as_empty": true"#,
            "YYYYYYYY",
        ),
        (
            r#""present_match": false, "treat_missing_header_as_empty": true"#,
            "........",
        ),
        (r#""treat_missing_header_as_empty": false"#, ".YYYYYYY"),
        (r#""invert_match": true"#, "Y......."),
        (r#""string_match": {"exact": "a"}"#, "..YY...."),
        (r#""string_match": {"exact": "b"}"#, "...Y...."),
        (r#""string_match": {"exact": "a,b"}"#, "........"),
        (
            r#""string_match": {"exact": "a"}, "invert_match": true"#,
            ".Y..YYYY",
        ),
        (
            r#""string_match": {"exact": "A", "ignore_case": true}"#,
            "..YY....",
        ),
        (r#""string_match": {"exact": ""}"#, ".Y......"),
        (
            r#""string_match": {"exact": ""}, "treat_missing_header_as_empty": true"#,
            "YY......",
        ),
        (r#""range_match": {"start": -10, "end": 10}"#, "....YY.."),
        (
            r#""range_match": {"end": 10}, "invert_match": true,
               "treat_missing_header_as_empty": true"#,
            "YYYY..YY",
        ),
        (
            r#""string_match": {"prefix": "a,", "ignore_case": true}"#,
            ".......Y",
        ),
    ];

    #[test]
    fn matchers_answer_as_envoy_does() {
        let requests: [&[&str]; 8] = [
            &[],
            &[""],
            &["a"],
            &["a", "b"],
            &["5"],
            &["+5"],
            &["10"],
            &["A,x"],
        ];
        for (matcher, answers) in ROWS {
            let matcher = header_matcher(matcher);
            let answered: String = requests
                .iter()
                .map(|values| {
                    let request = FakeEnvoy::with_headers(values.iter().map(|value| ("h", *value)));
                    if matcher.matches(&request) { 'Y' } else { '.' }
                })
                .collect();
            assert_eq!(answered, answers, "{matcher:?}");
        }
    }

    #[test]
    fn ends_and_middles_are_found() {
        let row = |matcher: &str, value: &str| {
            let matcher = header_matcher(matcher);
            matcher.matches(&FakeEnvoy::with_headers([("h", value)]))
        };
        assert!(row(r#""suffix_match": "bc""#, "abc"));
        assert!(!row(r#""suffix_match": "bc""#, "bcd"));
        assert!(!row(r#""suffix_match": "abcd""#, "bcd"));
        assert!(row(r#""contains_match": "bc""#, "abcd"));
        assert!(!row(r#""contains_match": "bc""#, "aBCd"));
        assert!(row(
            r#""string_match": {"contains": "bc", "ignore_case": true}"#,
            "aBCd"
        ));
        assert!(row(r#""prefix_match": "ab""#, "abc"));
        assert!(!row(r#""prefix_match": "abc""#, "ab"));
        assert!(row(r#""exact_match": """#, "anything"));
    }
}
