//! The two sides of one stream's filter.

use std::any::Any;
use std::sync::Arc;

use crate::abi::*;
use crate::{EnvoyBuffer, EnvoyCounterId};

/// The filter of one stream, as the module writes it. Every hook runs on the worker thread that made
/// the filter; what is not written does nothing and lets the stream go on.
pub trait HttpFilter<EHF: EnvoyHttpFilter> {
    /// The request's headers are there; with `end_of_stream`, there is no body.
    fn on_request_headers(
        &mut self,
        _envoy_filter: &mut EHF,
        _end_of_stream: bool,
    ) -> envoy_dynamic_module_type_on_http_filter_request_headers_status {
        envoy_dynamic_module_type_on_http_filter_request_headers_status::Continue
    }

    /// A piece of the request's body is there; with `end_of_stream`, the last.
    fn on_request_body(
        &mut self,
        _envoy_filter: &mut EHF,
        _end_of_stream: bool,
    ) -> envoy_dynamic_module_type_on_http_filter_request_body_status {
        envoy_dynamic_module_type_on_http_filter_request_body_status::Continue
    }

    /// The request's trailers are there.
    fn on_request_trailers(
        &mut self,
        _envoy_filter: &mut EHF,
    ) -> envoy_dynamic_module_type_on_http_filter_request_trailers_status {
        envoy_dynamic_module_type_on_http_filter_request_trailers_status::Continue
    }

    /// The response's headers are there; with `end_of_stream`, there is no body. Not called for a
    /// response this filter sent itself.
    fn on_response_headers(
        &mut self,
        _envoy_filter: &mut EHF,
        _end_of_stream: bool,
    ) -> envoy_dynamic_module_type_on_http_filter_response_headers_status {
        envoy_dynamic_module_type_on_http_filter_response_headers_status::Continue
    }

    /// A piece of the response's body is there; with `end_of_stream`, the last.
    fn on_response_body(
        &mut self,
        _envoy_filter: &mut EHF,
        _end_of_stream: bool,
    ) -> envoy_dynamic_module_type_on_http_filter_response_body_status {
        envoy_dynamic_module_type_on_http_filter_response_body_status::Continue
    }

    /// The response's trailers are there.
    fn on_response_trailers(
        &mut self,
        _envoy_filter: &mut EHF,
    ) -> envoy_dynamic_module_type_on_http_filter_response_trailers_status {
        envoy_dynamic_module_type_on_http_filter_response_trailers_status::Continue
    }

    /// The stream is over; access logs are written next, then the filter is dropped.
    fn on_stream_complete(&mut self, _envoy_filter: &mut EHF) {}
}

/// The filter of one stream, as Envoy keeps it.
///
/// Buffers it hands out borrow it, because a call that changes it may free what they show.
pub trait EnvoyHttpFilter {
    /// The first value of a request header. `key` in lower case; pseudo headers as `:path`.
    fn get_request_header_value<'a>(&'a self, key: &str) -> Option<EnvoyBuffer<'a>>;

    /// All values of a request header, in the order they came; empty when it is absent.
    fn get_request_header_values<'a>(&'a self, key: &str) -> Vec<EnvoyBuffer<'a>>;

    /// Adds a response header, beside any of the same name. `false` when there are no response headers
    /// yet.
    fn add_response_header(&mut self, key: &str, value: &[u8]) -> bool;

    /// Answers the request from here. The filter then returns
    /// [`StopIteration`](envoy_dynamic_module_type_on_http_filter_request_headers_status::StopIteration).
    ///
    /// Envoy makes a gRPC response of it when the request is gRPC. `details` become the stream's
    /// response code details.
    fn send_response<'a>(
        &mut self,
        status_code: u32,
        headers: &'a [(&'a str, &'a [u8])],
        body: Option<&'a [u8]>,
        details: Option<&'a str>,
    );

    /// Notes a short word, without blanks, that access logs show as `%CUSTOM_FLAGS%`.
    fn add_custom_flag(&mut self, flag: &str);

    /// Sets a text in the stream's dynamic metadata, in the place of one that is there. Access logs show it
    /// as `%DYNAMIC_METADATA(namespace:key)%`, other filters can match it.
    fn set_dynamic_metadata_string(&mut self, namespace: &str, key: &str, value: &str);

    /// A text property of the stream; `None` when it has none.
    fn get_attribute_string<'a>(
        &'a self,
        attribute_id: envoy_dynamic_module_type_attribute_id,
    ) -> Option<EnvoyBuffer<'a>>;

    /// What the module's per-route constructor made for the stream's route, or for the closest thing
    /// around it that has such a configuration.
    fn get_most_specific_route_config(&self) -> Option<Arc<dyn Any>>;

    /// Adds to a counter of this filter's configuration.
    ///
    /// # Errors
    /// [`MetricNotFound`](envoy_dynamic_module_type_metrics_result::MetricNotFound) when the counter
    /// belongs to another configuration.
    fn increment_counter(
        &self,
        id: EnvoyCounterId,
        value: u64,
    ) -> Result<(), envoy_dynamic_module_type_metrics_result>;
}
