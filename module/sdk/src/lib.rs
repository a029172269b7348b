//! The part of Envoy's dynamic module SDK that Hivemind uses: HTTP filters with configuration,
//! headers, local replies, attributes, counters and logging.
//!
//! The public names and signatures are those of the SDK in Envoy's own repository, which is not on
//! crates.io, so that a filter written against this crate compiles against that one by changing one
//! line of its `Cargo.toml`. Everything behind the names is written for this crate, against the C
//! header `source/extensions/dynamic_modules/abi/abi.h` of Envoy. What a filter does not use is not
//! here.
//!
//! # What it runs in
//!
//! One shared object works in Envoy 1.38, 1.39 and 1.40: only callbacks that all three export are
//! declared, and every event hook that one of them looks up is exported.
//! Envoy compares [`abi::ABI_VERSION`] with its own and logs a warning when the two differ.
//!
//! # What it promises
//!
//! - All `unsafe` is in here; a filter is written without any.
//! - No panic crosses into Envoy: a hook that panics is logged, and the request goes on as if the
//!   filter had said [`Continue`]. A configuration whose constructor panics is rejected.
//! - Hooks of one stream never overlap on the filter: when Envoy calls back into the module while
//!   one of its hooks runs (a local reply does that), the inner call finds the filter in use and
//!   leaves it alone.
//!
//! # A module
//!
//! ```
//! use envoy_proxy_dynamic_modules_rust_sdk::*;
//!
//! declare_init_functions!(init, new_filter_config);
//!
//! fn init() -> bool {
//!     true
//! }
//!
//! fn new_filter_config<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
//!     _envoy: &mut EC,
//!     _filter_name: &str,
//!     _config: &[u8],
//! ) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
//!     Some(Box::new(Config))
//! }
//!
//! struct Config;
//!
//! impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for Config {
//!     fn new_http_filter(&self, _envoy: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
//!         Box::new(Filter)
//!     }
//! }
//!
//! struct Filter;
//!
//! impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Filter {}
//! ```
//!
//! [`Continue`]: abi::envoy_dynamic_module_type_on_http_filter_request_headers_status::Continue

pub mod abi;
mod buffer;
mod guard;
mod hooks;
mod http;
mod init;
pub mod log;
mod metrics;

#[cfg(test)]
mod fake_envoy;

pub use buffer::EnvoyBuffer;
pub use http::{
    EnvoyHttpFilter, EnvoyHttpFilterConfig, EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl,
    HttpFilter, HttpFilterConfig,
};
pub use init::{
    NEW_HTTP_FILTER_CONFIG_FUNCTION, NEW_HTTP_FILTER_PER_ROUTE_CONFIG_FUNCTION,
    NewHttpFilterConfigFunction, NewHttpFilterPerRouteConfigFunction, ProgramInitFunction,
};
pub use metrics::EnvoyCounterId;
