//! One meshd after the other, with clients and peers that must not notice.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hivemind_shared::region::RegionView;
use rustix::process::Signal;
use support::crowd::{
    CALL, CALL_INTERVAL, Crowd, busy_site, counted, endpoint, replace, unix_endpoint,
};
use support::newcomer::Newcomer;
use support::{Client, Meshd, RULES, Site, admitted, eventually, exchange};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_notice_nothing_of_many_restarts_and_every_hit_is_counted_once() {
    let site = busy_site();
    let socket = site.path("rls.sock");
    let arguments = ["--server-grpc-socket", socket.to_str().expect("UTF-8")];
    let mut meshd = site.launch("log-0", &arguments);
    meshd.await_ready();
    let ports = meshd.ports;

    let mut crowd = Crowd::new();
    crowd.add_lasting(meshd.client().await);
    crowd.add_lasting(meshd.client().await);
    let over_unix = unix_endpoint(&site).connect().await.expect("a connection");
    crowd.add_lasting(Client::new(over_unix));
    crowd.add_brief(endpoint(ports.grpc));
    crowd.add_brief(unix_endpoint(&site));
    crowd.add_http(ports.http);
    crowd.add_lasting_http(ports.http);
    crowd.await_calls();
    for run in 1..=6 {
        meshd = replace(&site, meshd, &format!("log-{run}"), &arguments);
        assert_eq!(meshd.ports.grpc, ports.grpc);
        assert_eq!(meshd.ports.http, ports.http);
        assert_eq!(meshd.ports.admin, ports.admin);
        assert!(meshd.log().contains("region resumed"), "{}", meshd.log());
        crowd.await_calls();
    }
    let made = crowd.disperse().await;
    assert_eq!(counted(&meshd), made);
    assert!(socket.exists());
    assert_eq!(meshd.stop().code(), Some(0));
    assert!(!socket.exists(), "the last one removes its file");
    assert!(!site.path("region.handover").exists());
}

#[test]
fn newcomers_take_turns() {
    let site = Site::new(RULES);
    let first = site.start();
    let mut others: Vec<Meshd> = ["second", "third"].map(|log| site.launch(log, &[])).into();
    assert_eq!(first.wait().code(), Some(0));
    // Whoever came first has handed over to the other one, and ends.
    let last = eventually("one of them ends", || {
        let ended = others.iter_mut().position(Meshd::has_ended)?;
        let ended = others.swap_remove(ended);
        assert_eq!(ended.wait().code(), Some(0));
        others.pop()
    });
    let mut last = last;
    last.await_ready();
    assert_eq!(last.http("/ready").0, 200);
    assert!(!last.has_ended());
}

#[test]
fn a_socket_that_is_not_configured_any_more_closes_and_a_new_one_opens() {
    let site = Site::new(RULES);
    let [old, new] = ["old.sock", "new.sock"].map(|name| site.path(name));
    let argument = |path: &std::path::Path| format!("--server-grpc-socket={}", path.display());
    let first = site.start_with(&[&argument(&old), "--admin-address=127.0.0.2"]);
    let ports = first.ports;
    let for_ever = "--region-takeover-timeout=5000000000000000h";
    let second = replace(&site, first, "second", &[&argument(&new), for_ever]);
    assert_eq!(
        (second.ports.grpc, second.ports.http),
        (ports.grpc, ports.http)
    );
    assert!(std::net::TcpStream::connect(("127.0.0.2", ports.admin)).is_err());
    assert!(!old.exists());
    assert!(std::os::unix::net::UnixStream::connect(&new).is_ok());
    let region = RegionView::open(&site.path("region")).expect("a region");
    let admin = ([127, 0, 0, 1], second.ports.admin).into();
    assert_eq!(region.admin_address(), Some(admin));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_newcomer_that_cannot_use_the_region_makes_its_own_and_keeps_the_ports() {
    let site = Site::new(RULES);
    let mut meshd = site.start();
    assert_eq!(admitted(&mut meshd.client().await, "ada", 3).await, 3);
    let ports = meshd.ports;
    let larger = ["--region-max-keys=4096"];

    meshd = replace(&site, meshd, "larger", &larger);
    assert!(meshd.log().contains("region replaced"), "{}", meshd.log());
    assert_eq!(admitted(&mut meshd.client().await, "ada", 3).await, 3);

    // The region's layout version.
    let file = File::options().write(true).open(site.path("region"));
    file.and_then(|file| file.write_all_at(&1_u64.to_ne_bytes(), 8))
        .expect("the region can be written");
    meshd = replace(&site, meshd, "version", &larger);
    let log = meshd.log();
    assert!(log.contains("has layout version 1"), "{log}");
    assert_eq!(admitted(&mut meshd.client().await, "ada", 3).await, 3);

    assert_eq!(meshd.ports.grpc, ports.grpc);
    let region = RegionView::open(&site.path("region")).expect("a region");
    assert_eq!(region.max_keys(), 4_096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn meshds_that_cannot_see_each_others_processes_hand_over() {
    let site = Site::new(RULES);
    // As in two containers.
    let launch = |log| {
        let meshd = site.command(&[]);
        let mut command = Command::new("unshare");
        command
            .args(["--map-current-user", "--pid", "--kill-child"])
            .arg(meshd.get_program())
            .args(meshd.get_args());
        let mut meshd = site.launch_command(log, command);
        meshd.await_ready();
        meshd
    };
    let first = launch("first");
    let grpc = first.ports.grpc;
    assert_eq!(admitted(&mut first.client().await, "ada", 2).await, 2);
    let second = launch("second");
    assert_eq!(first.wait().code(), Some(0));
    assert_eq!(second.ports.grpc, grpc);
    assert_eq!(admitted(&mut second.client().await, "ada", 2).await, 1);
}

#[test]
fn rules_that_came_into_force_while_a_newcomer_waited_stay() {
    let site = Site::new(RULES);
    let first = site.start();
    // Somebody is at the door, and another one has to wait with the rules it has read.
    let visitor = Newcomer::knock(&site);
    let mut next = site.launch("next", &[]);
    next.await_log("waiting for the meshd that owns the region");
    site.write("ratelimit.yaml", &RULES.replace("unit: 3", "unit: 5"));
    first.await_log("rules reloaded");
    let generation = |meshd: &Meshd| {
        let (_, status) = meshd.admin("/rules/status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["generation"].as_u64().expect("a number")
    };
    let before = generation(&first);
    drop(visitor);
    next.await_ready();
    assert_eq!(first.wait().code(), Some(0));
    let rules = next.admin("/rules").1;
    assert!(rules.contains("5 per year"), "{rules}");
    assert_eq!(generation(&next), before + 1);

    // Those that became wrong meanwhile are not taken.
    let visitor = Newcomer::knock(&site);
    let mut last = site.launch("last", &[]);
    last.await_log("waiting for the meshd that owns the region");
    site.write("ratelimit.yaml", "domain: test\ndescriptors: 5\n");
    next.await_log("rules rejected");
    drop(visitor);
    last.await_ready();
    assert_eq!(next.wait().code(), Some(0));
    last.await_log("rules rejected");
    let rules = last.admin("/rules").1;
    assert!(rules.contains("5 per year"), "{rules}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_in_flight_finish_and_a_signal_meanwhile_changes_nothing() {
    let site = Site::new(RULES);
    let on_loopback = "--mesh-bind=127.0.0.1:0";
    let first = site.start_with(&["--server-drain-timeout", "24h", on_loopback]);
    // A connection that never reacts to anything is as good as a call that takes long.
    let mut peer = support::raw_http2::Peer::connect(first.ports.grpc);
    peer.wait_for_settings();
    let mut second = site.launch("second", &[on_loopback]);
    second.await_ready();
    first.await_log("waiting for calls in flight");

    // The one that drains holds nothing that anybody else needs: neither the right to the region nor a
    // port.
    let ports = second.ports;
    assert_eq!(second.stop().code(), Some(0));
    let mut third = site.launch(
        "third",
        &[
            "--region-takeover-timeout=0s",
            &format!("--server-grpc-port={}", ports.grpc),
            &format!("--server-http-port={}", ports.http),
            &format!("--admin-port={}", ports.admin),
            &format!("--mesh-bind=127.0.0.1:{}", ports.mesh.expect("a port")),
        ],
    );
    third.await_ready();
    assert_eq!(admitted(&mut third.client().await, "ada", 4).await, 3);

    first.signal(Signal::TERM);
    first.await_log("this meshd stops already");
    assert!(
        !first.log().contains("asked again to stop"),
        "{}",
        first.log()
    );
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    let region = RegionView::open(&site.path("region")).expect("a region");
    assert_eq!(region.owner_pid(), u64::from(third.pid()));
    assert_eq!(third.http("/ready").0, 200);
    assert!(site.path("region.handover").exists());
}

/// The states of a daemon's peers.
fn peer_states(meshd: &Meshd) -> Vec<String> {
    let (status, peers) = meshd.admin("/peers");
    assert_eq!(status, 200, "{peers}");
    let peers: serde_json::Value = serde_json::from_str(&peers).expect("JSON");
    let states = peers["peers"].as_array().into_iter().flatten();
    states
        .map(|peer| peer["state"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn peers_see_no_outage_and_count_nothing_twice() {
    let sites = [busy_site(), busy_site()];
    // The one that knows nobody by its configuration is the one that is replaced.
    let mut first = sites[0].launch("log-0", &["--mesh-bind=127.0.0.1:0"]);
    first.await_ready();
    let port = first.ports.mesh.expect("a port");
    let peer = format!("--mesh-bootstrap-peers=127.0.0.1:{port}");
    let second = sites[1].start_with(&["--mesh-bind=127.0.0.1:0", &peer]);
    for meshd in [&first, &second] {
        eventually("a peer", || (peer_states(meshd) == ["alive"]).then_some(()));
    }
    let (http, admin) = (first.ports.http, first.ports.admin);
    let mut calls = 0;
    for _ in 0..20 {
        assert_eq!(first.json(CALL).0, 200);
        assert_eq!(second.json(CALL).0, 200);
        calls += 2;
    }
    eventually("all counts in both", || {
        (counted(&first) == calls && counted(&second) == calls).then_some(())
    });

    for run in 1..=3 {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        // Whoever is at the ports of the first is ready and knows all counts at all times.
        let watch = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let get = |port, path: &str| {
                    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close");
                    exchange(port, &format!("{head}\r\n\r\n"))
                };
                let (status, ready) = get(http, "/ready");
                assert_eq!(status, 200, "{ready}");
                assert_eq!(get(admin, "/peers").0, 200);
                std::thread::sleep(CALL_INTERVAL);
            }
        });
        let mut next = sites[0].launch(&format!("log-{run}"), &["--mesh-bind=127.0.0.1:0"]);
        while !first.has_ended() {
            assert_eq!(peer_states(&second), ["alive"]);
            assert_eq!(second.json(CALL).0, 200);
            calls += 1;
            std::thread::sleep(CALL_INTERVAL);
        }
        next.await_ready();
        assert_eq!(next.ports.mesh, Some(port));
        first = next;
        eventually("all counts in both", || {
            assert_eq!(peer_states(&second), ["alive"]);
            (counted(&first) == calls && counted(&second) == calls).then_some(())
        });
        eventually("the peer", || {
            (peer_states(&first) == ["alive"]).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
        watch.join().expect("it was ready at all times");
    }
    for _ in 0..10 {
        assert_eq!(first.json(CALL).0, 200);
        calls += 1;
    }
    eventually("all counts in both", || {
        (counted(&first) == calls && counted(&second) == calls).then_some(())
    });

    // One that takes over and dies leaves a mesh that goes on as well.
    let newcomer = Newcomer::knock(&sites[0]);
    let offered = newcomer.ask();
    assert!(
        newcomer
            .take()
            .contains(&second.ports.mesh.expect("a port").to_string())
    );
    assert_eq!(first.json(CALL).0, 200);
    assert_eq!(second.json(CALL).0, 200);
    calls += 2;
    drop((newcomer, offered));
    eventually("all counts in both", || {
        assert_eq!(peer_states(&second), ["alive"]);
        (counted(&first) == calls && counted(&second) == calls).then_some(())
    });
}

#[test]
fn a_newcomer_with_a_region_of_its_own_is_ready_when_peers_have_told_their_counts() {
    let sites = [busy_site(), busy_site()];
    let mesh = [
        "--mesh-bind=127.0.0.1:0",
        // Nobody is given up while it is stopped.
        "--mesh-preset=wan",
        "--mesh-snapshot-timeout=600s",
    ];
    let first = sites[0].start_with(&mesh);
    let port = first.ports.mesh.expect("a port");
    let peer = format!("--mesh-bootstrap-peers=127.0.0.1:{port}");
    let second = sites[1].start_with(&[&mesh[..], &[&peer]].concat());
    for meshd in [&first, &second] {
        eventually("a peer", || (peer_states(meshd) == ["alive"]).then_some(()));
        eventually("ready", || (meshd.http("/ready").0 == 200).then_some(()));
    }
    for _ in 0..5 {
        assert_eq!(second.json(CALL).0, 200);
    }
    eventually("all counts", || (counted(&first) == 5).then_some(()));

    second.signal(Signal::STOP);
    let larger = [&mesh[..], &["--region-max-keys=4096"]].concat();
    let next = replace(&sites[0], first, "larger", &larger);
    let (status, ready) = next.http("/ready");
    assert_eq!(status, 503, "{ready}");
    assert!(ready.contains("waiting for a snapshot"), "{ready}");
    second.signal(Signal::CONT);
    eventually("ready", || (next.http("/ready").0 == 200).then_some(()));
    assert_eq!(counted(&next), 5);
}
