//! gRPC requests, whose answers carry a status of their own.
//!
//! Envoy turns a module's local reply to a gRPC request into a gRPC response, but with the status OK
//! unless the reply brings a `grpc-status` along.

use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;

/// RESOURCE_EXHAUSTED.
pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;

/// Whether Envoy will make a gRPC response of a local reply to this request: its content type is
/// `application/grpc` or begins with `application/grpc+`.
pub(crate) fn is_grpc(request: &impl EnvoyHttpFilter) -> bool {
    let content_type = request.get_request_header_value("content-type");
    content_type
        .as_ref()
        .and_then(|content_type| content_type.as_slice().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// The gRPC status that stands for an HTTP status, by gRPC's own table.
pub(crate) fn status_of(http_status: u32) -> u32 {
    match http_status {
        // INTERNAL
        400 => 13,
        // UNAUTHENTICATED
        401 => 16,
        // PERMISSION_DENIED
        403 => 7,
        // UNIMPLEMENTED
        404 => 12,
        // UNAVAILABLE
        429 | 502 | 503 | 504 => 14,
        // UNKNOWN
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::FakeEnvoy;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        let is = |content_type| is_grpc(&FakeEnvoy::with_headers([("content-type", content_type)]));
        assert!(is("application/grpc"));
        assert!(is("application/grpc+proto"));
        assert!(!is("application/grpc-web"));
        assert!(!is("application/grpc;x"));
        assert!(!is("application/json"));
        assert!(!is_grpc(&FakeEnvoy::default()));
    }

    #[test]
    fn limited_and_failed_calls_have_the_statuses_envoy_gives_them() {
        assert_eq!(status_of(429), 14);
        assert_eq!(status_of(503), 14);
        assert_eq!(status_of(500), 2);
    }
}
