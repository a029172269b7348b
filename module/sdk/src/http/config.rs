//! The two sides of a filter configuration.

use crate::abi::envoy_dynamic_module_type_metrics_result;
use crate::{EnvoyCounterId, EnvoyHttpFilter, HttpFilter};

/// A filter configuration, as the module keeps it: made once, shared by all worker threads.
pub trait HttpFilterConfig<EHF: EnvoyHttpFilter>: Send + Sync {
    /// Makes the filter of one stream, on the worker thread that will run it.
    fn new_http_filter(&self, envoy: &mut EHF) -> Box<dyn HttpFilter<EHF>>;
}

/// A filter configuration, as Envoy keeps it.
pub trait EnvoyHttpFilterConfig {
    /// Defines a counter. It appears in Envoy's stats as the module's metrics namespace (by default
    /// `dynamicmodulescustom`), a dot, and `name`.
    ///
    /// # Errors
    /// [`Frozen`](envoy_dynamic_module_type_metrics_result::Frozen) once the configuration is made.
    fn define_counter(
        &mut self,
        name: &str,
    ) -> Result<EnvoyCounterId, envoy_dynamic_module_type_metrics_result>;
}
