//! `/json`: the Rate Limit Service without gRPC, one call as one JSON document each way, as
//! envoyproxy/ratelimit has it. The documents are the JSON form of the protobuf messages.

use std::fmt;

use super::dynamic_metadata;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor as descriptor;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response as response;
use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::calls::Outcome;
use super::rate_limit::{RateLimit, RateLimitError};

/// The largest body that is read, the same as for gRPC.
pub(super) const BODY_SIZE_MAX: usize = 1024 * 1024;

/// Answers one call: 200 within the limit, 429 over it, 400 when the call is wrong.
pub(super) async fn should_rate_limit(
    State(rate_limit): State<RateLimit>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request = body
        .ok()
        .and_then(|body| serde_json::from_slice::<Request>(&body).ok());
    let Some(request) = request else {
        rate_limit.counts().ended(Outcome::Malformed);
        return bad_request();
    };
    match rate_limit.answer(&request.into()) {
        Ok(answer) => {
            let status = match answer.overall_code() {
                response::Code::Ok => StatusCode::OK,
                response::Code::OverLimit => StatusCode::TOO_MANY_REQUESTS,
                response::Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, axum::Json(Answer::from(&answer))).into_response()
        }
        Err(RateLimitError::EmptyDomain | RateLimitError::EmptyDescriptorList) => bad_request(),
        // envoyproxy/ratelimit says 400 here too, but that hides our fault behind the caller's.
        Err(error @ (RateLimitError::NoRules | RateLimitError::Undecided(_))) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
        }
    }
}

fn bad_request() -> Response {
    (StatusCode::BAD_REQUEST, "Bad Request\n").into_response()
}

/// `RateLimitRequest`. In the JSON form of protobuf every field may be left out or `null`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request {
    domain: Option<String>,
    descriptors: Option<Vec<Descriptor>>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Unsigned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Descriptor {
    entries: Option<Vec<Entry>>,
    limit: Option<LimitOverride>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Unsigned<u64>>,
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
    requests_per_unit: Option<Unsigned<u32>>,
    unit: Option<Unit>,
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
            }),
            hits_addend: descriptor.hits_addend.map(|addend| addend.0),
        }
    }
}

/// An unsigned number, written as a number or as a text.
struct Unsigned<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Unsigned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unsigned64;

        impl Visitor<'_> for Unsigned64 {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an unsigned number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
                Ok(number)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
                text.parse().map_err(E::custom)
            }
        }

        let number = deserializer.deserialize_any(Unsigned64)?;
        let narrow =
            T::try_from(number).map_err(|_| de::Error::custom("the number is too large"))?;
        Ok(Self(narrow))
    }
}

/// A unit's number, written as its name or its number.
struct Unit(i32);

impl<'de> Deserialize<'de> for Unit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NameOrNumber {
            Name(String),
            Number(i32),
        }

        match NameOrNumber::deserialize(deserializer)? {
            NameOrNumber::Name(name) => response::rate_limit::Unit::from_str_name(&name)
                .map(|unit| Self(unit.into()))
                .ok_or_else(|| de::Error::custom("the unit is not known")),
            NameOrNumber::Number(number) => Ok(Self(number)),
        }
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
        serde_json::from_str::<Request>(json)
            .ok()
            .map(RateLimitRequest::from)
    }

    #[test]
    fn a_request_is_read_in_either_case_with_numbers_as_text() {
        let camel = r#"{"domain":"d","descriptors":[{"entries":[{"key":"k","value":"v"}],
            "limit":{"requestsPerUnit":5,"unit":"HOUR"},"hitsAddend":"2"}],"hitsAddend":1}"#;
        let snake = r#"{"domain":"d","descriptors":[{"entries":[{"key":"k","value":"v"}],
            "limit":{"requests_per_unit":"5","unit":3},"hits_addend":2}],"hits_addend":"1"}"#;
        let request = read(camel).unwrap();
        assert_eq!(Some(&request), read(snake).as_ref());
        assert_eq!((request.domain.as_str(), request.hits_addend), ("d", 1));
        let descriptor = &request.descriptors[0];
        assert_eq!(&descriptor.entries[0].value[..], b"v");
        assert_eq!(descriptor.hits_addend, Some(2));
        assert_eq!(descriptor.limit.unwrap().requests_per_unit, 5);
        assert_eq!(descriptor.limit.unwrap().unit, 3);
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
            r#"{"hitsAddend":"x"}"#,
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
                    limit_remaining: 7,
                    ..response::DescriptorStatus::default()
                },
            ],
            ..RateLimitResponse::default()
        };
        assert_eq!(
            serde_json::to_string(&Answer::from(&response)).unwrap(),
            r#"{"overallCode":"OVER_LIMIT","statuses":[{"code":"OVER_LIMIT","currentLimit":{"requestsPerUnit":5,"unit":"HOUR"},"durationUntilReset":"3599s"},{"code":"OK","limitRemaining":7}]}"#
        );
    }
}
