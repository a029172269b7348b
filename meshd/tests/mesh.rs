//! The mesh in the daemon: when it runs, what it is keyed with, and how it shows itself.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use hivemind_shared::region::RegionView;
use rustix::process::Signal;
use serde_json::Value;
use support::{Meshd, RULES, Site, eventually, names_in};

/// A call of one hit for a user.
const CALL: &str =
    r#"{"domain":"test","descriptors":[{"entries":[{"key":"user","value":"ada"}]}]}"#;

const ON_LOOPBACK: [&str; 2] = ["--mesh-bind", "127.0.0.1:0"];

/// A key file with one seal key.
fn keys(hash: char, seal: char) -> String {
    let digits = |digit: char, count| digit.to_string().repeat(count);
    format!("hash {}\nseal {}\n", digits(hash, 32), digits(seal, 64))
}

/// A site whose mesh is on loopback and sealed with these keys.
fn sealed_site(keys: &str) -> Site {
    let site = Site::new(RULES);
    site.write("mesh.keys", keys);
    fs::set_permissions(site.path("mesh.keys"), Permissions::from_mode(0o600)).expect("a mode");
    site
}

fn start_sealed(site: &Site) -> Meshd {
    let path = site.path("mesh.keys");
    let path = path.to_str().expect("UTF-8");
    site.start_with(&["--mesh-bind", "127.0.0.1:0", "--mesh-key-file", path])
}

fn peers(meshd: &Meshd) -> Value {
    let (status, body) = meshd.admin("/peers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn mesh_health(meshd: &Meshd) -> Value {
    let ready: Value = serde_json::from_str(&meshd.http("/ready").1).expect("JSON");
    ready["components"]["mesh"].clone()
}

#[test]
fn without_anybody_to_share_with_the_mesh_is_off_and_says_how_to_turn_it_on() {
    let site = Site::new(RULES);
    let meshd = site.start();
    assert_eq!(meshd.ports.mesh, None);
    let log = meshd.log();
    for part in ["the mesh is off", "mesh.key_file", "mesh.bootstrap_peers"] {
        assert!(log.contains(part), "{log}");
    }
    assert_eq!(peers(&meshd)["mesh"], "off");
    assert_eq!(mesh_health(&meshd)["state"], "up");
    assert_eq!(meshd.stop().code(), Some(0));
}

#[test]
fn counts_are_not_shared_in_the_open_unless_that_was_asked_for() {
    let site = Site::new(RULES);
    let before = names_in(&site.path(""));
    let peers = "--mesh-bootstrap-peers=127.0.0.1:9";
    let output = site.run(&[peers]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in ["mesh.key_file", "mesh.insecure", "--mesh-bootstrap-peers"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(names_in(&site.path("")), before, "nothing was created");

    let meshd = site.start_with(&[peers, "--mesh-bind=0.0.0.0:0", "--mesh-insecure=true"]);
    let log = meshd.log();
    assert!(log.contains("read and change counts"), "{log}");
    assert!(meshd.ports.mesh.is_some());
}

#[test]
fn wrong_keys_are_status_64_with_file_and_line_and_nothing_is_bound_or_created() {
    let site = sealed_site("# ours\nnonsense\n");
    let before = names_in(&site.path(""));
    let path = site.path("mesh.keys");
    let path = path.to_str().expect("UTF-8");
    // A port that is taken would be status 71: keys come first.
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let bind = taken.local_addr().expect("its address").to_string();
    let wrong = |expected: &str| {
        for arguments in [&[][..], &["--check"]] {
            let output = site
                .command(&["--mesh-bind", &bind, "--mesh-key-file", path])
                .args(arguments)
                .output()
                .expect("meshd can be run");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(64), "{text}");
            assert!(text.contains(path) && text.contains(expected), "{text}");
        }
    };
    wrong("line 2");
    assert_eq!(names_in(&site.path("")), before);
    fs::remove_file(path).expect("removed");
    wrong("cannot read");
}

#[test]
fn a_port_of_the_mesh_that_is_taken_is_status_71() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let bind = taken.local_addr().expect("its address").to_string();
    let output = Site::new(RULES).run(&["--mesh-bind", &bind]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(71), "{text}");
    assert!(text.contains("mesh.bind"), "{text}");
}

#[test]
fn a_mesh_on_loopback_runs_unsealed_and_shows_itself() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&ON_LOOPBACK);
    assert!(meshd.ports.mesh.is_some_and(|port| port != 0));
    eventually("the mesh is up", || {
        (mesh_health(&meshd)["state"] == "up").then_some(())
    });
    let peers = peers(&meshd);
    assert_eq!(peers["mesh"], "on", "{peers}");
    assert!(peers["peers"].is_array(), "{peers}");
    let (_, metrics) = meshd.http("/metrics");
    assert!(metrics.contains("\nhivemind_mesh_joined 1\n"), "{metrics}");
    assert!(
        metrics.contains("hivemind_mesh_dropped_total{cause=\"malformed\"} "),
        "{metrics}"
    );
    meshd.signal(Signal::TERM);
    let log = site.path("log");
    assert_eq!(meshd.wait().code(), Some(0));
    let log = fs::read_to_string(log).expect("a log");
    let left = log.find("left the mesh").expect("it says goodbye");
    assert!(log.find("meshd stops").is_some_and(|at| at < left), "{log}");
    assert!(
        log.find("meshd has stopped").is_some_and(|at| left < at),
        "{log}"
    );
}

#[test]
fn the_region_says_where_the_admin_port_is_until_it_closes() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let region = RegionView::open(&site.path("region")).expect("a region");
    let expected = ([127, 0, 0, 1], meshd.ports.admin).into();
    assert_eq!(region.admin_address(), Some(expected));

    fs::remove_file(site.path("region")).expect("the region is there");
    eventually("a new region says so too", || {
        let region = RegionView::open(&site.path("region")).ok()?;
        (region.admin_address() == Some(expected)).then_some(())
    });
    assert_eq!(meshd.stop().code(), Some(0));
    let region = RegionView::open(&site.path("region")).expect("a region");
    assert_eq!(region.admin_address(), None);
}

#[test]
fn every_start_is_another_run_and_a_region_that_is_made_again_begins_one() {
    let site = Site::new(RULES);
    let incarnation = || {
        let region = RegionView::open(&site.path("region")).ok()?;
        Some(region.incarnation()).filter(|incarnation| *incarnation > 0)
    };
    let meshd = site.start_with(&ON_LOOPBACK);
    let first = incarnation().expect("a run");
    assert_eq!(meshd.stop().code(), Some(0));
    let meshd = site.start_with(&ON_LOOPBACK);
    assert!(incarnation().expect("a run") > first);

    fs::remove_file(site.path("region")).expect("the region is there");
    eventually("a run in the new region", incarnation);
    eventually("the mesh follows", || {
        meshd
            .log()
            .contains("goes on with the new region")
            .then_some(())
    });
    assert_eq!(peers(&meshd)["mesh"], "on");
    assert_eq!(mesh_health(&meshd)["state"], "up");
}

#[test]
fn another_hash_key_starts_a_new_region_and_says_why() {
    let site = sealed_site(&keys('1', 'a'));
    let meshd = start_sealed(&site);
    assert_eq!(meshd.json(CALL).0, 200);
    assert_eq!(meshd.stop().code(), Some(0));

    let meshd = start_sealed(&site);
    assert!(meshd.log().contains("region resumed"), "{}", meshd.log());
    assert_eq!(meshd.stop().code(), Some(0));

    site.write("mesh.keys", &keys('2', 'a'));
    let meshd = start_sealed(&site);
    let log = meshd.log();
    assert!(
        log.contains("region replaced") && log.contains("hash key differs"),
        "{log}"
    );
}

#[test]
fn a_broken_key_file_keeps_the_keys_in_force_and_shows() {
    let site = sealed_site(&keys('1', 'a'));
    let meshd = start_sealed(&site);
    site.write("mesh.keys", &format!("{}nonsense\n", keys('1', 'b')));
    let degraded = eventually("a degraded mesh", || {
        Some(mesh_health(&meshd)).filter(|mesh| mesh["state"] == "degraded")
    });
    let detail = degraded["detail"].as_str().expect("a text");
    assert!(detail.contains("line 3"), "{detail}");
    assert_eq!(meshd.http("/ready").0, 200, "it works on");
    assert!(meshd.log().contains("key file rejected"), "{}", meshd.log());

    site.write("mesh.keys", &keys('2', 'b'));
    meshd.signal(Signal::HUP);
    eventually("another hash key is refused", || {
        let detail = mesh_health(&meshd)["detail"].as_str()?.to_owned();
        detail.contains("restart").then_some(())
    });

    site.write("mesh.keys", &keys('1', 'b'));
    eventually("the mesh is up again", || {
        (mesh_health(&meshd)["state"] == "up").then_some(())
    });
    assert!(meshd.log().contains("keys reloaded"), "{}", meshd.log());
}

#[test]
fn keys_others_may_read_are_warned_about() {
    let site = sealed_site(&keys('1', 'a'));
    fs::set_permissions(site.path("mesh.keys"), Permissions::from_mode(0o644)).expect("a mode");
    let meshd = start_sealed(&site);
    assert!(meshd.log().contains("mode 0644"), "{}", meshd.log());
}

/// Two daemons that know of each other by the second one's bootstrap peers.
fn pair() -> ([Site; 2], [Meshd; 2]) {
    let sites = [(); 2].map(|()| sealed_site(&keys('1', 'a')));
    let first = start_sealed(&sites[0]);
    let peer = format!("127.0.0.1:{}", first.ports.mesh.expect("a port"));
    let keys = sites[1].path("mesh.keys");
    let second = sites[1].start_with(&[
        "--mesh-bind=127.0.0.1:0",
        "--mesh-key-file",
        keys.to_str().expect("UTF-8"),
        "--mesh-bootstrap-peers",
        &peer,
    ]);
    (sites, [first, second])
}

/// Waits until a daemon sees its one peer alive.
fn await_peer(meshd: &Meshd) {
    eventually("a peer", || {
        (peers(meshd)["peers"][0]["state"] == "alive").then_some(())
    });
}

#[test]

fn two_daemons_find_each_other_and_share_their_counts() {
    let (_sites, [first, second]) = pair();
    await_peer(&first);
    await_peer(&second);
    assert_eq!(first.json(CALL).0, 200);
    // Reads without counting.
    let look = CALL.replace("\"entries\"", "\"hitsAddend\":\"0\",\"entries\"");
    eventually("the hit shows in the other", || {
        let answer: Value = serde_json::from_str(&second.json(&look).1).ok()?;
        (answer["statuses"][0]["limitRemaining"] == 2).then_some(())
    });
    eventually("the second is ready", || {
        (second.http("/ready").0 == 200).then_some(())
    });
}

#[test]

fn a_daemon_that_stops_is_missed_at_once_and_its_counts_stay() {
    let (_sites, [first, second]) = pair();
    await_peer(&first);
    await_peer(&second);
    assert_eq!(second.json(CALL).0, 200);
    assert_eq!(second.stop().code(), Some(0));
    let answered = std::time::Instant::now();
    eventually("the peer is gone", || {
        (peers(&first)["peers"][0]["state"] != "alive").then_some(())
    });
    assert!(
        answered.elapsed() < std::time::Duration::from_secs(2),
        "a goodbye is not waited for like a death"
    );
    let answer: Value = serde_json::from_str(&first.json(CALL).1).expect("JSON");
    assert_eq!(answer["statuses"][0]["limitRemaining"], 1, "its hit stays");
    assert_eq!(first.http("/ready").0, 200);
}
