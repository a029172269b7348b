//! What meshd serves: the Rate Limit Service on gRPC, and the HTTP endpoints beside it.

pub mod accept;
pub mod admin;
pub mod calls;
pub mod connection;
pub mod connections;
pub mod counters;
mod decision_log;
mod dynamic_metadata;
mod error_answer;
mod grpc;
pub mod grpc_health;
pub mod health;
pub mod host_names;
pub mod http;
pub mod http_port;
mod inline_calls;
mod json;
pub mod listen;
pub mod log_level;
pub mod metrics;
pub mod one_at_a_time;
mod peers;
mod rate_limit;
pub mod readiness;
mod reflection;
pub mod reset;
mod reset_count;
mod response_headers;
mod rule_lists;
pub mod tls;
pub mod web_guard;
pub mod workers;

pub use self::grpc::Services;
pub use self::rate_limit::{Decider, RateLimit, RateLimitError, ServiceSettings};
pub use self::reflection::Reflection;
