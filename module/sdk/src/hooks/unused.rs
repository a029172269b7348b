//! Hooks that Envoy insists on finding, for things this part of the SDK does not do: callouts, streams
//! of the module's own, scheduled events, flow control of terminal filters. They never come, and would
//! be ignored. A local reply is known to the filter that sent it; others need not hear of it.

#![allow(unsafe_code, reason = "exports functions that C calls with pointers")]

use std::ffi::c_void;

use crate::abi::{
    LocalReplyStatus, envoy_dynamic_module_type_envoy_buffer,
    envoy_dynamic_module_type_http_filter_config_envoy_ptr as EnvoyConfigPointer,
    envoy_dynamic_module_type_http_filter_config_module_ptr as ConfigPointer,
    envoy_dynamic_module_type_http_filter_envoy_ptr as EnvoyPointer,
    envoy_dynamic_module_type_http_filter_module_ptr as FilterPointer,
};

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_local_reply(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _response_code: u32,
    _details: envoy_dynamic_module_type_envoy_buffer,
    _reset_imminent: bool,
) -> LocalReplyStatus {
    LocalReplyStatus::Continue
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_callout_done(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _callout_id: u64,
    _result: u32,
    _headers: *const c_void,
    _headers_size: usize,
    _body_chunks: *const c_void,
    _body_chunks_size: usize,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_headers(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _stream_id: u64,
    _headers: *const c_void,
    _headers_size: usize,
    _end_stream: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_data(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _stream_id: u64,
    _data: *const c_void,
    _data_count: usize,
    _end_stream: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _stream_id: u64,
    _trailers: *const c_void,
    _trailers_size: usize,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_complete(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _stream_id: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_reset(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _stream_id: u64,
    _reason: u32,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
    _event_id: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _envoy_config: EnvoyConfigPointer,
    _config: ConfigPointer,
    _event_id: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
    _envoy: EnvoyPointer,
    _filter: FilterPointer,
) {
}
