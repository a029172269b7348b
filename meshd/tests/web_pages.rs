//! What a web page can do at the HTTP, admin and metrics ports: nothing, also where the name of its own
//! site was made to lead here.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::net::TcpListener;

use support::{Meshd, RULES, Site, exchange};

const CALL: &str =
    r#"{"domain":"test","descriptors":[{"entries":[{"key":"user","value":"ada"}]}]}"#;

/// Makes a call on `/json` with these lines in its head.
fn call(meshd: &Meshd, head: &str) -> (u16, String) {
    let length = CALL.len();
    exchange(
        meshd.ports.http,
        &format!(
            "POST /json HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n\r\n{CALL}"
        ),
    )
}

/// GETs a path with these lines in the head.
fn get(port: u16, path: &str, head: &str) -> (u16, String) {
    exchange(
        port,
        &format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{head}\r\n\r\n"),
    )
}

/// Every path that says or does something, with its port.
fn paths(meshd: &Meshd) -> Vec<(u16, &'static str)> {
    let admin = [
        "/",
        "/config",
        "/rules",
        "/rlconfig",
        "/rules/status",
        "/peers",
        "/metrics",
        "/workers",
        "/counters",
        "/reset",
    ];
    let mut paths: Vec<_> = admin
        .into_iter()
        .map(|path| (meshd.ports.admin, path))
        .collect();
    paths.extend(["/ready", "/metrics"].map(|path| (meshd.ports.http, path)));
    paths.push((meshd.ports.metrics.expect("a port for metrics"), "/metrics"));
    paths
}

/// A meshd with a port for metrics alone.
fn start(site: &Site, arguments: &[&str]) -> Meshd {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let bind = free.local_addr().expect("an address").to_string();
    drop(free);
    site.start_with(&[&["--metrics-bind", &bind], arguments].concat())
}

/// What is left of ada's limit after one more hit.
fn remaining(meshd: &Meshd) -> u64 {
    let (status, body) = call(meshd, "host: 127.0.0.1\r\ncontent-type: application/json");
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    // What has its default value, such as zero, is left out.
    answer["statuses"][0]["limitRemaining"]
        .as_u64()
        .unwrap_or_default()
}

#[test]
fn pages_of_other_sites_get_nothing_and_nothing_is_counted() {
    let site = Site::new(RULES);
    let meshd = start(&site, &[]);
    for origin in [
        "http://evil.example",
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "file://",
        "",
    ] {
        for (port, path) in paths(&meshd) {
            let head = format!("host: 127.0.0.1:{port}\r\norigin: {origin}");
            let (status, body) = get(port, path, &head);
            assert_eq!(status, 403, "{origin} {path} {body}");
            assert!(body.contains("Origin"), "{body}");
        }
        let port = meshd.ports.http;
        let head =
            format!("host: 127.0.0.1:{port}\r\norigin: {origin}\r\ncontent-type: application/json");
        assert_eq!(call(&meshd, &head).0, 403, "{origin}");
    }
    // A browser asks first whether it may send JSON: no answer says so.
    let preflight = format!(
        "OPTIONS /json HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\
         origin: http://evil.example\r\naccess-control-request-method: POST\r\n\r\n",
        meshd.ports.http
    );
    assert_eq!(exchange(meshd.ports.http, &preflight).0, 403);
    assert_eq!(remaining(&meshd), 2, "nothing was counted before");
    meshd.await_log("a web page");
}

#[test]
fn what_has_the_origin_that_it_asks_is_answered() {
    let site = Site::new(RULES);
    let meshd = start(&site, &[]);
    for (port, path) in paths(&meshd) {
        let head = format!("host: LOCALHOST:{port}\r\norigin: http://localhost:{port}");
        assert_eq!(get(port, path, &head).0, 200, "{path}");
    }
}

#[test]
fn names_that_were_made_to_lead_here_are_refused() {
    let site = Site::new(RULES);
    let meshd = start(&site, &[]);
    for host in [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "hivemind.svc.evil.example",
        "evil.example.",
        "[::1].evil.example",
        "::1",
        "not a host",
    ] {
        for (port, path) in paths(&meshd) {
            let (status, body) = get(port, path, &format!("host: {host}"));
            assert_eq!(status, 421, "{host} {path} {body}");
            assert!(body.contains("server.allowed_hosts"), "{body}");
        }
        let head = format!("host: {host}\r\ncontent-type: application/json");
        assert_eq!(call(&meshd, &head).0, 421, "{host}");
        // Its page would have this origin.
        let head = format!("{head}\r\norigin: http://{host}");
        assert!([403, 421].contains(&call(&meshd, &head).0), "{host}");
        // Load balancers ask under whatever name; it says and does nothing.
        for path in ["/healthcheck", "/live"] {
            let (status, _) = get(meshd.ports.http, path, &format!("host: {host}"));
            assert_eq!(status, 200, "{host} {path}");
        }
    }
    let two = "host: 127.0.0.1\r\nhost: evil.example";
    assert_ne!(get(meshd.ports.admin, "/rules", two).0, 200);
    assert_eq!(remaining(&meshd), 2, "nothing was counted before");
    meshd.await_log("evil.example");
}

#[test]
fn addresses_and_names_that_no_page_can_have_are_answered() {
    let site = Site::new(RULES);
    let meshd = start(
        &site,
        &[
            "--server-allowed-hosts",
            "rl.example.org,*.example.com",
            "--node-name",
            "edge-1.example.net",
        ],
    );
    for host in [
        "127.0.0.1",
        "192.0.2.7:8080",
        "[::1]",
        "[2001:db8::1]:80",
        "localhost",
        "LocalHost:80",
        "",
        "hivemind",
        "hivemind:8080",
        "hivemind.ratelimit.svc",
        "hivemind.ratelimit.svc.cluster.local",
        "hivemind.ratelimit.svc.cluster.local.",
        "printer.local:80",
        "edge-1.example.net",
        "rl.example.org",
        "RL.Example.org:443",
        "a.b.example.com",
    ] {
        for (port, path) in paths(&meshd) {
            let (status, body) = get(port, path, &format!("host: {host}"));
            assert_eq!(status, 200, "{host} {path} {body}");
        }
    }
    for host in ["example.com", "x.rl.example.org", "xexample.com"] {
        let (status, _) = get(meshd.ports.http, "/ready", &format!("host: {host}"));
        assert_eq!(status, 421, "{host}");
    }
    // As old health checks ask. No browser does.
    let (status, _) = exchange(meshd.ports.http, "GET /ready HTTP/1.0\r\n\r\n");
    assert_eq!(status, 200);
}

#[test]
fn json_calls_say_that_they_are_json() {
    let site = Site::new(RULES);
    let meshd = start(&site, &[]);
    for content_type in [
        "",
        "content-type: application/x-www-form-urlencoded",
        "content-type: text/plain",
        "content-type: multipart/form-data",
        "content-type: text/plain; application/json",
        "content-type: application/jsonp",
    ] {
        let head = format!("host: 127.0.0.1\r\n{content_type}");
        let (status, body) = call(&meshd, head.trim_end());
        assert_eq!(status, 415, "{content_type}");
        assert!(body.contains("content-type: application/json"), "{body}");
    }
    assert_eq!(remaining(&meshd), 2, "nothing was counted before");
    for content_type in [
        "Application/JSON; charset=utf-8",
        "application/vnd.api+json",
    ] {
        let head = format!("host: 127.0.0.1\r\ncontent-type: {content_type}");
        assert_eq!(call(&meshd, &head).0, 200, "{content_type}");
    }
}
