//! What the log says of readiness, and of rules that are or are not in force.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

#[path = "support/control_plane.rs"]
mod control_plane;
mod support;

use std::fs;
use std::net::UdpSocket;

use hivemind_proto::ratelimit::config::ratelimit::v3::RateLimitUnit;
use rustix::process::Signal;
use serde_json::Value;

use self::control_plane::{ControlPlane, per_user, with_unit};
use self::support::certificates::Authority;
use self::support::{Meshd, RULES, Site, eventually};

/// The lines of the log that have this in them.
fn lines(meshd: &Meshd, what: &str) -> Vec<String> {
    let log = meshd.log();
    let lines = log.lines().filter(|line| line.contains(what));
    lines.map(str::to_owned).collect()
}

/// The only line of the log that has this in it, once it is there.
fn the_line(meshd: &Meshd, what: &str) -> String {
    meshd.await_log(what);
    let mut lines = lines(meshd, what);
    assert_eq!(lines.len(), 1, "{what} in\n{}", meshd.log());
    lines.remove(0)
}

fn ready(meshd: &Meshd) -> (u16, Value) {
    let (code, body) = meshd.http("/ready");
    (code, serde_json::from_str(&body).expect("JSON"))
}

/// Starts a meshd that takes its rules from this server.
fn follow(site: &Site, server: &str, more: &[&str]) -> Meshd {
    let fixed = [
        "--rate-limiting-source=xds",
        "--xds-backoff-initial=20ms",
        "--xds-backoff-max=100ms",
        "--xds-server",
        server,
    ];
    site.start_with(&[&fixed, more].concat())
}

#[test]
fn ready_is_logged_when_rules_are_there_and_before_that_what_is_waited_for() {
    let server = ControlPlane::start();
    let site = Site::new(RULES);
    let meshd = follow(&site, &server.address.to_string(), &[]);
    let waits = the_line(&meshd, "meshd is not ready yet");
    assert!(
        waits.contains("rules: no rate limit configuration loaded"),
        "{waits}"
    );
    assert_eq!(lines(&meshd, "meshd is ready"), Vec::<String>::new());
    assert_eq!(ready(&meshd).0, 503);
    let serves = the_line(&meshd, "meshd serves");
    assert!(
        serves.contains(&format!("grpc={}", meshd.ports.grpc)),
        "{serves}"
    );

    server.set("1", &[per_user(3)]);
    the_line(&meshd, "meshd is ready");
    assert_eq!(ready(&meshd).0, 200);

    meshd.signal(Signal::TERM);
    meshd.await_log("meshd has stopped");
    assert_eq!(
        lines(&meshd, "is not ready any more"),
        Vec::<String>::new(),
        "a stop is no loss of readiness"
    );
}

#[test]
fn ready_waits_for_the_mesh_also_in_a_hand_over() {
    let site = Site::new(RULES);
    let first = site.start();
    the_line(&first, "meshd is ready");
    // A peer that says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address").to_string();
    // Another size: what the peers know is not in the new region.
    let mut next = site.launch(
        "next",
        &[
            "--region-max-keys=2048",
            "--mesh-insecure=true",
            "--mesh-bind=127.0.0.1:0",
            "--mesh-bootstrap-peers",
            &silent,
            "--mesh-snapshot-timeout=3s",
        ],
    );
    next.await_ready();
    assert_eq!(first.wait().code(), Some(0));
    let waits = the_line(&next, "meshd is not ready yet");
    assert!(
        waits.contains("mesh: waiting for a snapshot from peers"),
        "{waits}"
    );
    the_line(&next, "meshd is ready");
    assert_eq!(ready(&next).0, 200);
    let log = next.log();
    let place = |what: &str| log.find(what).expect("it is in the log");
    assert!(
        place("taken over from the meshd before") < place("meshd is not ready yet"),
        "{log}"
    );
    assert!(
        place("meshd is not ready yet") < place("meshd is ready"),
        "{log}"
    );
}

#[test]
fn a_loss_of_readiness_and_its_end_are_one_line_each() {
    let site = Site::new(RULES);
    let meshd = site.start();
    the_line(&meshd, "meshd is ready");
    // What is in the region's place cannot be replaced.
    fs::remove_file(site.path("region")).expect("the region is there");
    fs::create_dir(site.path("region")).expect("a directory");
    let lost = the_line(&meshd, "meshd is not ready any more");
    assert!(lost.contains("WARN") && lost.contains("region: "), "{lost}");
    assert_eq!(ready(&meshd).0, 503);
    fs::remove_dir(site.path("region")).expect("removed");
    the_line(&meshd, "meshd is ready again");
    assert_eq!(ready(&meshd).0, 200);
}

#[test]
fn nothing_claims_rules_that_are_not_there() {
    let server = ControlPlane::start();
    let address = server.address.to_string();
    let site = Site::new(RULES);
    let meshd = follow(&site, &address, &[]);
    let status =
        || -> Value { serde_json::from_str(&meshd.admin("/rules/status").1).expect("JSON") };
    assert_eq!(status()["rules"], 0);
    for nothing_yet in ["loaded_unix_ms", "last_attempt"] {
        assert_eq!(status()[nothing_yet], Value::Null, "{nothing_yet}");
    }

    // A set that is refused leaves none in force.
    server.set("1", &[with_unit(9, RateLimitUnit::Unknown)]);
    let rejected = the_line(&meshd, "rules rejected");
    assert!(
        rejected.contains("ERROR") && rejected.contains("none are in force"),
        "{rejected}"
    );
    let (code, body) = ready(&meshd);
    assert_eq!(code, 503);
    let detail = body["components"]["rules"]["detail"].to_string();
    assert!(detail.contains("refused"), "{detail}");

    // So does a server that goes away.
    drop(server);
    let lost = eventually("the server is missed", || {
        lines(&meshd, "no connection to the management server").pop()
    });
    assert!(lost.contains("no rules are in force"), "{lost}");
    assert!(!meshd.log().contains("stay in force"), "{}", meshd.log());
}

#[test]
fn rules_without_limits_are_a_warning_wherever_they_come_from() {
    const NO_LIMITS: &str = "domain: test\n";
    let server = ControlPlane::start();
    server.set("1", &[]);
    let site = Site::new(NO_LIMITS);
    let address = server.address.to_string();
    let meshd = follow(&site, &address, &[]);
    let warning = the_line(&meshd, "the rules have no limits");
    assert!(warning.contains("WARN"), "{warning}");
    drop(server);
    assert!(meshd.stop().success());
    // They are those of an earlier run, then.
    let meshd = follow(&site, &address, &[]);
    the_line(
        &meshd,
        "a set of rules without limits from before this start",
    );
    let (_, body) = ready(&meshd);
    let detail = body["components"]["rules"]["detail"].to_string();
    assert!(detail.contains("0 rules"), "{detail}");
    assert!(meshd.stop().success());

    let meshd = site.start();
    the_line(&meshd, "the rules have no limits");
    site.write("ratelimit.yaml", RULES);
    meshd.await_log("rules reloaded");
    site.write("ratelimit.yaml", NO_LIMITS);
    eventually("they are warned about again", || {
        (lines(&meshd, "the rules have no limits").len() == 2).then_some(())
    });
}

#[test]
fn files_that_are_still_broken_when_they_are_asked_for_again_are_a_warning() {
    let site = Site::new(RULES);
    let pair = Authority::new("ours").issue("ratelimit.internal");
    site.write("tls.crt", &pair.cert);
    site.write("tls.key", &pair.key);
    let keys = format!("hash {}\nseal {}\n", "0".repeat(32), "1".repeat(64));
    site.write("mesh.keys", &keys);
    let meshd = site.start_sealed();
    for file in ["ratelimit.yaml", "tls.crt", "mesh.keys"] {
        site.write(file, "nonsense: [");
    }
    for rejected in [
        "rules rejected, the last good ones stay in force",
        "TLS files rejected",
        "key file rejected",
    ] {
        meshd.await_log(rejected);
    }
    meshd.signal(Signal::HUP);
    for told in ["rules read", "TLS files read", "key file read"] {
        let told = the_line(&meshd, &format!("{told} again as asked"));
        assert!(told.contains("WARN") && told.contains("broken"), "{told}");
    }
}
