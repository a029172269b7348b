//! `/json`: the Rate Limit Service without gRPC, one call as one JSON document each way, as
//! envoyproxy/ratelimit has it. The documents are the JSON form of the protobuf messages.

mod number;

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor as descriptor;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response as response;
use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use hivemind_shared::yaml::printable;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::number::Number;
use super::calls::Outcome;
use super::dynamic_metadata;
use super::rate_limit::{RateLimit, RateLimitError};

/// The largest body that is read, the same as for gRPC.
pub(super) const BODY_SIZE_MAX: usize = 1024 * 1024;

/// Why a call is wrong.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(
        "a call is JSON, and has to say so: send `content-type: application/json` (with curl, -H \
         'content-type: application/json')"
    )]
    ContentType,
    #[error("{}", .0.body_text())]
    Body(#[from] BytesRejection),
    /// The message repeats parts of the body.
    #[error("the body is no call: {}", printable(&.0.to_string()))]
    Json(#[from] serde_json::Error),
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(rejection) => rejection.status(),
            Self::Json(_) => StatusCode::BAD_REQUEST,
        };
        wrong(status, &self)
    }
}

/// Answers one call: 200 within the limit, 429 over it, 400 or what fits better when the call is wrong.
pub(super) async fn should_rate_limit(
    State(rate_limit): State<RateLimit>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request = match read(&headers, body) {
        Ok(request) => request,
        Err(error) => {
            rate_limit.counts().ended(Outcome::Malformed);
            return error.into_response();
        }
    };
    match rate_limit.answer(&request) {
        Ok(answer) => {
            let status = match answer.overall_code() {
                response::Code::Ok => StatusCode::OK,
                response::Code::OverLimit => StatusCode::TOO_MANY_REQUESTS,
                response::Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, axum::Json(Answer::from(&answer))).into_response()
        }
        Err(
            error @ (RateLimitError::EmptyDomain
            | RateLimitError::EmptyDescriptorList
            | RateLimitError::TooManyRequestLimits),
        ) => wrong(StatusCode::BAD_REQUEST, &error),
        // envoyproxy/ratelimit says 400 here too, but that hides our fault behind the caller's.
        Err(error @ (RateLimitError::NoRules | RateLimitError::Undecided(_))) => {
            wrong(StatusCode::SERVICE_UNAVAILABLE, &error)
        }
    }
}

fn read(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<RateLimitRequest, CallError> {
    // Pages of other sites may send every type but this one without having asked whether they may.
    if !is_json(headers) {
        return Err(CallError::ContentType);
    }
    let request: Request = serde_json::from_slice(&body?)?;
    Ok(request.into())
}

/// Whether the body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|it| it.to_str());
    let Some(Ok(content_type)) = content_type else {
        return false;
    };
    let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media_type = media_type.trim().to_ascii_lowercase();
    media_type
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn wrong(status: StatusCode, error: &dyn std::error::Error) -> Response {
    (status, format!("{error}\n")).into_response()
}

/// `RateLimitRequest`. In the JSON form of protobuf every field may be left out or `null`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request {
    domain: Option<String>,
    descriptors: Option<Vec<Descriptor>>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Number<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Descriptor {
    entries: Option<Vec<Entry>>,
    limit: Option<LimitOverride>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Number<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LimitOverride {
    #[serde(alias = "requests_per_unit")]
    requests_per_unit: Option<Number<u32>>,
    unit: Option<Unit>,
    #[serde(alias = "unit_multiplier")]
    unit_multiplier: Option<Number<u32>>,
}

impl From<Request> for RateLimitRequest {
    fn from(request: Request) -> Self {
        Self {
            domain: request.domain.unwrap_or_default(),
            descriptors: request
                .descriptors
                .unwrap_or_default()
                .into_iter()
                .map(RateLimitDescriptor::from)
                .collect(),
            hits_addend: request.hits_addend.map_or(0, |addend| addend.0),
        }
    }
}

impl From<Descriptor> for RateLimitDescriptor {
    fn from(descriptor: Descriptor) -> Self {
        let entry = |entry: Entry| descriptor::Entry {
            key: entry.key.unwrap_or_default().into(),
            value: entry.value.unwrap_or_default().into(),
        };
        Self {
            entries: descriptor
                .entries
                .unwrap_or_default()
                .into_iter()
                .map(entry)
                .collect(),
            limit: descriptor.limit.map(|limit| descriptor::RateLimitOverride {
                requests_per_unit: limit.requests_per_unit.map_or(0, |number| number.0),
                unit: limit.unit.map_or(0, |unit| unit.0),
                unit_multiplier: limit.unit_multiplier.map(|number| number.0),
            }),
            hits_addend: descriptor.hits_addend.map(|addend| addend.0),
        }
    }
}

/// A unit's number, written as its name or its number.
struct Unit(i32);

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if json.starts_with('"') {
            let name: Cow<'_, str> = serde_json::from_str(json).map_err(D::Error::custom)?;
            let unit = response::rate_limit::Unit::from_str_name(&name);
            return unit.map(|unit| Self(unit.into())).ok_or_else(|| {
                D::Error::custom(format_args!("the unit '{}' is not known", printable(&name)))
            });
        }
        Number::of(json)
            .map(|Number(number)| Self(number))
            .map_err(D::Error::custom)
    }
}

/// `RateLimitResponse`. What has its default value is left out, as the JSON form of protobuf has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    overall_code: &'static str,
    statuses: Vec<Status<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_headers_to_add: Vec<Header<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic_metadata: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Header<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_limit: Option<Limit<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    limit_remaining: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_until_reset: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limit<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    requests_per_unit: u32,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_multiplier: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

/// Whether a field has its default value; serde hands it over by reference.
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl<'a> From<&'a RateLimitResponse> for Answer<'a> {
    fn from(response: &'a RateLimitResponse) -> Self {
        Self {
            overall_code: response.overall_code().as_str_name(),
            statuses: response.statuses.iter().map(Status::from).collect(),
            response_headers_to_add: response
                .response_headers_to_add
                .iter()
                .map(|header| Header {
                    key: &header.key,
                    value: &header.value,
                })
                .collect(),
            dynamic_metadata: response
                .dynamic_metadata
                .as_ref()
                .map(dynamic_metadata::json),
        }
    }
}

impl<'a> From<&'a response::DescriptorStatus> for Status<'a> {
    fn from(status: &'a response::DescriptorStatus) -> Self {
        Self {
            code: status.code().as_str_name(),
            current_limit: status.current_limit.as_ref().map(|limit| Limit {
                requests_per_unit: limit.requests_per_unit,
                unit: limit.unit().as_str_name(),
                unit_multiplier: limit.unit_multiplier,
                name: &limit.name,
            }),
            limit_remaining: status.limit_remaining,
            // Windows are whole seconds long.
            duration_until_reset: status
                .duration_until_reset
                .map(|duration| format!("{}s", duration.seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<RateLimitRequest> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        super::read(&headers, Ok(Bytes::from(json.to_owned()))).ok()
    }

    #[test]
    fn a_request_is_read_in_either_case_with_numbers_as_text() {
        let camel = r#"{"domain":"d","descriptors":[{"entries":[{"key":"k","value":"v"}],
            "limit":{"requestsPerUnit":5,"unit":"HOUR","unitMultiplier":2},"hitsAddend":"2"}],
            "hitsAddend":1}"#;
        let snake = r#"{"domain":"d","descriptors":[{"entries":[{"key":"k","value":"v"}],
            "limit":{"requests_per_unit":"5","unit":3,"unit_multiplier":"2"},"hits_addend":2}],
            "hits_addend":"1"}"#;
        let request = read(camel).unwrap();
        assert_eq!(Some(&request), read(snake).as_ref());
        assert_eq!((request.domain.as_str(), request.hits_addend), ("d", 1));
        let descriptor = &request.descriptors[0];
        assert_eq!(&descriptor.entries[0].value[..], b"v");
        assert_eq!(descriptor.hits_addend, Some(2));
        assert_eq!(descriptor.limit.unwrap().requests_per_unit, 5);
        assert_eq!(descriptor.limit.unwrap().unit, 3);
        assert_eq!(descriptor.limit.unwrap().unit_multiplier, Some(2));
    }

    #[test]
    fn numbers_are_read_as_the_json_form_of_protobuf_has_them() {
        for (json, number) in [
            ("1", 1),
            ("1.0", 1),
            ("1e0", 1),
            ("20E-1", 2),
            (r#""3.0""#, 3),
        ] {
            let wanted = Some(number);
            let call = read(&format!(r#"{{"hitsAddend":{json}}}"#));
            assert_eq!(call.map(|call| call.hits_addend), wanted, "{json}");
            let call = read(&format!(
                r#"{{"descriptors":[{{"hits_addend":{json},
                    "limit":{{"requests_per_unit":{json},"unit":{json}}}}}]}}"#
            ));
            // Units have names, so a number in quotes is none.
            if json.starts_with('"') {
                assert_eq!(call, None, "{json}");
                continue;
            }
            let descriptor = &call.unwrap().descriptors[0];
            assert_eq!(descriptor.hits_addend, wanted.map(u64::from), "{json}");
            let limit = descriptor.limit.unwrap();
            assert_eq!(Some(limit.requests_per_unit), wanted, "{json}");
            assert_eq!(u32::try_from(limit.unit).ok(), wanted, "{json}");
        }
        let call = read(r#"{"descriptors":[{"hitsAddend":"18446744073709551615.0"}]}"#);
        assert_eq!(call.unwrap().descriptors[0].hits_addend, Some(u64::MAX));
    }

    #[test]
    fn what_is_left_out_or_null_has_its_default() {
        let empty = Some(RateLimitRequest::default());
        assert_eq!(read("{}"), empty);
        assert_eq!(
            read(r#"{"domain":null,"descriptors":null,"hitsAddend":null}"#),
            empty
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for wrong in [
            "",
            "[]",
            "{",
            r#"{"domian":"d"}"#,
            r#"{"domain":5}"#,
            r#"{"hitsAddend":-1}"#,
            r#"{"hitsAddend":4294967296}"#,
            r#"{"hitsAddend":1.5}"#,
            r#"{"hitsAddend":"x"}"#,
            r#"{"hitsAddend":""}"#,
            r#"{"hitsAddend":true}"#,
            r#"{"hitsAddend":[1]}"#,
            r#"{"hitsAddend":1,"hits_addend":1}"#,
            r#"{"descriptors":[{"limit":{"unit":"FORTNIGHT"}}]}"#,
            r#"{"descriptors":[{"entries":[{"kye":"k"}]}]}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_answer_leaves_out_what_has_its_default() {
        let response = RateLimitResponse {
            overall_code: response::Code::OverLimit.into(),
            statuses: vec![
                response::DescriptorStatus {
                    code: response::Code::OverLimit.into(),
                    current_limit: Some(response::RateLimit {
                        requests_per_unit: 5,
                        unit: response::rate_limit::Unit::Hour.into(),
                        unit_multiplier: None,
                        name: String::new(),
                    }),
                    limit_remaining: 0,
                    duration_until_reset: Some(prost_types::Duration {
                        seconds: 3_599,
                        nanos: 0,
                    }),
                },
                response::DescriptorStatus {
                    code: response::Code::Ok.into(),
                    current_limit: Some(response::RateLimit {
                        unit: response::rate_limit::Unit::Minute.into(),
                        unit_multiplier: Some(5),
                        ..response::RateLimit::default()
                    }),
                    ..response::DescriptorStatus::default()
                },
                response::DescriptorStatus {
                    code: response::Code::Ok.into(),
                    limit_remaining: 7,
                    ..response::DescriptorStatus::default()
                },
            ],
            ..RateLimitResponse::default()
        };
        assert_eq!(
            serde_json::to_string(&Answer::from(&response)).unwrap(),
            r#"{"overallCode":"OVER_LIMIT","statuses":[{"code":"OVER_LIMIT","currentLimit":{"requestsPerUnit":5,"unit":"HOUR"},"durationUntilReset":"3599s"},{"code":"OK","currentLimit":{"unit":"MINUTE","unitMultiplier":5}},{"code":"OK","limitRemaining":7}]}"#
        );
    }
}
