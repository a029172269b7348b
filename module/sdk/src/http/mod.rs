//! HTTP filters: what a module implements, and what it can ask of Envoy.

mod config;
mod envoy_config;
mod envoy_filter;
mod filter;
mod request_headers;

pub use config::{EnvoyHttpFilterConfig, HttpFilterConfig};
pub use envoy_config::EnvoyHttpFilterConfigImpl;
pub use envoy_filter::EnvoyHttpFilterImpl;
pub use filter::{EnvoyHttpFilter, HttpFilter};
