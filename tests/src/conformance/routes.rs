//! Steps as requests that an Envoy makes descriptors of.
//!
//! Which header becomes which entry is configuration, so that every domain and list of descriptor keys
//! has a route of its own; the values come in the request, a header an entry.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use hyper::Request;
use hyper::header::{HOST, HeaderValue};
use serde_json::{Value, json};
use xtask::bootstrap::Bootstrap;

use super::case::{Case, Descriptor, Step};

/// The one listener of the bootstrap.
pub(super) const LISTENER: &str = "conformance";

/// How the filter is called in the bootstrap.
const FILTER: &str = "hivemind";

/// The filter of a module.
const FILTER_TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

/// The filter's configuration of a route.
const PER_ROUTE_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute";

const CONNECTION_MANAGER_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

const ROUTER_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

const STRUCT_TYPE: &str = "type.googleapis.com/google.protobuf.Struct";

/// Why headers cannot carry a case, if they cannot.
pub(super) fn obstacle(case: &Case) -> Option<&'static str> {
    case.steps.iter().find_map(step_obstacle)
}

fn step_obstacle(step: &Step) -> Option<&'static str> {
    let counts_otherwise = |it: &Descriptor| it.hits_addend.is_some_and(|hits| hits != 1);
    let descriptors = || step.descriptors.iter();
    let entries = || descriptors().flat_map(|it| &it.entries);
    if step.descriptors.is_empty() {
        Some("a request without descriptors is not decided, it passes")
    } else if descriptors().any(|it| it.limit.is_some()) {
        Some("a request through the module has no limit of its own")
    } else if step.hits_addend > 1 || descriptors().any(counts_otherwise) {
        Some("a request through the module counts one hit")
    } else if entries().any(|(key, _)| key.is_empty()) {
        Some("an action's descriptor_key cannot be empty")
    } else if entries().any(|(_, value)| !is_header_value(value)) {
        Some("a header cannot carry this value as it is")
    } else {
        None
    }
}

/// Whether a value arrives byte for byte: around it, white space belongs to the protocol.
fn is_header_value(value: &str) -> bool {
    value.trim_matches([' ', '\t']) == value && HeaderValue::from_bytes(value.as_bytes()).is_ok()
}

/// What a route has to know of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    domain: String,
    /// The keys of each descriptor.
    descriptors: Vec<Vec<String>>,
}

impl Shape {
    fn of(step: &Step) -> Self {
        let keys = |descriptor: &Descriptor| {
            let keys = descriptor.entries.iter().map(|(key, _)| key.clone());
            keys.collect()
        };
        Self {
            domain: step.domain.clone(),
            descriptors: step.descriptors.iter().map(keys).collect(),
        }
    }

    /// What the filter is to do on this shape's route.
    fn policy(&self, region: &Path) -> Value {
        let rate_limit = |(keys, descriptor): (&Vec<String>, usize)| {
            let action = |(key, entry): (&String, usize)| {
                json!({"request_headers": {
                    "header_name": header_name(descriptor, entry), "descriptor_key": key
                }})
            };
            let mut actions: Vec<Value> = keys.iter().zip(0..).map(action).collect();
            if actions.is_empty() {
                // The way to a descriptor without entries: a header that is allowed to be absent, and is.
                actions.push(json!({"request_headers": {
                    "header_name": header_name(descriptor, 0), "descriptor_key": "absent",
                    "skip_if_absent": true
                }}));
            }
            json!({"actions": actions})
        };
        let rate_limits: Vec<Value> = self.descriptors.iter().zip(0..).map(rate_limit).collect();
        json!({
            "domain": self.domain,
            "region": region,
            "rate_limits": rate_limits,
            // A request that could not be decided must not look like one within its limits.
            "failure_mode_deny": true,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        })
    }
}

/// The routes of all steps; a route's path is its number.
#[derive(Debug)]
pub(super) struct Routes(Vec<Shape>);

impl Routes {
    /// Routes for these cases, which headers can carry.
    pub(super) fn new<'a>(cases: impl Iterator<Item = &'a Case>) -> Self {
        let shapes: BTreeSet<Shape> = cases.flat_map(|case| &case.steps).map(Shape::of).collect();
        Self(shapes.into_iter().collect())
    }

    /// The request of a step, without a body.
    ///
    /// # Errors
    ///
    /// When the step is of a case these routes are not for.
    pub(super) fn request<B: Default>(&self, step: &Step) -> anyhow::Result<Request<B>> {
        let route = self.0.binary_search(&Shape::of(step));
        let route = route.ok().context("no route for this step")?;
        let mut request = Request::builder()
            .uri(path(route))
            .header(HOST, "localhost");
        for (descriptor, number) in step.descriptors.iter().zip(0..) {
            for ((_, value), entry) in descriptor.entries.iter().zip(0..) {
                request = request.header(header_name(number, entry), value.as_bytes());
            }
        }
        Ok(request.body(B::default())?)
    }

    /// An Envoy with these routes to an upstream, limited by the module.
    pub(super) fn bootstrap(&self, region: &Path, upstream: SocketAddr) -> Bootstrap {
        let free = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        let upstream = json!({"socket_address": {
            "address": upstream.ip(), "port_value": upstream.port()
        }});
        Bootstrap::from_tree(json!({
            "admin": {"address": free},
            "static_resources": {
                "listeners": [{
                    "name": LISTENER,
                    "address": free,
                    "filter_chains": [{"filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": self.connection_manager(region),
                    }]}],
                }],
                "clusters": [{
                    "name": "upstream",
                    "load_assignment": {
                        "cluster_name": "upstream",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": upstream}}]}],
                    },
                }],
            },
        }))
    }

    fn connection_manager(&self, region: &Path) -> Value {
        let route = |(shape, number): (&Shape, usize)| {
            json!({
                "match": {"path": path(number)},
                "route": {"cluster": "upstream"},
                "typed_per_filter_config": {FILTER: {
                    "@type": PER_ROUTE_TYPE,
                    "dynamic_module_config": {"name": "hivemind"},
                    "per_route_config_name": "ratelimit",
                    "filter_config": structure(&shape.policy(region)),
                }},
            })
        };
        let routes: Vec<Value> = self.0.iter().zip(0..).map(route).collect();
        json!({
            "@type": CONNECTION_MANAGER_TYPE,
            "stat_prefix": LISTENER,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [
                {"name": FILTER, "typed_config": {
                    "@type": FILTER_TYPE,
                    "dynamic_module_config": {"name": "hivemind"},
                    "filter_name": "ratelimit",
                    // Every route has its own, which takes the place of this one.
                    "filter_config": structure(&json!({"domain": LISTENER, "region": region})),
                }},
                {"name": "envoy.filters.http.router", "typed_config": {
                    "@type": ROUTER_TYPE,
                }},
            ],
        })
    }
}

fn path(route: usize) -> String {
    format!("/{route}")
}

fn header_name(descriptor: usize, entry: usize) -> String {
    format!("x-d{descriptor}-e{entry}")
}

fn structure(value: &Value) -> Value {
    json!({"@type": STRUCT_TYPE, "value": value})
}
