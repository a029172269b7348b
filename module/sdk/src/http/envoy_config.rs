//! A filter configuration inside Envoy.

#![allow(unsafe_code, reason = "calls Envoy")]

use crate::abi::{
    callbacks, envoy_dynamic_module_type_http_filter_config_envoy_ptr,
    envoy_dynamic_module_type_metrics_result, envoy_dynamic_module_type_module_buffer,
};
use crate::metrics::metrics_result;
use crate::{EnvoyCounterId, EnvoyHttpFilterConfig};

/// The real [`EnvoyHttpFilterConfig`], for the length of a hook.
#[derive(Debug)]
pub struct EnvoyHttpFilterConfigImpl {
    // Invariant: a live configuration of Envoy's, on its main thread.
    raw: envoy_dynamic_module_type_http_filter_config_envoy_ptr,
}

impl EnvoyHttpFilterConfigImpl {
    /// Takes the pointer a hook was called with.
    ///
    /// # Safety
    /// `raw` is the one Envoy passed to the running hook, and the value does not outlive the hook.
    pub(crate) unsafe fn new(raw: envoy_dynamic_module_type_http_filter_config_envoy_ptr) -> Self {
        Self { raw }
    }
}

impl EnvoyHttpFilterConfig for EnvoyHttpFilterConfigImpl {
    fn define_counter(
        &mut self,
        name: &str,
    ) -> Result<EnvoyCounterId, envoy_dynamic_module_type_metrics_result> {
        let mut id = 0_usize;
        // SAFETY: `raw` is live (invariant); name and id outlive the call; no labels are passed.
        let code = unsafe {
            callbacks::envoy_dynamic_module_callback_http_filter_config_define_counter(
                self.raw,
                envoy_dynamic_module_type_module_buffer::of(name.as_bytes()),
                std::ptr::null_mut(),
                0,
                &raw mut id,
            )
        };
        metrics_result(code)?;
        Ok(EnvoyCounterId(id))
    }
}
