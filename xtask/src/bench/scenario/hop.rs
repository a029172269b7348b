//! The hop that is measured: a listener that proxies to another listener of the same Envoy, which
//! answers by itself. So everything but the filter under test is the same, and nobody else is
//! involved.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::{Value, json};

/// The listener a load goes to.
pub(in crate::bench) const LISTENER: &str = "ingress";

/// The bootstrap of an Envoy with this filter; with a service, its route makes these rate limits,
/// and the cluster `meshd` is on this port.
pub(super) fn bootstrap(filter: Option<Value>, service: Option<(Value, u16)>) -> io::Result<Value> {
    let upstream = free_port()?;
    let mut route = json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}});
    let mut clusters = vec![cluster("upstream", upstream)];
    if let Some((rate_limits, port)) = service {
        route["route"]["rate_limits"] = rate_limits;
        clusters.push(http2(cluster("meshd", port)));
    }
    let answer = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "hello\n"}},
    });
    let listeners = [
        listener(LISTENER, 0, &route, filter),
        listener("upstream", upstream, &answer, None),
    ];
    Ok(json!({
        "admin": {"address": address(0)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }))
}

fn listener(name: &str, port: u16, route: &Value, filter: Option<Value>) -> Value {
    let router = json!({
        "name": "router",
        "typed_config": {"@type": kind("filters.http.router.v3.Router")},
    });
    let filters: Value = filter.into_iter().chain([router]).collect();
    let manager = json!({
        "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": name,
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": filters,
    });
    json!({
        "name": name,
        "address": address(port),
        "filter_chains": [{
            "filters": [{"name": "http_connection_manager", "typed_config": manager}],
        }],
    })
}

fn cluster(name: &str, port: u16) -> Value {
    let endpoint = json!({"endpoint": {"address": address(port)}});
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    })
}

fn http2(mut cluster: Value) -> Value {
    let options = json!({
        "@type": kind("upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    cluster["typed_extension_protocol_options"] =
        json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
    cluster
}

fn kind(extension: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{extension}")
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// A port that was free a moment ago: an Envoy that talks to itself has to know one beforehand.
fn free_port() -> io::Result<u16> {
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    Ok(TcpListener::bind(any)?.local_addr()?.port())
}
