//! Functions that Envoy exports to modules.
//!
//! Only functions that Envoy 1.38, 1.39 and 1.40 all export: the dynamic linker refuses a module
//! with a symbol it cannot resolve. Results that C declares as an enum come in as plain numbers,
//! because a number this crate does not know would be undefined behaviour as a Rust enum.

#![allow(unsafe_code, reason = "declares functions of another language")]

use super::types::*;

unsafe extern "C" {
    /// Whether a message of this level would be written.
    pub(crate) safe fn envoy_dynamic_module_callback_log_enabled(
        level: envoy_dynamic_module_type_log_level,
    ) -> bool;

    /// Writes a message to Envoy's log. `message` must be valid for the call.
    pub(crate) fn envoy_dynamic_module_callback_log(
        level: envoy_dynamic_module_type_log_level,
        message: envoy_dynamic_module_type_module_buffer,
    );

    /// Defines a counter and writes its id to `counter_id`. `config` must be live, `name` valid for
    /// the call, `label_names` valid for `label_names_length` elements or null with length 0.
    pub(crate) fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: envoy_dynamic_module_type_http_filter_config_envoy_ptr,
        name: envoy_dynamic_module_type_module_buffer,
        label_names: *mut envoy_dynamic_module_type_module_buffer,
        label_names_length: usize,
        counter_id: *mut usize,
    ) -> u32;

    /// Adds to a counter. `filter` must be live, `label_values` as above.
    pub(crate) fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        id: usize,
        label_values: *mut envoy_dynamic_module_type_module_buffer,
        label_values_length: usize,
        value: u64,
    ) -> u32;

    /// Reads the `index`th value of a header into `result`, and the number of values into `count`
    /// unless that is null. `filter` must be live and `key` valid for the call. What `result` points
    /// to stays valid until the hook ends or a setter is called.
    pub(crate) fn envoy_dynamic_module_callback_http_get_header(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        header_type: envoy_dynamic_module_type_http_header_type,
        key: envoy_dynamic_module_type_module_buffer,
        result: *mut envoy_dynamic_module_type_envoy_buffer,
        index: usize,
        count: *mut usize,
    ) -> bool;

    /// How many headers there are. `filter` must be live.
    pub(crate) fn envoy_dynamic_module_callback_http_get_headers_size(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        header_type: envoy_dynamic_module_type_http_header_type,
    ) -> usize;

    /// Writes all headers to `result`, which must have room for as many as the function above says.
    /// `filter` must be live. What they point to stays valid until the hook ends or a setter is called.
    pub(crate) fn envoy_dynamic_module_callback_http_get_headers(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        header_type: envoy_dynamic_module_type_http_header_type,
        result: *mut envoy_dynamic_module_type_envoy_http_header,
    ) -> bool;

    /// Adds a header, beside any of the same name. `filter` must be live, `key` and `value` valid for
    /// the call.
    pub(crate) fn envoy_dynamic_module_callback_http_add_header(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        header_type: envoy_dynamic_module_type_http_header_type,
        key: envoy_dynamic_module_type_module_buffer,
        value: envoy_dynamic_module_type_module_buffer,
    ) -> bool;

    /// Answers the request from here. `filter` must be live, `headers` valid for `headers_length`
    /// elements, and everything lent valid for the call. Calls hooks of this module before it returns.
    pub(crate) fn envoy_dynamic_module_callback_http_send_response(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        status_code: u32,
        headers: *mut envoy_dynamic_module_type_module_http_header,
        headers_length: usize,
        body: envoy_dynamic_module_type_module_buffer,
        details: envoy_dynamic_module_type_module_buffer,
    );

    /// Notes an event in the stream's info. `filter` must be live, `flag` valid for the call.
    pub(crate) fn envoy_dynamic_module_callback_http_add_custom_flag(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        flag: envoy_dynamic_module_type_module_buffer,
    );

    /// Sets a text in the stream's dynamic metadata, in the place of one that is there. `filter` must be
    /// live; namespace, key and value valid for the call.
    pub(crate) fn envoy_dynamic_module_callback_http_set_dynamic_metadata_string(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        namespace: envoy_dynamic_module_type_module_buffer,
        key: envoy_dynamic_module_type_module_buffer,
        value: envoy_dynamic_module_type_module_buffer,
    );

    /// Reads an attribute into `result`. `filter` must be live. What `result` points to stays valid
    /// until the hook ends or a setter is called.
    pub(crate) fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
        attribute_id: envoy_dynamic_module_type_attribute_id,
        result: *mut envoy_dynamic_module_type_envoy_buffer,
    ) -> bool;

    /// What the module's own per-route constructor returned for the stream's route, or null.
    /// `filter` must be live.
    pub(crate) fn envoy_dynamic_module_callback_get_most_specific_route_config(
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
    ) -> envoy_dynamic_module_type_http_filter_per_route_config_module_ptr;
}
