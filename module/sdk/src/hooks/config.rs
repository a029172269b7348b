//! A filter configuration is made and dropped.

#![allow(unsafe_code, reason = "exports functions that C calls with pointers")]

use crate::abi::{
    envoy_dynamic_module_type_envoy_buffer, envoy_dynamic_module_type_http_filter_config_envoy_ptr,
    envoy_dynamic_module_type_http_filter_config_module_ptr,
};
use crate::envoy_log_error;
use crate::guard::guard;
use crate::{
    EnvoyBuffer, EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, HttpFilterConfig,
    NEW_HTTP_FILTER_CONFIG_FUNCTION,
};

/// What the module's configuration pointer points to.
pub(super) type Config = Box<dyn HttpFilterConfig<EnvoyHttpFilterImpl>>;

/// # Safety
/// Called by Envoy: the pointers are live for the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy_config: envoy_dynamic_module_type_http_filter_config_envoy_ptr,
    name: envoy_dynamic_module_type_envoy_buffer,
    config: envoy_dynamic_module_type_envoy_buffer,
) -> envoy_dynamic_module_type_http_filter_config_module_ptr {
    guard("http_filter_config_new", std::ptr::null(), || {
        // SAFETY: live for the call, and the value ends with it.
        let mut envoy_config = unsafe { EnvoyHttpFilterConfigImpl::new(envoy_config) };
        // SAFETY: live for the call.
        let name = unsafe { EnvoyBuffer::from_raw(name) };
        // SAFETY: live for the call.
        let config = unsafe { EnvoyBuffer::from_raw(config) };
        let made = utf8_name(&name)
            .zip(NEW_HTTP_FILTER_CONFIG_FUNCTION.get())
            .and_then(|(name, new)| new(&mut envoy_config, name, config.as_slice()));
        match made {
            Some(made) => Box::into_raw(Box::<Config>::new(made)).cast_const().cast(),
            None => std::ptr::null(),
        }
    })
}

/// # Safety
/// Called by Envoy: `config` came from the hook above and is not used again.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(
    config: envoy_dynamic_module_type_http_filter_config_module_ptr,
) {
    guard("http_filter_config_destroy", (), || {
        if !config.is_null() {
            // SAFETY: not null, so it is the box made above, and it comes back once.
            drop(unsafe { Box::from_raw(config.cast::<Config>().cast_mut()) });
        }
    });
}

/// The name in the configuration, which protobuf has as text.
pub(super) fn utf8_name<'a>(name: &'a EnvoyBuffer<'_>) -> Option<&'a str> {
    let text = std::str::from_utf8(name.as_slice());
    if text.is_err() {
        envoy_log_error!("the filter name is not UTF-8; write it as text in Envoy's configuration");
    }
    text.ok()
}
