//! A per-route configuration is made and dropped.

#![allow(unsafe_code, reason = "exports functions that C calls with pointers")]

use std::any::Any;
use std::sync::Arc;

use super::config::utf8_name;
use crate::abi::{
    envoy_dynamic_module_type_envoy_buffer,
    envoy_dynamic_module_type_http_filter_per_route_config_module_ptr,
};
use crate::envoy_log_error;
use crate::guard::guard;
use crate::{EnvoyBuffer, NEW_HTTP_FILTER_PER_ROUTE_CONFIG_FUNCTION};

/// What the module's per-route pointer points to.
pub(crate) struct RouteConfig(pub(crate) Arc<dyn Any>);

/// # Safety
/// Called by Envoy: the pointers are live for the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    name: envoy_dynamic_module_type_envoy_buffer,
    config: envoy_dynamic_module_type_envoy_buffer,
) -> envoy_dynamic_module_type_http_filter_per_route_config_module_ptr {
    guard("http_filter_per_route_config_new", std::ptr::null(), || {
        // SAFETY: live for the call.
        let name = unsafe { EnvoyBuffer::from_raw(name) };
        // SAFETY: live for the call.
        let config = unsafe { EnvoyBuffer::from_raw(config) };
        let new = NEW_HTTP_FILTER_PER_ROUTE_CONFIG_FUNCTION.get();
        if new.is_none() {
            envoy_log_error!(
                "this module has no per-route configuration; remove it from the route"
            );
        }
        let made = utf8_name(&name)
            .zip(new)
            .and_then(|(name, new)| new(name, config.as_slice()));
        match made {
            Some(made) => Box::into_raw(Box::new(RouteConfig(Arc::from(made))))
                .cast_const()
                .cast(),
            None => std::ptr::null(),
        }
    })
}

/// # Safety
/// Called by Envoy: `config` came from the hook above and is not used again.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(
    config: envoy_dynamic_module_type_http_filter_per_route_config_module_ptr,
) {
    guard("http_filter_per_route_config_destroy", (), || {
        if !config.is_null() {
            // SAFETY: not null, so it is the box made above, and it comes back once.
            drop(unsafe { Box::from_raw(config.cast::<RouteConfig>().cast_mut()) });
        }
    });
}
