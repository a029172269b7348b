//! A stand-in for Envoy in unit tests: the callbacks, defined here, so that the linker finds them and
//! tests can call the real hooks. All state is the thread's own, as tests run on threads of their own.

#![allow(unsafe_code, reason = "defines functions that C would define")]

use std::cell::RefCell;
use std::ffi::c_void;

use crate::EnvoyBuffer;
use crate::abi::*;

/// What Envoy knows, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct FakeEnvoy {
    /// Request headers, in order.
    pub(crate) request_headers: Vec<(&'static str, &'static [u8])>,
    /// How often all of them were fetched.
    pub(crate) header_fetches: u32,
    /// Response headers that were added.
    pub(crate) response_headers: Vec<(String, Vec<u8>)>,
    /// The `source.address` attribute.
    pub(crate) source_address: Option<&'static str>,
    /// Status, headers, body and details of every local reply.
    pub(crate) responses: Vec<SentResponse>,
    /// Custom flags, in order.
    pub(crate) flags: Vec<String>,
    /// Dynamic metadata: namespace, key, value, in order.
    pub(crate) metadata: Vec<[String; 3]>,
    /// Counters: name and value, the index is the id.
    pub(crate) counters: Vec<(String, u64)>,
    /// Whether counters can no longer be defined.
    pub(crate) frozen: bool,
    /// What was logged.
    pub(crate) log: Vec<String>,
    /// What the route's configuration hook returned.
    pub(crate) route_config: Option<*const c_void>,
    /// Called while a local reply is sent, as Envoy calls filters then.
    pub(crate) while_replying: Option<fn()>,
}

/// A local reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SentResponse {
    pub(crate) status_code: u32,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) details: Option<Vec<u8>>,
}

thread_local! {
    static ENVOY: RefCell<FakeEnvoy> = RefCell::default();
}

/// Looks at or changes this thread's Envoy.
pub(crate) fn with<R>(look: impl FnOnce(&mut FakeEnvoy) -> R) -> R {
    ENVOY.with_borrow_mut(look)
}

/// The bytes lent by the module, `None` for a null pointer.
fn lent(buffer: envoy_dynamic_module_type_module_buffer) -> Option<Vec<u8>> {
    let raw = envoy_dynamic_module_type_envoy_buffer {
        ptr: buffer.ptr,
        length: buffer.length,
    };
    // SAFETY: the module lends valid bytes for the length of the callback.
    let bytes = unsafe { EnvoyBuffer::from_raw(raw) };
    (!buffer.ptr.is_null()).then(|| bytes.as_slice().to_vec())
}

fn text(buffer: envoy_dynamic_module_type_module_buffer) -> String {
    String::from_utf8(lent(buffer).unwrap_or_default()).unwrap()
}

fn shown(bytes: &'static [u8]) -> envoy_dynamic_module_type_envoy_buffer {
    envoy_dynamic_module_type_envoy_buffer {
        ptr: bytes.as_ptr().cast(),
        length: bytes.len(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log_enabled(_level: u32) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log(
    _level: u32,
    message: envoy_dynamic_module_type_module_buffer,
) {
    with(|envoy| envoy.log.push(text(message)));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_counter(
    _config: *mut c_void,
    name: envoy_dynamic_module_type_module_buffer,
    _label_names: *mut envoy_dynamic_module_type_module_buffer,
    _label_names_length: usize,
    counter_id: *mut usize,
) -> u32 {
    with(|envoy| {
        if envoy.frozen {
            return 3;
        }
        // SAFETY: points to the module's variable.
        unsafe { counter_id.write(envoy.counters.len()) };
        envoy.counters.push((text(name), 0));
        0
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_increment_counter(
    _filter: *mut c_void,
    id: usize,
    _label_values: *mut envoy_dynamic_module_type_module_buffer,
    _label_values_length: usize,
    value: u64,
) -> u32 {
    with(|envoy| match envoy.counters.get_mut(id) {
        Some((_, count)) => {
            *count += value;
            0
        }
        None => 1,
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_header(
    _filter: *mut c_void,
    header_type: envoy_dynamic_module_type_http_header_type,
    key: envoy_dynamic_module_type_module_buffer,
    result: *mut envoy_dynamic_module_type_envoy_buffer,
    index: usize,
    count: *mut usize,
) -> bool {
    assert_eq!(
        header_type,
        envoy_dynamic_module_type_http_header_type::RequestHeader
    );
    let key = text(key);
    let values: Vec<_> = with(|envoy| {
        let headers = envoy.request_headers.iter();
        headers
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| *value)
            .collect()
    });
    // SAFETY: points to the module's variable.
    unsafe { count.write(values.len()) };
    let value = values.get(index);
    if let Some(value) = value {
        // SAFETY: as above.
        unsafe { result.write(shown(value)) };
    }
    value.is_some()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_headers_size(
    _filter: *mut c_void,
    header_type: envoy_dynamic_module_type_http_header_type,
) -> usize {
    assert_eq!(
        header_type,
        envoy_dynamic_module_type_http_header_type::RequestHeader
    );
    with(|envoy| envoy.request_headers.len())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_headers(
    _filter: *mut c_void,
    header_type: envoy_dynamic_module_type_http_header_type,
    result: *mut envoy_dynamic_module_type_envoy_http_header,
) -> bool {
    assert_eq!(
        header_type,
        envoy_dynamic_module_type_http_header_type::RequestHeader
    );
    let headers = with(|envoy| {
        envoy.header_fetches += 1;
        envoy.request_headers.clone()
    });
    for (index, (name, value)) in headers.into_iter().enumerate() {
        let header = envoy_dynamic_module_type_envoy_http_header {
            key_ptr: name.as_ptr().cast(),
            key_length: name.len(),
            value_ptr: value.as_ptr().cast(),
            value_length: value.len(),
        };
        // SAFETY: the module has room for as many headers as it was told there are.
        let place = unsafe { result.add(index) };
        // SAFETY: as above.
        unsafe { place.write(header) };
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_add_header(
    _filter: *mut c_void,
    header_type: envoy_dynamic_module_type_http_header_type,
    key: envoy_dynamic_module_type_module_buffer,
    value: envoy_dynamic_module_type_module_buffer,
) -> bool {
    assert_eq!(
        header_type,
        envoy_dynamic_module_type_http_header_type::ResponseHeader
    );
    with(|envoy| {
        envoy
            .response_headers
            .push((text(key), lent(value).unwrap()));
    });
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_send_response(
    _filter: *mut c_void,
    status_code: u32,
    headers: *mut envoy_dynamic_module_type_module_http_header,
    headers_length: usize,
    body: envoy_dynamic_module_type_module_buffer,
    details: envoy_dynamic_module_type_module_buffer,
) {
    // SAFETY: the module lends that many headers.
    let headers = unsafe { std::slice::from_raw_parts(headers, headers_length) };
    let bytes = |ptr, length| lent(envoy_dynamic_module_type_module_buffer { ptr, length });
    let headers = headers
        .iter()
        .map(|header| {
            let key = bytes(header.key_ptr, header.key_length);
            (
                key.unwrap(),
                bytes(header.value_ptr, header.value_length).unwrap(),
            )
        })
        .collect();
    let response = SentResponse {
        status_code,
        headers,
        body: lent(body),
        details: lent(details),
    };
    let while_replying = with(|envoy| {
        envoy.responses.push(response);
        envoy.while_replying
    });
    if let Some(while_replying) = while_replying {
        while_replying();
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_add_custom_flag(
    _filter: *mut c_void,
    flag: envoy_dynamic_module_type_module_buffer,
) {
    with(|envoy| envoy.flags.push(text(flag)));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_set_dynamic_metadata_string(
    _filter: *mut c_void,
    namespace: envoy_dynamic_module_type_module_buffer,
    key: envoy_dynamic_module_type_module_buffer,
    value: envoy_dynamic_module_type_module_buffer,
) {
    let entry = [namespace, key, value].map(text);
    with(|envoy| envoy.metadata.push(entry));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
    _filter: *mut c_void,
    attribute_id: envoy_dynamic_module_type_attribute_id,
    result: *mut envoy_dynamic_module_type_envoy_buffer,
) -> bool {
    assert_eq!(
        attribute_id,
        envoy_dynamic_module_type_attribute_id::SourceAddress
    );
    let address = with(|envoy| envoy.source_address);
    if let Some(address) = address {
        // SAFETY: points to the module's variable.
        unsafe { result.write(shown(address.as_bytes())) };
    }
    address.is_some()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_get_most_specific_route_config(
    _filter: *mut c_void,
) -> *const c_void {
    with(|envoy| envoy.route_config).unwrap_or(std::ptr::null())
}
