use super::*;
use crate::actions::Action;
use crate::header_matcher::{HeaderMatcher, TextMatch, ValueMatch};

fn settings(json: &str) -> FilterSettings {
    filter_settings(json.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// The `rate_limits` of this JSON list.
pub(crate) fn rate_limits(list: &str) -> Box<[RateLimit]> {
    settings(&format!(r#"{{"domain": "edge", "rate_limits": {list}}}"#))
        .policy
        .rate_limits
}

/// A matcher with the name `h` and these other fields.
pub(crate) fn header_matcher(fields: &str) -> HeaderMatcher {
    let value = serde_json::from_str(&format!(r#"{{"name": "h", {fields}}}"#)).unwrap();
    let problems = Problems::default();
    let matcher = matchers::header_matcher(&Reader::root(&value, &problems));
    assert_eq!(problems.into_vec(), []);
    matcher.unwrap()
}

/// The problems of a configuration, as a user reads them.
fn problems(json: &str) -> Vec<String> {
    let error = filter_settings(json.as_bytes()).expect_err("accepted");
    error.problems.iter().map(ToString::to_string).collect()
}

fn problems_of_actions(actions: &str) -> Vec<String> {
    problems(&format!(
        r#"{{"domain": "edge", "rate_limits": [{{"actions": [{actions}]}}]}}"#
    ))
}

#[test]
fn what_is_not_said_has_defaults() {
    let settings = settings(r#"{"domain": "edge"}"#);
    let policy = settings.policy;
    assert_eq!(*policy.domain, *b"edge");
    assert_eq!(policy.region, PathBuf::from("/dev/shm/hivemind/region"));
    assert_eq!(policy.region_owner, None);
    assert!(policy.rate_limits.is_empty());
    assert!(!policy.failure_mode_deny);
    assert_eq!(settings.stat_prefix, "");
    assert_eq!(
        policy.answers,
        Answers {
            limited_status: 429,
            limited_as_resource_exhausted: false,
            error_status: 500,
            x_envoy_ratelimited: true,
            x_ratelimit_headers: false,
        }
    );
}

#[test]
fn everything_can_be_said() {
    let settings = settings(
        r#"{
            "domain": "edge",
            "region": "/run/hivemind/region",
            "region_owner": 65532,
            "failure_mode_deny": true,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
            "disable_x_envoy_ratelimited_header": true,
            "rate_limited_status": {"code": 503},
            "rate_limited_as_resource_exhausted": true,
            "status_on_error": {"code": 502},
            "stat_prefix": "api",
            "rate_limits": []
        }"#,
    );
    assert_eq!(settings.stat_prefix, "api");
    assert!(settings.policy.failure_mode_deny);
    assert_eq!(settings.policy.region_owner, Some(User::of_id(65_532)));
    assert_eq!(
        settings.policy.region,
        PathBuf::from("/run/hivemind/region")
    );
    assert_eq!(
        settings.policy.answers,
        Answers {
            limited_status: 503,
            limited_as_resource_exhausted: true,
            error_status: 502,
            x_envoy_ratelimited: false,
            x_ratelimit_headers: true,
        }
    );
}

#[test]
fn a_limited_status_that_looks_like_success_becomes_429() {
    let settings = settings(r#"{"domain": "edge", "rate_limited_status": {"code": 302}}"#);
    assert_eq!(settings.policy.answers.limited_status, 429);
}

#[test]
fn null_is_the_same_as_leaving_out() {
    let settings =
        settings(r#"{"domain": "edge", "region": null, "rate_limits": null, "stat_prefix": null}"#);
    assert!(settings.policy.rate_limits.is_empty());
}

#[test]
fn actions_are_read_in_the_shape_of_a_route() {
    let rate_limits = rate_limits(
        r#"[
            {"actions": [
                {"request_headers": {"header_name": "X-User", "descriptor_key": "user"}},
                {"request_headers":
                    {"header_name": "x-plan", "descriptor_key": "plan", "skip_if_absent": true}}
            ]},
            {"actions": [
                {"remote_address": {}},
                {"generic_key": {"descriptor_value": "all"}},
                {"generic_key": {"descriptor_value": "b", "descriptor_key": "tier"}},
                {"header_value_match": {
                    "descriptor_value": "write",
                    "expect_match": false,
                    "headers": [{"name": ":Method", "string_match": {"exact": "GET"}}]
                }}
            ]}
        ]"#,
    );
    assert_eq!(
        *rate_limits[0].actions,
        [
            Action::RequestHeaders {
                header: "x-user".into(),
                key: b"user".as_slice().into(),
                skip_if_absent: false
            },
            Action::RequestHeaders {
                header: "x-plan".into(),
                key: b"plan".as_slice().into(),
                skip_if_absent: true
            },
        ]
    );
    let [remote_address, generic, tier, matched] = &*rate_limits[1].actions else {
        panic!("{rate_limits:?}")
    };
    assert_eq!(*remote_address, Action::RemoteAddress);
    let generic_key = |key: &[u8], value: &[u8]| Action::GenericKey {
        key: key.into(),
        value: value.into(),
    };
    assert_eq!(*generic, generic_key(b"generic_key", b"all"));
    assert_eq!(*tier, generic_key(b"tier", b"b"));
    let Action::HeaderValueMatch {
        key,
        value,
        expect_match,
        matchers,
    } = matched
    else {
        panic!("{matched:?}")
    };
    assert_eq!(
        (&**key, &**value),
        (b"header_match".as_slice(), b"write".as_slice())
    );
    assert!(!expect_match);
    assert_eq!(&*matchers[0].name, ":method");
    assert_eq!(
        matchers[0].value,
        ValueMatch::Text(TextMatch::Exact("GET".into()), false)
    );
}

#[test]
fn numbers_of_64_bits_may_be_texts() {
    let matcher = header_matcher(
        r#""range_match": {"start": "-9223372036854775808", "end": 9223372036854775807}"#,
    );
    assert_eq!(matcher.value, ValueMatch::Range(i64::MIN..i64::MAX));
}

#[test]
fn all_problems_are_told_at_once_and_where_they_are() {
    assert_eq!(
        problems(
            r#"{
                "domian": "edge",
                "failure_mode_deny": "yes",
                "rate_limited_status": {"code": 99},
                "status_on_error": {},
                "enable_x_ratelimit_headers": "DRAFT_VERSION_04",
                "rate_limits": [
                    {"actions": []},
                    {"actions": [{"generic_key": {"descriptor_value": ""}}], "stage": 1},
                    7
                ]
            }"#
        ),
        [
            "domian: is not known; known are domain, region, region_owner, failure_mode_deny, rate_limits, \
             enable_x_ratelimit_headers, disable_x_envoy_ratelimited_header, \
             rate_limited_status, rate_limited_as_resource_exhausted, status_on_error, \
             stat_prefix",
            "domain: is missing",
            "rate_limits[0].actions: must have at least one action",
            "rate_limits[1].stage: is not supported here: every rate limit of the filter applies; \
             use one filter for each stage",
            "rate_limits[1].actions[0].generic_key.descriptor_value: must not be empty",
            "rate_limits[2]: must be an object, not a number",
            "enable_x_ratelimit_headers: must be OFF or DRAFT_VERSION_03, not \
             \"DRAFT_VERSION_04\"",
            "rate_limited_status.code: must be within 200 and 599, not 99",
            "status_on_error.code: is missing",
            "failure_mode_deny: must be true or false, not a text",
        ]
    );
}

#[test]
fn actions_that_are_not_there_yet_are_told_from_those_that_never_were() {
    assert_eq!(
        problems_of_actions(r#"{"source_cluster": {}}"#),
        [
            "rate_limits[0].actions[0].source_cluster: is not supported here: this version of the \
             filter has the actions request_headers, remote_address, generic_key and \
             header_value_match"
        ]
    );
    assert_eq!(
        problems_of_actions(r#"{"request_header": {}}"#),
        [
            "rate_limits[0].actions[0].request_header: is not known; known are request_headers, \
             remote_address, generic_key, header_value_match"
        ]
    );
    assert_eq!(
        problems_of_actions("{}"),
        [
            "rate_limits[0].actions[0]: must name an action: one of request_headers, \
             remote_address, generic_key, header_value_match"
        ]
    );
    assert_eq!(
        problems_of_actions(
            r#"{"remote_address": {}, "generic_key": {"descriptor_value": "all"}}"#
        ),
        ["rate_limits[0].actions[0]: remote_address and generic_key exclude each other"]
    );
    assert_eq!(
        problems_of_actions(r#"{"remote_address": {"mask": 24}}"#),
        ["rate_limits[0].actions[0].remote_address.mask: is not known; nothing can be set here"]
    );
}

#[test]
fn regular_expressions_are_refused_with_a_way_out() {
    let in_match = |matcher: &str| {
        problems_of_actions(&format!(
            r#"{{"header_value_match":
                {{"descriptor_value": "x", "headers": [{{"name": "h", {matcher}}}]}}}}"#
        ))
    };
    let path = "rate_limits[0].actions[0].header_value_match.headers[0]";
    let advice = "is not supported here: regular expressions cost too much here; use exact, \
                  prefix, suffix or contains";
    assert_eq!(
        in_match(r#""string_match": {"safe_regex": {"regex": ".*"}}"#),
        [format!("{path}.string_match.safe_regex: {advice}")]
    );
    assert_eq!(
        in_match(r#""safe_regex_match": {"regex": ".*"}"#),
        [format!("{path}.safe_regex_match: {advice}")]
    );
    assert_eq!(
        in_match(r#""string_match": {"ignore_case": true}"#),
        [format!(
            "{path}.string_match: must have one of exact, prefix, suffix, contains"
        )]
    );
    assert_eq!(
        in_match(r#""range_match": {"start": 1.5}"#),
        [format!(
            "{path}.range_match.start: must be a whole number of 64 bits"
        )]
    );
    assert_eq!(
        in_match(r#""string_match": {"prefix": ""}"#),
        [format!("{path}.string_match.prefix: must not be empty")]
    );
}

#[test]
fn a_header_name_with_a_line_break_is_refused() {
    assert_eq!(
        problems_of_actions(
            r#"{"request_headers": {"header_name": "a\nb", "descriptor_key": "k"}}"#
        ),
        ["rate_limits[0].actions[0].request_headers.header_name: is not the name of a header"]
    );
}

#[test]
fn a_route_has_no_stats_of_its_own() {
    assert!(route_policy(br#"{"domain": "edge"}"#).is_ok());
    let error = route_policy(br#"{"domain": "edge", "stat_prefix": "x"}"#).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("stat_prefix: cannot be set on a route"),
        "{error}"
    );
}

#[test]
fn bytes_that_are_no_json_object_are_refused() {
    for bytes in [
        b"".as_slice(),
        b"\xff\xfe",
        b"{",
        b"[]",
        b"\"domain\"",
        b"{}x",
    ] {
        let error = filter_settings(bytes).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
    }
}
