//! An HTTP filter that does nothing: the least any module costs, and the floor that other filters'
//! instructions are counted from.
//!
//! Build it with `cargo build --package envoy-proxy-dynamic-modules-rust-sdk --example empty`, and
//! have Envoy load `libempty.so` with the module name `empty` and any filter name.

use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyHttpFilter, EnvoyHttpFilterConfig, HttpFilter, HttpFilterConfig, declare_init_functions,
};

declare_init_functions!(init, new_filter_config);

fn init() -> bool {
    true
}

fn new_filter_config<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    _envoy: &mut EC,
    _filter_name: &str,
    _config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    Some(Box::new(EmptyConfig))
}

struct EmptyConfig;

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for EmptyConfig {
    fn new_http_filter(&self, _envoy: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        Box::new(EmptyFilter)
    }
}

struct EmptyFilter;

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for EmptyFilter {}
