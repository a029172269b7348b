//! Reading Envoy's `HeaderMatcher` and `StringMatcher`.

use super::actions::header_name;
use super::reader::{NotSupported, Object, Reader};
use crate::header_matcher::{HeaderMatcher, TextMatch, ValueMatch};

/// The ways to match, of which a matcher has one or none.
const HOW: &[&str] = &[
    "string_match",
    "present_match",
    "range_match",
    "exact_match",
    "prefix_match",
    "suffix_match",
    "contains_match",
];

const KEYS: &[&str] = &[
    "name",
    "string_match",
    "present_match",
    "range_match",
    "exact_match",
    "prefix_match",
    "suffix_match",
    "contains_match",
    "invert_match",
    "treat_missing_header_as_empty",
];

const NO_REGEX: &str =
    "regular expressions cost too much here; use exact, prefix, suffix or contains";

const NOT_SUPPORTED: &[NotSupported] = &[("safe_regex_match", NO_REGEX)];

const STRING_HOW: &[&str] = &["exact", "prefix", "suffix", "contains"];

const STRING_KEYS: &[&str] = &["exact", "prefix", "suffix", "contains", "ignore_case"];

const STRING_NOT_SUPPORTED: &[NotSupported] = &[
    ("safe_regex", NO_REGEX),
    ("custom", "use exact, prefix, suffix or contains"),
];

/// One element of `headers`.
pub(super) fn header_matcher(reader: &Reader<'_>) -> Option<HeaderMatcher> {
    let matcher = reader.object(KEYS, NOT_SUPPORTED)?;
    let name = header_name(&matcher, "name");
    let value = match matcher.at_most_one_of(HOW) {
        // As in Envoy: without a way to match, presence is what counts.
        None => Some(ValueMatch::Present(true)),
        Some((how, what)) => value_match(how, &what),
    };
    let invert = matcher.flag("invert_match");
    let missing_is_empty = matcher.flag("treat_missing_header_as_empty");
    Some(HeaderMatcher {
        name: name?,
        value: value?,
        invert,
        missing_is_empty,
    })
}

fn value_match(how: &str, what: &Reader<'_>) -> Option<ValueMatch> {
    match how {
        "string_match" => string_match(what),
        "present_match" => what.boolean().map(ValueMatch::Present),
        "range_match" => range_match(what),
        // The four below are Envoy's older way to write a string match, without `ignore_case`.
        "exact_match" => match what.text()? {
            // An empty one was the way to say "present".
            "" => Some(ValueMatch::Present(true)),
            text => Some(ValueMatch::Text(TextMatch::Exact(text.into()), false)),
        },
        "prefix_match" => text_match("prefix", what, false),
        "suffix_match" => text_match("suffix", what, false),
        _ => text_match("contains", what, false),
    }
}

fn string_match(reader: &Reader<'_>) -> Option<ValueMatch> {
    let matcher = reader.object(STRING_KEYS, STRING_NOT_SUPPORTED)?;
    let ignore_case = matcher.flag("ignore_case");
    let Some((how, what)) = matcher.at_most_one_of(STRING_HOW) else {
        if !has_unsupported(&matcher) {
            matcher.problem(format!("must have one of {}", STRING_HOW.join(", ")));
        }
        return None;
    };
    text_match(how, &what, ignore_case)
}

/// Whether there is a way to match that was already complained about.
fn has_unsupported(matcher: &Object<'_>) -> bool {
    STRING_NOT_SUPPORTED
        .iter()
        .any(|(key, _)| matcher.field(key).is_some())
}

fn text_match(how: &str, what: &Reader<'_>, ignore_case: bool) -> Option<ValueMatch> {
    let pattern = match how {
        "exact" => TextMatch::Exact(what.text()?.into()),
        "prefix" => TextMatch::Prefix(what.nonempty_text()?.into()),
        "suffix" => TextMatch::Suffix(what.nonempty_text()?.into()),
        _ => TextMatch::Contains(what.nonempty_text()?.into()),
    };
    Some(ValueMatch::Text(pattern, ignore_case))
}

fn range_match(reader: &Reader<'_>) -> Option<ValueMatch> {
    let range = reader.object(&["start", "end"], &[])?;
    let bound = |key| match range.field(key) {
        Some(bound) => bound.integer(),
        None => Some(0),
    };
    let (start, end) = (bound("start"), bound("end"));
    Some(ValueMatch::Range(start?..end?))
}
