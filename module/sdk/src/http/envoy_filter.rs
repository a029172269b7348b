//! One stream's filter inside Envoy.

#![allow(unsafe_code, reason = "calls Envoy")]

use std::any::Any;
use std::sync::Arc;

use crate::abi::envoy_dynamic_module_type_http_header_type::{RequestHeader, ResponseHeader};
use crate::abi::*;
use crate::hooks::RouteConfig;
use crate::http::request_headers::RequestHeaders;
use crate::metrics::metrics_result;
use crate::{EnvoyBuffer, EnvoyCounterId, EnvoyHttpFilter};

/// The most headers [`EnvoyHttpFilter::send_response`] passes on without allocating.
const HEADERS_INLINE: usize = 8;

/// The real [`EnvoyHttpFilter`], for the length of a hook.
#[derive(Debug)]
pub struct EnvoyHttpFilterImpl {
    // Invariant: a live filter of Envoy's, on its own worker thread.
    raw: envoy_dynamic_module_type_http_filter_envoy_ptr,
    // Every method that takes `&mut self` forgets them first: it may change what they show.
    request_headers: RequestHeaders,
}

impl EnvoyHttpFilterImpl {
    /// Takes the pointer a hook was called with.
    ///
    /// # Safety
    /// `raw` is the one Envoy passed to the running hook, and the value does not outlive the hook.
    #[inline]
    pub(crate) unsafe fn new(raw: envoy_dynamic_module_type_http_filter_envoy_ptr) -> Self {
        Self {
            raw,
            request_headers: RequestHeaders::new(),
        }
    }

    /// All request headers, unless there are too many to fetch.
    #[inline]
    fn all_request_headers(
        &self,
    ) -> Option<impl Iterator<Item = (EnvoyBuffer<'_>, EnvoyBuffer<'_>)>> {
        // SAFETY: `raw` is live and does not change (invariant), and only methods that take `&mut self`
        // change headers; they forget what was fetched.
        unsafe { self.request_headers.all(self.raw) }
    }

    /// The `index`th value of a request header, and how many there are, from Envoy's index.
    fn request_header<'a>(&'a self, key: &str, index: usize) -> (Option<EnvoyBuffer<'a>>, usize) {
        let mut value = no_bytes();
        let mut count = 0_usize;
        // SAFETY: `raw` is live (invariant); key, value and count outlive the call.
        let found = unsafe {
            callbacks::envoy_dynamic_module_callback_http_get_header(
                self.raw,
                RequestHeader,
                envoy_dynamic_module_type_module_buffer::of(key.as_bytes()),
                &raw mut value,
                index,
                &raw mut count,
            )
        };
        if !found {
            return (None, count);
        }
        // SAFETY: Envoy keeps the bytes until a setter is called, and setters need `&mut self`.
        (Some(unsafe { EnvoyBuffer::from_raw(value) }), count)
    }
}

impl EnvoyHttpFilter for EnvoyHttpFilterImpl {
    #[inline]
    fn get_request_header_value<'a>(&'a self, key: &str) -> Option<EnvoyBuffer<'a>> {
        if !has_place_of_its_own(key)
            && let Some(mut headers) = self.all_request_headers()
        {
            let found = headers.find(|(name, _)| name.as_slice() == key.as_bytes());
            return found.map(|(_, value)| value);
        }
        self.request_header(key, 0).0
    }

    fn get_request_header_values<'a>(&'a self, key: &str) -> Vec<EnvoyBuffer<'a>> {
        if !has_place_of_its_own(key)
            && let Some(headers) = self.all_request_headers()
        {
            let named = headers.filter(|(name, _)| name.as_slice() == key.as_bytes());
            return named.map(|(_, value)| value).collect();
        }
        let (first, count) = self.request_header(key, 0);
        let Some(first) = first else {
            return Vec::new();
        };
        let mut values = Vec::with_capacity(count);
        values.push(first);
        values.extend((1..count).map_while(|index| self.request_header(key, index).0));
        values
    }

    fn add_response_header(&mut self, key: &str, value: &[u8]) -> bool {
        self.request_headers.forget();
        // SAFETY: `raw` is live (invariant); key and value outlive the call, and Envoy copies them.
        unsafe {
            callbacks::envoy_dynamic_module_callback_http_add_header(
                self.raw,
                ResponseHeader,
                envoy_dynamic_module_type_module_buffer::of(key.as_bytes()),
                envoy_dynamic_module_type_module_buffer::of(value),
            )
        }
    }

    fn send_response<'a>(
        &mut self,
        status_code: u32,
        headers: &'a [(&'a str, &'a [u8])],
        body: Option<&'a [u8]>,
        details: Option<&'a str>,
    ) {
        self.request_headers.forget();
        let mut inline = [lent_header(("", b"")); HEADERS_INLINE];
        let mut many;
        let lent: &mut [envoy_dynamic_module_type_module_http_header] =
            if let Some(room) = inline.get_mut(..headers.len()) {
                for (lent, header) in room.iter_mut().zip(headers) {
                    *lent = lent_header(*header);
                }
                room
            } else {
                many = headers
                    .iter()
                    .map(|header| lent_header(*header))
                    .collect::<Vec<_>>();
                &mut many
            };
        let none = envoy_dynamic_module_type_module_buffer::none();
        // SAFETY: `raw` is live (invariant); headers, body and details outlive the call, and Envoy
        // copies them before it returns. The hooks it calls meanwhile leave this filter alone, see
        // `hooks::cell`.
        unsafe {
            callbacks::envoy_dynamic_module_callback_http_send_response(
                self.raw,
                status_code,
                lent.as_mut_ptr(),
                lent.len(),
                body.map_or(none, envoy_dynamic_module_type_module_buffer::of),
                details.map_or(none, |text| {
                    envoy_dynamic_module_type_module_buffer::of(text.as_bytes())
                }),
            );
        }
    }

    fn add_custom_flag(&mut self, flag: &str) {
        self.request_headers.forget();
        // SAFETY: `raw` is live (invariant); the flag outlives the call, and Envoy copies it.
        unsafe {
            callbacks::envoy_dynamic_module_callback_http_add_custom_flag(
                self.raw,
                envoy_dynamic_module_type_module_buffer::of(flag.as_bytes()),
            );
        }
    }

    fn set_dynamic_metadata_string(&mut self, namespace: &str, key: &str, value: &str) {
        self.request_headers.forget();
        // SAFETY: `raw` is live (invariant); the texts outlive the call, and Envoy copies them.
        unsafe {
            callbacks::envoy_dynamic_module_callback_http_set_dynamic_metadata_string(
                self.raw,
                envoy_dynamic_module_type_module_buffer::of(namespace.as_bytes()),
                envoy_dynamic_module_type_module_buffer::of(key.as_bytes()),
                envoy_dynamic_module_type_module_buffer::of(value.as_bytes()),
            );
        }
    }

    fn get_attribute_string<'a>(
        &'a self,
        attribute_id: envoy_dynamic_module_type_attribute_id,
    ) -> Option<EnvoyBuffer<'a>> {
        let mut value = no_bytes();
        // SAFETY: `raw` is live (invariant); value outlives the call.
        let found = unsafe {
            callbacks::envoy_dynamic_module_callback_http_filter_get_attribute_string(
                self.raw,
                attribute_id,
                &raw mut value,
            )
        };
        // SAFETY: Envoy keeps the bytes until a setter is called, and setters need `&mut self`.
        found.then(|| unsafe { EnvoyBuffer::from_raw(value) })
    }

    fn get_most_specific_route_config(&self) -> Option<Arc<dyn Any>> {
        // SAFETY: `raw` is live (invariant).
        let config = unsafe {
            callbacks::envoy_dynamic_module_callback_get_most_specific_route_config(self.raw)
        };
        // SAFETY: Envoy returns null or what the module's per-route hook returned, and keeps the
        // route, and so that value, as long as the stream.
        let config = unsafe { config.cast::<RouteConfig>().as_ref() };
        config.map(|config| Arc::clone(&config.0))
    }

    #[inline]
    fn increment_counter(
        &self,
        id: EnvoyCounterId,
        value: u64,
    ) -> Result<(), envoy_dynamic_module_type_metrics_result> {
        // SAFETY: `raw` is live (invariant); no labels are passed. Envoy checks the id.
        let code = unsafe {
            callbacks::envoy_dynamic_module_callback_http_filter_increment_counter(
                self.raw,
                id.0,
                std::ptr::null_mut(),
                0,
                value,
            )
        };
        metrics_result(code)
    }
}

/// Whether Envoy finds a header without an index: pseudo headers, and `host`, by which name it also
/// knows `:authority`.
#[inline]
fn has_place_of_its_own(key: &str) -> bool {
    key.starts_with(':') || key == "host"
}

/// A place for Envoy to write a buffer to.
fn no_bytes() -> envoy_dynamic_module_type_envoy_buffer {
    envoy_dynamic_module_type_envoy_buffer {
        ptr: std::ptr::null(),
        length: 0,
    }
}

/// Lends a header for the length of one call.
fn lent_header((key, value): (&str, &[u8])) -> envoy_dynamic_module_type_module_http_header {
    envoy_dynamic_module_type_module_http_header {
        key_ptr: key.as_ptr().cast(),
        key_length: key.len(),
        value_ptr: value.as_ptr().cast(),
        value_length: value.len(),
    }
}
