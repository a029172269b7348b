//! Starting, stopping, being killed, and what stays.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs;
use std::process::Output;

use rustix::process::Signal;
use support::raw_http2::Peer;
use support::{RULES, Site, admitted, eventually, names_in};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_wrong_service_file_is_status_64_with_every_problem_and_nothing_is_created() {
    let site = Site::new(RULES);
    site.write(
        "hivemind.yaml",
        "region:\n  max_kesy: 5\nserver:\n  grpc_port: many\n",
    );
    let before = names_in(&site.path(""));
    let output = site
        .command(&[
            "--ports-file",
            site.path("ports.json").to_str().expect("UTF-8"),
        ])
        .env("HIVEMIND_ADMIN_PORT", "-1")
        .output()
        .expect("meshd can be run");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(
        text.contains("hivemind.yaml:2:3: unknown key in region: 'max_kesy'"),
        "{text}"
    );
    assert!(text.contains("2 |   max_kesy: 5"), "{text}");
    assert!(text.contains("did you mean 'max_keys'?"), "{text}");
    assert!(
        text.contains("hivemind.yaml:4:14: server.grpc_port"),
        "{text}"
    );
    assert!(text.contains("HIVEMIND_ADMIN_PORT: admin.port"), "{text}");
    assert!(text.contains("3 problems"), "{text}");
    assert_eq!(names_in(&site.path("")), before);
}

#[test]
fn an_unknown_flag_is_status_64_and_help_is_status_0() {
    let site = Site::new(RULES);
    assert_eq!(site.run(&["--colour"]).status.code(), Some(64));
    let help = site.run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--region-max-keys"));
}

#[test]
fn wrong_rules_are_status_65_with_every_problem_and_nothing_is_created() {
    let site = Site::new(
        "domain: test\ndescriptors:\n  - key: a\n    rate_limit: {unit: fortnight, requests_per_unit: 1}\n  \
         - value: b\n",
    );
    let before = names_in(&site.path(""));
    for arguments in [&[][..], &["--check"]] {
        let output = site.run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(65), "{text}");
        assert!(text.contains("ratelimit.yaml:4:"), "{text}");
        assert!(text.contains("ratelimit.yaml:5:"), "{text}");
        assert!(text.contains("fortnight"), "{text}");
        assert_eq!(names_in(&site.path("")), before);
    }
    fs::remove_file(site.path("ratelimit.yaml")).expect("removed");
    assert_eq!(
        site.run(&[]).status.code(),
        Some(65),
        "missing rules are wrong rules"
    );
}

#[test]
fn a_check_of_what_is_right_is_status_0_and_creates_nothing() {
    let site = Site::new(RULES);
    let before = names_in(&site.path(""));
    let output = site.run(&["--check"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(names_in(&site.path("")), before);
}

#[test]
fn a_port_that_is_taken_is_status_71() {
    let site = Site::new(RULES);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let output = site.run(&["--server-http-port", &port]);
    assert_eq!(output.status.code(), Some(71), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("server.http_port"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let site = Site::new(RULES);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let own = format!("--region-path={}", site.path("own/region").display());
    let many = "  - {key: user, value: @, rate_limit: {unit: hour, requests_per_unit: 1}}\n";
    let many: String = (0..200)
        .map(|n| many.replace('@', &format!("\"{n:030}\"")))
        .collect();
    site.write("many.yaml", &format!("domain: test\ndescriptors:\n{many}"));
    let rules = format!(
        "--rate-limiting-config-path={}",
        site.path("many.yaml").display()
    );
    let nowhere = site.path("no/where.json");
    let nowhere = nowhere.to_str().expect("UTF-8");
    let before = names_in(&site.path(""));
    for (arguments, status) in [
        (&["--server-http-port", &*port][..], 71),
        (&["--ports-file", nowhere], 73),
        (&[&*rules, "--region-rules-bytes=4096"], 65),
        (
            &["--region-max-keys=67108864", "--region-label-bytes=1024"],
            73,
        ),
    ] {
        for place in [&[][..], &[&*own]] {
            let output = site.run(&[arguments, place].concat());
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
            assert_eq!(names_in(&site.path("")), before, "{arguments:?}");
        }
    }
    // A region that was there before stays.
    assert_eq!(site.start().stop().code(), Some(0));
    let output = site.run(&["--ports-file", nowhere]);
    assert_eq!(output.status.code(), Some(73), "{}", stderr(&output));
    assert!(site.path("region").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_meshd_that_may_not_wait_says_who_owns_the_region_and_leaves() {
    let site = Site::new(RULES);
    let first = site.start();
    let output = site.run(&["--region-takeover-timeout", "0s"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains(&format!("process {}", first.pid())), "{text}");

    let mut client = first.client().await;
    assert_eq!(
        admitted(&mut client, "ada", 4).await,
        3,
        "the first is not bothered"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_is_clean_and_the_counters_stay_for_the_next_start() {
    let site = Site::new(RULES);
    for signal in [Signal::TERM, Signal::INT] {
        let meshd = site.start();
        let mut client = meshd.client().await;
        assert_eq!(admitted(&mut client, "ada", 1).await, 1);
        // With the connection still open: an idle one holds up nothing.
        meshd.signal(signal);
        assert_eq!(meshd.wait().code(), Some(0));
    }
    let meshd = site.start();
    let mut client = meshd.client().await;
    assert_eq!(
        admitted(&mut client, "ada", 3).await,
        1,
        "two of three were used before"
    );
    assert!(meshd.log().contains("region resumed"), "{}", meshd.log());
}

/// A connection that begins to speak HTTP/2 and then never reacts to anything.
fn unresponsive_peer(meshd: &support::Meshd) -> Peer {
    let mut peer = Peer::connect(meshd.ports.grpc);
    peer.wait_for_settings();
    peer
}

#[test]
fn a_stop_waits_for_unresponsive_peers_only_so_long() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-drain-timeout", "200ms"]);
    let _peer = unresponsive_peer(&meshd);
    meshd.signal(Signal::TERM);
    assert_eq!(meshd.wait().code(), Some(0));
    let log = fs::read_to_string(site.path("log")).expect("a log");
    assert!(log.contains("cut off"), "{log}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-drain-timeout", "24h"]);
    let _peer = unresponsive_peer(&meshd);
    meshd.signal(Signal::TERM);
    eventually("the stop begins", || {
        meshd.log().contains("meshd stops").then_some(())
    });
    assert_eq!(meshd.http("/ready").0, 503, "unready while it drains");
    eventually("the port of the service is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", meshd.ports.grpc)).err()
    });
    meshd.signal(Signal::INT);
    assert_eq!(meshd.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_meshd_loses_no_count() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 2).await, 2);
    meshd.kill();

    let meshd = site.start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 5).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_size_makes_a_new_region_and_says_so() {
    let site = Site::new(RULES);
    let meshd = site.start();
    assert_eq!(admitted(&mut meshd.client().await, "ada", 3).await, 3);
    assert!(meshd.stop().success());

    let meshd = site.start_with(&["--region-max-keys", "4096"]);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 3).await, 3);
    assert!(meshd.log().contains("region replaced"), "{}", meshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_region_that_is_removed_is_made_again() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 3).await, 3);

    fs::remove_file(site.path("region")).expect("the region is there");
    eventually("a new region", || {
        site.path("region").exists().then_some(())
    });
    eventually("the service moves to it", || {
        meshd.log().contains("went on with a new one").then_some(())
    });
    assert_eq!(
        admitted(&mut client, "ada", 4).await,
        3,
        "its counters went with the file"
    );
    assert_eq!(meshd.http("/ready").0, 200);
}

#[test]
fn unknown_variables_with_our_prefix_are_a_warning() {
    let site = Site::new(RULES);
    let output = site
        .command(&["--check"])
        .env("HIVEMIND_REGION_MAXKEYS", "5")
        .env("HIVEMIND_ENVOY", "/usr/bin/envoy")
        .output()
        .expect("meshd can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        text.contains("did you mean HIVEMIND_REGION_MAX_KEYS?"),
        "{text}"
    );
    assert!(!text.contains("HIVEMIND_ENVOY"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let site = Site::new(RULES);
    let meshd = site.start_unread();
    // Each of these would be a line: of the threads for rules and for the region, and of the runtime.
    site.write("ratelimit.yaml", "nonsense");
    eventually("the reload is rejected", || {
        let (_, ready) = meshd.http("/ready");
        ready.contains("the last reload failed").then_some(())
    });
    fs::remove_file(site.path("region")).expect("the region is there");
    eventually("a new region", || {
        site.path("region").exists().then_some(())
    });
    site.write("ratelimit.yaml", &RULES.replace("unit: 3", "unit: 5"));
    eventually("the rules are in force", || {
        meshd.admin("/rules").1.contains("5 per year").then_some(())
    });
    meshd.signal(Signal::HUP);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 9).await, 5);
    assert_eq!(meshd.http("/ready").0, 200);
    assert_eq!(meshd.stop().code(), Some(0));
}

#[test]
fn logs_can_be_json_lines() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--log-format", "json"]);
    let log = meshd.log();
    assert!(log.lines().count() > 1);
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
}
