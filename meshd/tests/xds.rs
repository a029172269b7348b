//! Rules from a management server.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

#[path = "support/control_plane.rs"]
mod control_plane;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hivemind_proto::ratelimit::config::ratelimit::v3::RateLimitUnit;
use rustix::process::Signal;
use serde_json::Value;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use self::control_plane::{ControlPlane, TYPE_URL, per_user, with_unit};
use self::support::crowd::replace;
use self::support::{Meshd, Site, admitted, ask, descriptor, eventually, request};

/// Arguments that make meshd follow a server, and come back to it quickly.
fn following(server: SocketAddr, more: &[&str]) -> Vec<String> {
    let fixed = [
        "--rate-limiting-source",
        "xds",
        "--xds-backoff-initial",
        "20ms",
        "--xds-backoff-max",
        "100ms",
        "--xds-server",
    ];
    let fixed = fixed.iter().map(|argument| (*argument).to_owned());
    let more = more.iter().map(|argument| (*argument).to_owned());
    fixed.chain([server.to_string()]).chain(more).collect()
}

fn start(site: &Site, server: SocketAddr, more: &[&str]) -> Meshd {
    let arguments = following(server, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    site.start_with(&arguments)
}

/// A site whose rules file, if anybody read it, would be an error.
fn site() -> Site {
    Site::new("no rules")
}

fn status(meshd: &Meshd) -> Value {
    let (_, body) = meshd.admin("/rules/status");
    serde_json::from_str(&body).expect("JSON")
}

fn ready(meshd: &Meshd) -> (u16, Value) {
    let (code, body) = meshd.http("/ready");
    (code, serde_json::from_str(&body).expect("JSON"))
}

fn await_limit(meshd: &Meshd, limit: u32) {
    eventually("the limit is in force", || {
        let rules = meshd.admin("/rules").1;
        rules.contains(&format!("{limit} per year")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_first_rules_make_meshd_ready_and_are_acknowledged() {
    let server = ControlPlane::start();
    let site = site();
    let more = [
        "--xds-node-id",
        "envoy-ratelimit",
        "--xds-node-metadata",
        "zone=eu,tier=edge",
        "--xds-headers",
        "x-Token=s3cret",
    ];
    let meshd = start(&site, server.address, &more);

    let first = server.heard("the first request", |_| true);
    let node = first.request.node.expect("the node");
    assert_eq!(node.id, "envoy-ratelimit");
    assert_eq!(node.user_agent_name, "hivemind-meshd");
    let metadata = node.metadata.expect("metadata").fields;
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["tier", "zone"]);
    assert_eq!(first.request.type_url, TYPE_URL);
    assert_eq!(first.headers.get("x-token").expect("a header"), "s3cret");
    assert!(!meshd.admin("/config").1.contains("s3cret"));

    // Nothing to decide by yet, and the texts of the reference.
    assert_eq!(meshd.http("/healthcheck").0, 500);
    let (code, body) = ready(&meshd);
    assert_eq!(code, 503);
    assert_eq!(body["components"]["rules"]["state"], "down", "{body}");
    let mut client = meshd.client().await;
    let call = request(vec![descriptor(&[("user", "ada")])]);
    let error = client
        .should_rate_limit(call)
        .await
        .expect_err("there are no rules");
    assert_eq!(error.code(), tonic::Code::Unknown);
    assert_eq!(error.message(), "no rate limit configuration loaded");
    let json = r#"{"domain":"test","descriptors":[{"entries":[{"key":"user","value":"ada"}]}]}"#;
    assert_eq!(meshd.json(json).0, 503);

    server.set("1", &[per_user(3)]);
    let ack = server.acknowledged("1");
    assert_eq!(ack.request.response_nonce, "1");
    eventually("meshd is ready", || (ready(&meshd).0 == 200).then_some(()));
    assert_eq!(admitted(&mut client, "ada", 5).await, 3);

    let status = status(&meshd);
    assert_eq!(status["files"], serde_json::json!(["xds:edge"]));
    assert_eq!(status["last_attempt"]["successful"], true);
    let xds = &status["xds"];
    assert_eq!(
        (&xds["connected"], &xds["version"], &xds["accepted"]),
        (&true.into(), &"1".into(), &1.into()),
        "{status}"
    );
    let metrics = meshd.http("/metrics").1;
    for line in [
        "hivemind_xds_connected 1",
        "hivemind_xds_version{version=\"1\"} 1",
        "hivemind_xds_responses_total{result=\"accepted\"} 1",
        "hivemind_xds_responses_total{result=\"rejected\"} 0",
    ] {
        assert!(
            metrics.contains(&format!("\n{line}\n")),
            "no {line} in\n{metrics}"
        );
    }
    assert!(meshd.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_update_comes_into_force_and_keeps_the_counts() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let site = site();
    let meshd = start(&site, server.address, &[]);
    await_limit(&meshd, 3);
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 4).await, 3);

    server.set("2", &[per_user(6)]);
    server.acknowledged("2");
    await_limit(&meshd, 6);
    assert_eq!(
        admitted(&mut client, "ada", 4).await,
        2,
        "4 of 6 are counted"
    );

    // Nothing at all is a set like any other: no limits.
    server.set("3", &[]);
    server.acknowledged("3");
    assert_eq!(admitted(&mut client, "ada", 10).await, 10);
    assert_eq!(ready(&meshd).0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_set_is_refused_with_the_reason_and_the_last_good_one_stays() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let site = site();
    let meshd = start(&site, server.address, &[]);
    await_limit(&meshd, 3);

    server.set("2", &[with_unit(9, RateLimitUnit::Unknown)]);
    let nack = server.heard("a refusal", |said| said.request.error_detail.is_some());
    assert_eq!(nack.request.version_info, "1", "what is in force");
    assert_eq!(nack.request.response_nonce, "2");
    let reason = nack.request.error_detail.expect("a reason").message;
    assert!(
        reason.starts_with("xds:edge: test.user: invalid rate limit unit 'UNKNOWN'"),
        "{reason}"
    );
    await_limit(&meshd, 3);
    let (code, body) = ready(&meshd);
    assert_eq!(
        (code, &body["components"]["rules"]["state"]),
        (200, &"degraded".into())
    );
    let told = status(&meshd);
    assert_eq!(told["last_attempt"]["successful"], false);
    assert_eq!(told["xds"]["version"], "1");

    server.set("3", &[per_user(5)]);
    server.acknowledged("3");
    await_limit(&meshd, 5);
    let (_, body) = ready(&meshd);
    assert_eq!(body["components"]["rules"]["state"], "up", "{body}");
}

/// Waits for this many refusals, and sees that there were no more than meshd sends: the first at once,
/// later ones half a second apart at least.
fn await_refusals(server: &ControlPlane, count: usize) {
    let began = Instant::now();
    eventually("refusals", || (server.refusals() >= count).then_some(()));
    let refusals = u32::try_from(server.refusals()).expect("few");
    // One may be on its way, and one of them came before the beginning.
    let most = began.elapsed().div_duration_f64(Duration::from_millis(500)) + 3.0;
    assert!(
        f64::from(refusals) <= most,
        "{refusals} refusals, {most} at most"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refused_set_is_asked_for_again_each_second_however_often_it_came() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let site = site();
    let meshd = start(&site, server.address, &[]);
    await_limit(&meshd, 3);

    server.set("2", &[with_unit(9, RateLimitUnit::Unknown)]);
    // Waits that doubled would take longer than any test waits.
    await_refusals(&server, 7);
    server.set("3", &[per_user(5)]);
    server.acknowledged("3");
    await_limit(&meshd, 5);
    let log = meshd.log();
    assert_eq!(log.matches("rules rejected").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refused_set_is_known_again_by_its_content() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let site = site();
    let meshd = start(&site, server.address, &["--log-level", "debug"]);
    await_limit(&meshd, 3);

    server.vary();
    let mut other = per_user(4);
    (other.name, other.domain) = ("other".to_owned(), "other".to_owned());
    server.set("2", &[with_unit(9, RateLimitUnit::Unknown), other.clone()]);
    await_refusals(&server, 4);
    let known = "the set that was refused has come again";
    eventually("it is known again", || {
        (meshd.log().matches(known).count() >= 3).then_some(())
    });

    // Another one, which is wrong as well, is looked at.
    server.set("3", &[per_user(6), with_unit(7, RateLimitUnit::Unknown)]);
    eventually("the other one is refused", || {
        let problems = status(&meshd)["last_attempt"]["problems"].to_string();
        problems.contains("duplicate domain").then_some(())
    });
    server.set("4", &[per_user(5), other]);
    await_limit(&meshd, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_nobody_asked_for_does_not_take_the_place_of_a_refusal() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let site = site();
    let meshd = start(&site, server.address, &[]);
    await_limit(&meshd, 3);
    server.digress();
    server.set("2", &[with_unit(9, RateLimitUnit::Unknown)]);
    await_refusals(&server, 3);
    server.set("3", &[per_user(5)]);
    await_limit(&meshd, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rules_stay_while_the_server_is_away_also_over_a_restart() {
    let server = ControlPlane::start();
    let address = server.address;
    server.set("1", &[per_user(3)]);
    let site = site();
    let meshd = start(&site, address, &[]);
    await_limit(&meshd, 3);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 2);

    drop(server);
    eventually("meshd notices", || {
        let (_, body) = ready(&meshd);
        (body["components"]["xds"]["state"] == "degraded").then_some(())
    });
    assert_eq!(ready(&meshd).0, 200, "it works on");
    // Attempts fail in other ways than the first one, and it is one and the same cause.
    eventually("attempts to connect", || {
        let failures = &status(&meshd)["xds"]["failures"];
        (failures.as_u64() > Some(3)).then_some(())
    });
    let log = meshd.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("no connection to the management server"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    let (_, failure) = lines[0].split_once("failure=").expect("the cause");
    assert!(failure.len() < 90, "{failure}");
    assert!(meshd.stop().success());

    let meshd = start(&site, address, &[]);
    let (code, body) = ready(&meshd);
    assert_eq!(
        (code, &body["components"]["rules"]["state"]),
        (200, &"degraded".into())
    );
    await_limit(&meshd, 3);
    assert_eq!(
        admitted(&mut meshd.client().await, "ada", 2).await,
        1,
        "rules and counts are those from before"
    );

    // A server that was started anew counts its versions anew as well.
    let server = ControlPlane::start_at(address.port(), None);
    server.set("1", &[per_user(5)]);
    server.acknowledged("1");
    await_limit(&meshd, 5);
    let (_, body) = ready(&meshd);
    assert_eq!(body["components"]["xds"]["state"], "up", "{body}");
    assert_eq!(body["components"]["rules"]["state"], "up", "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_the_server_a_new_region_has_the_rules_of_the_one_it_replaces() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let site = site();
    let first = start(&site, server.address, &[]);
    await_limit(&first, 3);
    let address = server.address;
    drop(server);

    // With a meshd that hands over, and without.
    let arguments = following(address, &["--region-max-keys=2048"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let next = replace(&site, first, "next", &arguments);
    assert!(next.log().contains("region replaced"), "{}", next.log());
    await_limit(&next, 3);
    assert_eq!(ready(&next).0, 200);
    assert_eq!(admitted(&mut next.client().await, "ada", 4).await, 3);
    assert_eq!(next.stop().code(), Some(0));
    let last = start(&site, address, &["--region-max-keys=4096"]);
    assert_eq!(admitted(&mut last.client().await, "ada", 4).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_first_configuration_need_not_be_waited_for() {
    let server = ControlPlane::start();
    let site = site();
    let more = ["--rate-limiting-require-initial-config", "false"];
    let meshd = start(&site, server.address, &more);
    assert_eq!(meshd.http("/healthcheck"), (200, "OK".to_owned()));
    let call = request(vec![descriptor(&[("user", "ada")])]);
    let error = meshd.client().await.should_rate_limit(call).await;
    assert!(error.is_err(), "ready does not mean that there are rules");
    server.set("1", &[per_user(3)]);
    await_limit(&meshd, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sighup_asks_for_everything_again() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let site = site();
    let meshd = start(&site, server.address, &[]);
    await_limit(&meshd, 3);
    let generation = status(&meshd)["generation"].clone();
    meshd.signal(Signal::HUP);
    server.heard("the answer on a second stream", |said| {
        said.stream == 2 && !said.request.response_nonce.is_empty()
    });
    assert_eq!(status(&meshd)["generation"], generation, "nothing was new");
    let call = request(vec![descriptor(&[("user", "ada")])]);
    ask(&mut meshd.client().await, call).await;
}

#[test]
fn a_set_that_is_too_large_is_not_taken_in() {
    let server = ControlPlane::start();
    let mut large = per_user(3);
    large.descriptors[0].value = "x".repeat(2_000);
    server.set("1", &[large]);
    let site = site();
    let meshd = start(&site, server.address, &["--xds-max-message-bytes", "1024"]);
    eventually("the reason is told", || {
        let reason = status(&meshd)["xds"]["last_failure"].to_string();
        reason.contains("xds.max_message_bytes").then_some(())
    });
    server.set("2", &[per_user(4)]);
    await_limit(&meshd, 4);
}

/// Passes connections on to `to`, until it is told to swallow everything.
fn gate(to: SocketAddr, swallow: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let swallow = Arc::clone(swallow);
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(to) else {
                continue;
            };
            let pairs = [
                (near.try_clone(), far.try_clone()),
                (far.try_clone(), near.try_clone()),
            ];
            for (from, to) in pairs {
                let (mut from, mut to) = (from.expect("a socket"), to.expect("a socket"));
                let swallow = Arc::clone(&swallow);
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(length @ 1..) = from.read(&mut buffer) {
                        if !swallow.load(Ordering::Relaxed)
                            && to.write_all(&buffer[..length]).is_err()
                        {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

#[test]
fn a_server_that_falls_silent_is_noticed() {
    let server = ControlPlane::start();
    server.set("1", &[per_user(3)]);
    let swallow = Arc::new(AtomicBool::new(false));
    let site = site();
    let gate = gate(server.address, &swallow);
    let meshd = start(&site, gate, &["--xds-keepalive-interval", "1s"]);
    await_limit(&meshd, 3);
    assert_eq!(status(&meshd)["xds"]["failures"], 0);

    swallow.store(true, Ordering::Relaxed);
    eventually("the silence is noticed", || {
        (status(&meshd)["xds"]["failures"] != 0).then_some(())
    });
    swallow.store(false, Ordering::Relaxed);
    server.set("2", &[per_user(5)]);
    await_limit(&meshd, 5);
}

/// A certificate authority, and a certificate it signed.
struct Pki {
    ca: String,
    certificate: String,
    key: String,
}

fn pki(name: &str) -> Pki {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("signed").pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new([name.to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("signed");
    Pki {
        ca: ca_pem,
        certificate: leaf.pem(),
        key: key.serialize_pem(),
    }
}

#[test]
fn both_sides_show_certificates_and_files_are_read_anew() {
    let (gateway, host) = (pki("gateway.test"), pki("host.test"));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&gateway.certificate, &gateway.key))
        .client_ca_root(Certificate::from_pem(&host.ca));
    let server = ControlPlane::start_at(0, Some(tls));
    server.set("1", &[per_user(3)]);

    let site = site();
    let path = |name: &str| site.path(name).to_string_lossy().into_owned();
    // The wrong authority at first.
    site.write("ca.pem", &host.ca);
    site.write("tls.crt", &host.certificate);
    site.write("tls.key", &host.key);
    let (ca, certificate, key) = (path("ca.pem"), path("tls.crt"), path("tls.key"));
    let more = [
        "--xds-tls",
        "true",
        "--xds-tls-ca-file",
        &ca,
        "--xds-tls-cert-file",
        &certificate,
        "--xds-tls-key-file",
        &key,
        "--xds-tls-server-name",
        "gateway.test",
    ];
    let meshd = start(&site, server.address, &more);
    eventually("the server is not believed", || {
        let reason = status(&meshd)["xds"]["last_failure"].to_string();
        reason.contains("invalid peer certificate").then_some(())
    });
    assert!(server.said().is_empty());
    assert!(meshd.log().contains("invalid peer certificate"));

    fs::write(site.path("ca.pem"), &gateway.ca).expect("written");
    await_limit(&meshd, 3);
    server.acknowledged("1");
}

#[test]
fn what_is_missing_or_unreadable_ends_the_start_with_its_name() {
    let site = site();
    let output = site.run(&["--rate-limiting-source", "xds"]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("xds.server: "), "{text}");

    let arguments = following(([127, 0, 0, 1], 9).into(), &[]);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = site.run(&[&arguments[..], &["--check"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("rules come from 127.0.0.1:9"), "{text}");

    arguments.extend([
        "--xds-tls",
        "true",
        "--xds-tls-ca-file",
        "/nonexistent/ca.pem",
    ]);
    let output = site.run(&arguments);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("xds.tls_ca_file: cannot read /nonexistent/ca.pem"),
        "{text}"
    );
    assert!(!site.path("region").exists(), "nothing was opened");
}
