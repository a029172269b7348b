//! Reading `rate_limits`, in the shape of Envoy's route configuration.

use super::matchers;
use super::reader::{NotSupported, Object, Reader};
use crate::actions::{Action, RateLimit};

/// What a rate limit of Envoy's can have beside its actions.
const RATE_LIMIT_NOT_SUPPORTED: &[NotSupported] = &[
    (
        "stage",
        "every rate limit of the filter applies; use one filter for each stage",
    ),
    (
        "disable_key",
        "there are no runtime keys in a module; use a per-route configuration",
    ),
    ("limit", "write the limit in the rules"),
    ("hits_addend", "every request counts one hit"),
    (
        "apply_on_stream_done",
        "hits are counted when the request arrives",
    ),
    (
        "x_ratelimit_option",
        "use enable_x_ratelimit_headers of the filter",
    ),
];

/// The actions there are.
const ACTIONS: &[&str] = &[
    "request_headers",
    "remote_address",
    "generic_key",
    "header_value_match",
];

/// Envoy's other actions.
const ACTIONS_NOT_SUPPORTED: &[NotSupported] = &[
    ("masked_remote_address", NOT_THIS_ACTION),
    ("query_parameters", NOT_THIS_ACTION),
    ("query_parameter_value_match", NOT_THIS_ACTION),
    ("source_cluster", NOT_THIS_ACTION),
    ("destination_cluster", NOT_THIS_ACTION),
    ("metadata", NOT_THIS_ACTION),
    ("dynamic_metadata", NOT_THIS_ACTION),
    ("extension", NOT_THIS_ACTION),
];

const NOT_THIS_ACTION: &str = "this version of the filter has the actions request_headers, \
     remote_address, generic_key and header_value_match";

/// Envoy evaluates this one only with a runtime flag that is off by default.
const DEFAULT_VALUE: NotSupported = (
    "default_value",
    "descriptor_value is taken as it is written, so there is always a value",
);

/// One element of `rate_limits`.
pub(super) fn rate_limit(reader: &Reader<'_>) -> Option<RateLimit> {
    let rate_limit = reader.object(&["actions"], RATE_LIMIT_NOT_SUPPORTED)?;
    let list = rate_limit.required("actions")?;
    let mut is_empty = true;
    let actions = list.elements(|element| {
        is_empty = false;
        action(&element)
    });
    if is_empty {
        list.problem("must have at least one action");
    }
    Some(RateLimit {
        actions: actions.into(),
    })
}

fn action(reader: &Reader<'_>) -> Option<Action> {
    let action = reader.object(ACTIONS, ACTIONS_NOT_SUPPORTED)?;
    if action.is_empty() {
        action.problem(format!(
            "must name an action: one of {}",
            ACTIONS.join(", ")
        ));
        return None;
    }
    let (name, body) = action.at_most_one_of(ACTIONS)?;
    match name {
        "request_headers" => request_headers(&body),
        "remote_address" => body.object(&[], &[]).map(|_| Action::RemoteAddress),
        "generic_key" => generic_key(&body),
        _ => header_value_match(&body),
    }
}

fn request_headers(reader: &Reader<'_>) -> Option<Action> {
    let body = reader.object(&["header_name", "descriptor_key", "skip_if_absent"], &[])?;
    let header = header_name(&body, "header_name");
    let key = body
        .required("descriptor_key")
        .and_then(|key| key.nonempty_text());
    let skip_if_absent = body.flag("skip_if_absent");
    Some(Action::RequestHeaders {
        header: header?,
        key: key?.as_bytes().into(),
        skip_if_absent,
    })
}

fn generic_key(reader: &Reader<'_>) -> Option<Action> {
    let body = reader.object(&["descriptor_value", "descriptor_key"], &[DEFAULT_VALUE])?;
    let value = body
        .required("descriptor_value")
        .and_then(|value| value.nonempty_text());
    let key = descriptor_key(&body, "generic_key");
    Some(Action::GenericKey {
        key: key?,
        value: value?.as_bytes().into(),
    })
}

fn header_value_match(reader: &Reader<'_>) -> Option<Action> {
    let body = reader.object(
        &[
            "descriptor_value",
            "descriptor_key",
            "expect_match",
            "headers",
        ],
        &[DEFAULT_VALUE],
    )?;
    let value = body
        .required("descriptor_value")
        .and_then(|value| value.nonempty_text());
    let key = descriptor_key(&body, "header_match");
    let expect_match = match body.field("expect_match") {
        Some(flag) => flag.boolean(),
        None => Some(true),
    };
    let list = body.required("headers")?;
    let mut is_empty = true;
    let matchers = list.elements(|element| {
        is_empty = false;
        matchers::header_matcher(&element)
    });
    if is_empty {
        list.problem("must have at least one header");
    }
    Some(Action::HeaderValueMatch {
        key: key?,
        value: value?.as_bytes().into(),
        expect_match: expect_match?,
        matchers: matchers.into(),
    })
}

/// An optional key of a descriptor entry; the empty one is the default, as in protobuf.
fn descriptor_key(body: &Object<'_>, default: &str) -> Option<Box<[u8]>> {
    let key = match body.field("descriptor_key") {
        Some(key) => key.text()?,
        None => "",
    };
    Some(if key.is_empty() { default } else { key }.as_bytes().into())
}

/// The name of a request header, in lower case as Envoy keeps them.
pub(super) fn header_name(body: &Object<'_>, key: &'static str) -> Option<Box<str>> {
    let field = body.required(key)?;
    let name = field.nonempty_text()?;
    if name
        .bytes()
        .any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'))
    {
        field.problem("is not the name of a header");
        return None;
    }
    Some(name.to_ascii_lowercase().into())
}
