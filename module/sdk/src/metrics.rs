//! Handles of metrics, and how callbacks about them end.

use crate::abi::envoy_dynamic_module_type_metrics_result;

/// A counter of one filter configuration, from
/// [`EnvoyHttpFilterConfig::define_counter`](crate::EnvoyHttpFilterConfig::define_counter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvoyCounterId(pub(crate) usize);

impl EnvoyCounterId {
    /// A handle with this number, for a test's stand-in of Envoy. Envoy itself checks every handle it
    /// gets.
    pub fn new(number: usize) -> Self {
        Self(number)
    }
}

/// Reads the number a callback returned.
pub(crate) fn metrics_result(code: u32) -> Result<(), envoy_dynamic_module_type_metrics_result> {
    use envoy_dynamic_module_type_metrics_result as MetricsResult;
    match code {
        0 => Ok(()),
        2 => Err(MetricsResult::InvalidLabels),
        3 => Err(MetricsResult::Frozen),
        // 1, and whatever a later Envoy may add: the metric was not touched.
        _ => Err(MetricsResult::MetricNotFound),
    }
}
