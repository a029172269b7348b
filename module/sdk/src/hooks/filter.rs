//! What happens on a stream.

#![allow(unsafe_code, reason = "exports functions that C calls with pointers")]

use super::cell::FilterCell;
use super::config::Config;
use crate::EnvoyHttpFilterImpl;
use crate::abi::{
    envoy_dynamic_module_type_http_filter_config_module_ptr as ConfigPointer,
    envoy_dynamic_module_type_http_filter_envoy_ptr as EnvoyPointer,
    envoy_dynamic_module_type_http_filter_module_ptr as FilterPointer,
    envoy_dynamic_module_type_on_http_filter_request_body_status as RequestBodyStatus,
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_request_trailers_status as RequestTrailersStatus,
    envoy_dynamic_module_type_on_http_filter_response_body_status as ResponseBodyStatus,
    envoy_dynamic_module_type_on_http_filter_response_headers_status as ResponseHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_response_trailers_status as ResponseTrailersStatus,
};
use crate::guard::guard;

/// # Safety
/// Called by Envoy on the stream's worker: `config` came from the module and is live, `envoy` is live.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: ConfigPointer,
    envoy: EnvoyPointer,
) -> FilterPointer {
    guard("http_filter_new", std::ptr::null(), || {
        // SAFETY: what `http_filter_config_new` returned; Envoy keeps it as long as its streams.
        let Some(config) = (unsafe { config.cast::<Config>().as_ref() }) else {
            return std::ptr::null();
        };
        // SAFETY: live for the call, and the value ends with it.
        let mut envoy = unsafe { EnvoyHttpFilterImpl::new(envoy) };
        FilterCell::into_raw(config.new_http_filter(&mut envoy))
    })
}

/// # Safety
/// Called by Envoy on the stream's worker, last of all: `filter` is not used again.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: FilterPointer) {
    guard("http_filter_destroy", (), || {
        // SAFETY: what `http_filter_new` returned, on the same thread, for the last time.
        unsafe { FilterCell::destroy(filter) };
    });
}

/// Exports a hook that calls a method of the filter with these further arguments.
///
/// Every hook of a stream has the same form and the same proof.
macro_rules! export_stream_hook {
    ($hook:ident, $method:ident($($argument:ident: $type:ty),*) -> $status:ty, else $otherwise:expr) => {
        /// # Safety
        /// Called by Envoy on the stream's worker: `envoy` is live, and `filter` is what
        /// `http_filter_new` returned and was not destroyed.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(
            envoy: EnvoyPointer,
            filter: FilterPointer
            $(, $argument: $type)*
        ) -> $status {
            guard(stringify!($method), $otherwise, || {
                // SAFETY: live for the call, and the value ends with it.
                let mut envoy = unsafe { EnvoyHttpFilterImpl::new(envoy) };
                // SAFETY: Envoy calls with the filter's own pointer, on its own thread.
                unsafe {
                    FilterCell::enter(filter, $otherwise, |filter| {
                        filter.$method(&mut envoy $(, $argument)*)
                    })
                }
            })
        }
    };
}

export_stream_hook!(
    envoy_dynamic_module_on_http_filter_request_headers,
    on_request_headers(end_of_stream: bool) -> RequestHeadersStatus,
    else RequestHeadersStatus::Continue
);
export_stream_hook!(
    envoy_dynamic_module_on_http_filter_request_body,
    on_request_body(end_of_stream: bool) -> RequestBodyStatus,
    else RequestBodyStatus::Continue
);
export_stream_hook!(
    envoy_dynamic_module_on_http_filter_request_trailers,
    on_request_trailers() -> RequestTrailersStatus,
    else RequestTrailersStatus::Continue
);
export_stream_hook!(
    envoy_dynamic_module_on_http_filter_response_headers,
    on_response_headers(end_of_stream: bool) -> ResponseHeadersStatus,
    else ResponseHeadersStatus::Continue
);
export_stream_hook!(
    envoy_dynamic_module_on_http_filter_response_body,
    on_response_body(end_of_stream: bool) -> ResponseBodyStatus,
    else ResponseBodyStatus::Continue
);
export_stream_hook!(
    envoy_dynamic_module_on_http_filter_response_trailers,
    on_response_trailers() -> ResponseTrailersStatus,
    else ResponseTrailersStatus::Continue
);
export_stream_hook!(
    envoy_dynamic_module_on_http_filter_stream_complete,
    on_stream_complete() -> (),
    else ()
);
