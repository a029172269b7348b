//! Types of the C interface. Enums carry the numbers of the C header; names are those of the header,
//! so that code written against another SDK for the same interface reads the same.

#![allow(non_camel_case_types, reason = "the names are the C header's")]

use std::ffi::{CStr, c_char, c_void};

/// The version of the interface that [`crate::declare_init_functions`] reports to Envoy.
///
/// Envoy 1.40 has this version. 1.38 and 1.39 have an older one and log a warning at start; every
/// function and type used here is the same in all three.
pub const ABI_VERSION: &CStr = c"v0.2.0";

/// Envoy's side of an HTTP filter configuration.
pub type envoy_dynamic_module_type_http_filter_config_envoy_ptr = *mut c_void;
/// The module's side of an HTTP filter configuration.
pub type envoy_dynamic_module_type_http_filter_config_module_ptr = *const c_void;
/// The module's side of a per-route configuration.
pub type envoy_dynamic_module_type_http_filter_per_route_config_module_ptr = *const c_void;
/// Envoy's side of the HTTP filter of one stream.
pub type envoy_dynamic_module_type_http_filter_envoy_ptr = *mut c_void;
/// The module's side of the HTTP filter of one stream.
pub type envoy_dynamic_module_type_http_filter_module_ptr = *const c_void;

/// Bytes that Envoy owns.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct envoy_dynamic_module_type_envoy_buffer {
    /// The first byte; may be null when `length` is 0.
    pub ptr: *const c_char,
    /// How many bytes.
    pub length: usize,
}

/// Bytes that the module owns, lent to Envoy for the length of one call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct envoy_dynamic_module_type_module_buffer {
    /// The first byte; null stands for "none" where a callback says so.
    pub ptr: *const c_char,
    /// How many bytes.
    pub length: usize,
}

impl envoy_dynamic_module_type_module_buffer {
    /// Lends these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr().cast(),
            length: bytes.len(),
        }
    }

    /// No buffer at all, which is not the same as an empty one.
    pub(crate) fn none() -> Self {
        Self {
            ptr: std::ptr::null(),
            length: 0,
        }
    }
}

/// A header that the module owns, lent to Envoy for the length of one call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct envoy_dynamic_module_type_module_http_header {
    /// The name's first byte.
    pub key_ptr: *const c_char,
    /// The name's length in bytes.
    pub key_length: usize,
    /// The value's first byte.
    pub value_ptr: *const c_char,
    /// The value's length in bytes.
    pub value_length: usize,
}

/// A header that Envoy owns.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct envoy_dynamic_module_type_envoy_http_header {
    /// The name's first byte.
    pub key_ptr: *const c_char,
    /// The name's length in bytes.
    pub key_length: usize,
    /// The value's first byte.
    pub value_ptr: *const c_char,
    /// The value's length in bytes.
    pub value_length: usize,
}

/// Which of a stream's header maps is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_http_header_type {
    /// The request's headers.
    RequestHeader = 0,
    /// The request's trailers.
    RequestTrailer = 1,
    /// The response's headers.
    ResponseHeader = 2,
    /// The response's trailers.
    ResponseTrailer = 3,
}

/// Envoy's log levels, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_log_level {
    /// For the author of the code.
    Trace = 0,
    /// For whoever looks for a fault.
    Debug = 1,
    /// What happened.
    Info = 2,
    /// What somebody should look at.
    Warn = 3,
    /// What does not work.
    Error = 4,
    /// What stops the process.
    Critical = 5,
    /// Nothing.
    Off = 6,
}

/// How a callback about metrics ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_metrics_result {
    /// It was done.
    Success = 0,
    /// There is no metric with this id in the configuration the filter belongs to.
    MetricNotFound = 1,
    /// The number of label values is not the number of labels the metric was defined with.
    InvalidLabels = 2,
    /// Metrics can only be defined while the configuration is being made.
    Frozen = 3,
}

/// A property of the stream that Envoy computes. Only what a filter of this workspace reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum envoy_dynamic_module_type_attribute_id {
    /// `source.address`: the downstream address Envoy trusts, with its port.
    SourceAddress = 24,
}

/// What happens to the request's headers after the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_on_http_filter_request_headers_status {
    /// On to the next filter.
    Continue = 0,
    /// No further filter sees them until the filter says so, or ever after a local reply.
    StopIteration = 1,
    /// On to the next filter, which is told that more follows.
    ContinueAndDontEndStream = 2,
    /// As `StopIteration`, for body and trailers as well; the body is buffered.
    StopAllIterationAndBuffer = 3,
    /// As `StopIteration`, for body and trailers as well; the sender is slowed down.
    StopAllIterationAndWatermark = 4,
}

/// What happens to a piece of the request's body after the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_on_http_filter_request_body_status {
    /// On to the next filter.
    Continue = 0,
    /// Kept, and buffered without a bound.
    StopIterationAndBuffer = 1,
    /// Kept, and the sender is slowed down.
    StopIterationAndWatermark = 2,
    /// Kept back without a buffer.
    StopIterationNoBuffer = 3,
}

/// What happens to the request's trailers after the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_on_http_filter_request_trailers_status {
    /// On to the next filter.
    Continue = 0,
    /// No further filter sees them until the filter says so.
    StopIteration = 1,
}

/// What happens to the response's headers after the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_on_http_filter_response_headers_status {
    /// On to the next filter.
    Continue = 0,
    /// No further filter sees them until the filter says so.
    StopIteration = 1,
    /// On to the next filter, which is told that more follows.
    ContinueAndDontEndStream = 2,
    /// As `StopIteration`, for body and trailers as well; the body is buffered.
    StopAllIterationAndBuffer = 3,
    /// As `StopIteration`, for body and trailers as well; the sender is slowed down.
    StopAllIterationAndWatermark = 4,
}

/// What happens to a piece of the response's body after the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_on_http_filter_response_body_status {
    /// On to the next filter.
    Continue = 0,
    /// Kept, and buffered without a bound.
    StopIterationAndBuffer = 1,
    /// Kept, and the sender is slowed down.
    StopIterationAndWatermark = 2,
    /// Kept back without a buffer.
    StopIterationNoBuffer = 3,
}

/// What happens to the response's trailers after the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum envoy_dynamic_module_type_on_http_filter_response_trailers_status {
    /// On to the next filter.
    Continue = 0,
    /// No further filter sees them until the filter says so.
    StopIteration = 1,
}

/// What happens to a local reply after every filter was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum LocalReplyStatus {
    /// It is sent.
    Continue = 0,
}
