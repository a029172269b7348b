//! The filter of one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use envoy_proxy_dynamic_modules_rust_sdk::abi::{
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_response_headers_status as ResponseHeadersStatus,
};
use envoy_proxy_dynamic_modules_rust_sdk::{EnvoyHttpFilter, HttpFilter, HttpFilterConfig};
use hivemind_shared::clock::{Clock, CoarseClock};

use crate::attachment::{self, Attachment};
use crate::config::{Answers, Policy};
use crate::desk::{self, Verdict};
use crate::grpc;
use crate::headers::{Decimal, XRateLimit};
use crate::stats::Stats;

/// Whether any route ever had a configuration of its own. Until then no request needs to ask Envoy for
/// its route's.
static ROUTE_CONFIGS: AtomicBool = AtomicBool::new(false);

/// One configuration of the filter.
#[derive(Debug)]
pub(crate) struct FilterConfig {
    shared: Arc<Shared>,
}

/// What all requests of one configuration share.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    stats: Stats,
}

/// A policy, and the region it counts in.
#[derive(Debug)]
struct Limits {
    policy: Policy,
    attachment: Arc<Attachment>,
}

impl Limits {
    fn new(policy: Policy) -> Self {
        let attachment = attachment::of(&policy.region, policy.region_owner, CoarseClock.now_s());
        Self { policy, attachment }
    }
}

impl FilterConfig {
    /// The configuration of a filter with these counters.
    pub(crate) fn new(policy: Policy, stats: Stats) -> Self {
        let limits = Limits::new(policy);
        Self {
            shared: Arc::new(Shared { limits, stats }),
        }
    }
}

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for FilterConfig {
    fn new_http_filter(&self, _envoy: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        Box::new(Filter {
            shared: Arc::clone(&self.shared),
            headers: None,
        })
    }
}

/// A route's configuration, which takes the place of the filter's.
#[derive(Debug)]
pub(crate) struct RouteConfig {
    limits: Limits,
}

impl RouteConfig {
    /// The configuration of a route.
    pub(crate) fn new(policy: Policy) -> Self {
        // Relaxed: Envoy publishes the configuration to its workers after this, with a lock.
        ROUTE_CONFIGS.store(true, Ordering::Relaxed);
        Self {
            limits: Limits::new(policy),
        }
    }
}

// All workers read it, which the SDK's signature does not ask for.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<RouteConfig>();
};

/// The filter of one request.
struct Filter {
    shared: Arc<Shared>,
    /// For the response, if it is to have any.
    headers: Option<XRateLimit>,
}

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Filter {
    #[inline]
    fn on_request_headers(
        &mut self,
        envoy: &mut EHF,
        _end_of_stream: bool,
    ) -> RequestHeadersStatus {
        if !ROUTE_CONFIGS.load(Ordering::Relaxed) {
            return self.limit(envoy, None);
        }
        let route = envoy.get_most_specific_route_config();
        let route = route
            .as_deref()
            .and_then(|config| config.downcast_ref::<RouteConfig>());
        self.limit(envoy, route)
    }

    fn on_response_headers(
        &mut self,
        envoy: &mut EHF,
        _end_of_stream: bool,
    ) -> ResponseHeadersStatus {
        if let Some(headers) = self.headers.take() {
            let remaining = Decimal::of(headers.remaining);
            let reset_s = Decimal::of(headers.reset_s);
            envoy.add_response_header("x-ratelimit-limit", &headers.limit);
            envoy.add_response_header("x-ratelimit-remaining", remaining.as_bytes());
            envoy.add_response_header("x-ratelimit-reset", reset_s.as_bytes());
        }
        ResponseHeadersStatus::Continue
    }
}

impl Filter {
    #[inline]
    fn limit(
        &mut self,
        envoy: &mut impl EnvoyHttpFilter,
        route: Option<&RouteConfig>,
    ) -> RequestHeadersStatus {
        let Shared { limits, stats } = &*self.shared;
        let Limits { policy, attachment } = route.map_or(limits, |route| &route.limits);
        match desk::decide(policy, attachment, envoy) {
            Verdict::NotAsked => {}
            Verdict::Within(headers) => {
                stats.ok(envoy);
                self.headers = headers;
            }
            Verdict::Over {
                retry_after_s,
                headers,
                fired,
            } => {
                stats.over_limit(envoy);
                if let Some(fired) = fired {
                    fired.note(envoy);
                }
                send_limited(envoy, &policy.answers, retry_after_s, headers.as_ref());
                return RequestHeadersStatus::StopIteration;
            }
            Verdict::Failed(cause) => {
                stats.error(envoy, cause);
                if policy.failure_mode_deny {
                    send_error(envoy, &policy.answers);
                    return RequestHeadersStatus::StopIteration;
                }
                stats.failure_mode_allowed(envoy);
            }
        }
        RequestHeadersStatus::Continue
    }
}

/// Answers a request that is over its limit.
#[cold]
fn send_limited(
    envoy: &mut impl EnvoyHttpFilter,
    answers: &Answers,
    retry_after_s: u32,
    x_ratelimit: Option<&XRateLimit>,
) {
    let grpc_status = if answers.limited_as_resource_exhausted {
        grpc::RESOURCE_EXHAUSTED
    } else {
        grpc::status_of(answers.limited_status)
    };
    let retry_after = Decimal::of(retry_after_s);
    let remaining = Decimal::of(x_ratelimit.map_or(0, |headers| headers.remaining));
    let reset_s = Decimal::of(x_ratelimit.map_or(0, |headers| headers.reset_s));
    let grpc_status = Decimal::of(grpc_status);
    let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(6);
    if answers.x_envoy_ratelimited {
        headers.push(("x-envoy-ratelimited", b"true"));
    }
    headers.push(("retry-after", retry_after.as_bytes()));
    if let Some(x_ratelimit) = x_ratelimit {
        headers.push(("x-ratelimit-limit", &x_ratelimit.limit));
        headers.push(("x-ratelimit-remaining", remaining.as_bytes()));
        headers.push(("x-ratelimit-reset", reset_s.as_bytes()));
    }
    if grpc::is_grpc(envoy) {
        headers.push(("grpc-status", grpc_status.as_bytes()));
    }
    // A module cannot set Envoy's own response flag; its name at least is where a module's flags are.
    envoy.add_custom_flag("RL");
    envoy.send_response(
        answers.limited_status,
        &headers,
        None,
        Some("request_rate_limited"),
    );
}

/// Answers a request that could not be decided.
#[cold]
fn send_error(envoy: &mut impl EnvoyHttpFilter, answers: &Answers) {
    let grpc_status = Decimal::of(grpc::status_of(answers.error_status));
    let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(1);
    if grpc::is_grpc(envoy) {
        headers.push(("grpc-status", grpc_status.as_bytes()));
    }
    envoy.add_custom_flag("RLSE");
    envoy.send_response(
        answers.error_status,
        &headers,
        None,
        Some("rate_limiter_error"),
    );
}
