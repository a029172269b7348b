//! The HTTP port and the admin port.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use support::{RULES, Site, exchange};

#[test]
fn health_is_told_the_way_load_balancers_ask() {
    let meshd = Site::new(RULES).start();
    assert_eq!(meshd.http("/healthcheck"), (200, "OK".to_owned()));
    let head = "HEAD /healthcheck HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(meshd.ports.http, head).0, 200);

    let (status, body) = meshd.http("/ready");
    assert_eq!(status, 200);
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["ready"], true);
    for component in ["region", "rules", "mesh", "server"] {
        assert_eq!(body["components"][component]["state"], "up", "{body}");
    }
    assert_eq!(meshd.http("/nothing").0, 404);
}

#[test]
fn the_admin_port_lists_what_it_has_and_has_what_it_lists() {
    let meshd = Site::new(RULES).start();
    let (status, list) = meshd.admin("/");
    assert_eq!(status, 200);
    assert!(list.lines().count() >= 5, "{list}");
    for line in list.lines() {
        let path = line.split(' ').next().expect("a path");
        assert_eq!(meshd.admin(path).0, 200, "{path}");
    }
}

#[test]
fn the_admin_port_shows_the_settings_and_the_rules_with_their_origin() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--node-name", "edge-1"]);
    let (_, config) = meshd.admin("/config");
    assert!(
        config.contains("name: edge-1") && config.contains("# --node-name"),
        "{config}"
    );
    assert!(config.contains("hivemind.yaml:1"), "{config}");

    let (_, rules) = meshd.admin("/rules");
    assert!(
        rules.starts_with("test.user: 3 per year, name per_user ("),
        "{rules}"
    );
    assert!(rules.contains("ratelimit.yaml:3)"), "{rules}");
}

#[test]
fn what_operators_see_is_not_on_the_public_port() {
    let meshd = Site::new(RULES).start();
    for path in [
        "/config",
        "/rules",
        "/rlconfig",
        "/rules/status",
        "/peers",
        "/workers",
    ] {
        assert_eq!(meshd.http(path).0, 404, "{path}");
    }
}

#[test]
fn json_calls_are_answered_by_the_same_counters() {
    let meshd = Site::new(RULES).start();
    let call = r#"{"domain":"test","descriptors":[{"entries":[{"key":"user","value":"ada"}]}]}"#;
    let (status, body) = meshd.json(call);
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["overallCode"], "OK");
    let limit = serde_json::json!({"requestsPerUnit": 3, "unit": "YEAR", "name": "per_user"});
    assert_eq!(answer["statuses"][0]["currentLimit"], limit);
    assert_eq!(answer["statuses"][0]["limitRemaining"], 2);

    assert_eq!(meshd.json(call).0, 200);
    assert_eq!(meshd.json(call).0, 200);
    let (status, body) = meshd.json(call);
    assert_eq!(status, 429);
    assert!(body.contains(r#""overallCode":"OVER_LIMIT""#), "{body}");

    for (wrong, why) in [
        ("", "EOF while parsing"),
        ("{}", "rate limit domain must not be empty"),
        (
            r#"{"domain":"test"}"#,
            "rate limit descriptor list must not be empty",
        ),
        (r#"{"domain":"test","x":1}"#, "unknown field `x`"),
        (r#"{"domain":5}"#, "expected a string at line 1 column 11"),
        (
            r#"{"hitsAddend":1.5}"#,
            "expected a whole number from 0 to 4294967295, not 1.5",
        ),
        (
            r#"{"descriptors":[{"limit":{"unit":"FORTNIGHT"}}]}"#,
            "the unit 'FORTNIGHT' is not known",
        ),
    ] {
        let (status, body) = meshd.json(wrong);
        assert_eq!(status, 400, "{wrong}");
        assert!(body.contains(why), "{wrong} {body}");
    }
    let long = format!(r#"{{"{}":1}}"#, "x\u{202e}".repeat(100_000));
    let (status, body) = meshd.json(&long);
    assert_eq!(status, 400);
    assert!(body.len() < 1_000 && !body.contains('\u{202e}'), "{body}");
    let too_long = format!(r#"{{"domain":"{}"}}"#, "x".repeat(1024 * 1024));
    assert_eq!(meshd.json(&too_long).0, 413);
}

#[test]
fn windows_of_several_units_are_read_from_json_calls_and_answered() {
    let meshd = Site::new(RULES).start();
    for (multiplier, limit) in [
        (
            r#""unitMultiplier":2"#,
            serde_json::json!({"requestsPerUnit": 9, "unit": "HOUR", "unitMultiplier": 2}),
        ),
        (
            r#""unit_multiplier":"24""#,
            serde_json::json!({"requestsPerUnit": 9, "unit": "HOUR", "unitMultiplier": 24}),
        ),
        (
            r#""unitMultiplier":null"#,
            serde_json::json!({"requestsPerUnit": 9, "unit": "HOUR"}),
        ),
    ] {
        let (status, body) = meshd.json(&format!(
            r#"{{"domain":"test","descriptors":[{{"entries":[{{"key":"user","value":"ada"}}],
                "limit":{{"requestsPerUnit":9,"unit":"HOUR",{multiplier}}}}}]}}"#
        ));
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["statuses"][0]["currentLimit"], limit, "{multiplier}");
    }
}

#[test]
fn json_calls_may_write_their_numbers_as_they_like() {
    let meshd = Site::new(RULES).start();
    for (hits, left) in [("1.0", 2), (r#""1""#, 1), ("1e0", 0)] {
        let descriptors = r#"[{"entries":[{"key":"user","value":"ada"}]}]"#;
        let call =
            format!(r#"{{"domain":"test","descriptors":{descriptors},"hitsAddend":{hits}}}"#);
        let (status, body) = meshd.json(&call);
        assert_eq!(status, 200, "{hits} {body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let status = &answer["statuses"][0];
        assert_eq!(
            status["limitRemaining"].as_u64().unwrap_or(0),
            left,
            "{hits}"
        );
    }
}

#[test]
fn metrics_are_on_both_ports_in_either_format() {
    let meshd = Site::new(RULES).start();
    for (status, text) in [meshd.http("/metrics"), meshd.admin("/metrics")] {
        assert_eq!(status, 200);
        assert!(text.contains("\nhivemind_region_max_keys 1024\n"), "{text}");
        assert!(
            text.contains("# TYPE hivemind_mesh_members gauge\n"),
            "{text}"
        );
    }
    let request = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
                   accept: application/openmetrics-text; version=1.0.0, text/plain\r\n\r\n";
    let (status, text) = exchange(meshd.ports.http, request);
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn live_counters_are_listed_hottest_first_as_asked_for() {
    let meshd = Site::new(RULES).start();
    for (user, hits) in [("ada", 1), ("adam", 3), ("bob", 2)] {
        for _ in 0..hits {
            let entries = format!(r#"[{{"key":"user","value":"{user}"}}]"#);
            let call = format!(r#"{{"domain":"test","descriptors":[{{"entries":{entries}}}]}}"#);
            assert_eq!(meshd.json(&call).0, 200);
        }
    }
    let listed = |query: &str| {
        let (status, body) = meshd.admin(&format!("/counters{query}"));
        assert_eq!(status, 200, "{body}");
        let listing: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(listing["live_counters"], 3);
        let counters = listing["counters"].as_array().expect("an array").clone();
        let users = counters.iter().map(|counter| {
            assert_eq!(counter["limit"], 3);
            counter["entries"][0]["value"]
                .as_str()
                .expect("a text")
                .to_owned()
        });
        users.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listed(""), "adam bob ada");
    assert_eq!(listed("?domain=test&top=2"), "adam bob");
    assert_eq!(listed("?prefix=user%3Dad"), "adam ada");
    assert_eq!(listed("?domain=other"), "");
    for wrong in ["?top=many", "?top=10001", "?user=ada"] {
        let (status, body) = meshd.admin(&format!("/counters{wrong}"));
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("top=N (up to 10000"), "{body}");
    }
    assert_eq!(meshd.http("/counters").0, 404, "not on the public port");
}
