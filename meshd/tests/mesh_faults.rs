//! A mesh that does not do its work says so: nobody is there, peers come and go, rules differ.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs::{self, Permissions};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::{Meshd, RULES, Site, eventually};

/// A key file with one seal key.
fn keys(hash: char, seal: char) -> String {
    let digits = |digit: char, count| digit.to_string().repeat(count);
    format!("hash {}\nseal {}\n", digits(hash, 32), digits(seal, 64))
}

/// A host of a test: its directory, and where its mesh is.
struct Host {
    site: Site,
    name: &'static str,
    address: SocketAddr,
}

/// An address nobody listens at.
fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address")
}

impl Host {
    fn new(name: &'static str) -> Self {
        let site = Site::new(RULES);
        let host = Self {
            site,
            name,
            address: free_address(),
        };
        host.write_keys(&keys('1', 'a'));
        host
    }

    fn write_keys(&self, keys: &str) {
        self.site.write("mesh.keys", keys);
        let path = self.site.path("mesh.keys");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a mode");
    }

    /// Starts meshd with these bootstrap peers and more arguments.
    fn start(&self, peers: &str, more: &[&str]) -> Meshd {
        let keys = self.site.path("mesh.keys");
        let mut command = self.site.command(more);
        command
            .arg(format!("--node-name={}", self.name))
            .arg(format!("--mesh-bind={}", self.address))
            .arg(format!("--mesh-bootstrap-peers={peers}"))
            .arg("--mesh-key-file")
            .arg(keys);
        self.site.start_command(command)
    }

    fn start_beside(&self, peer: &Self, more: &[&str]) -> Meshd {
        self.start(&peer.address.to_string(), more)
    }
}

fn mesh_health(meshd: &Meshd) -> Value {
    let ready: Value = serde_json::from_str(&meshd.http("/ready").1).expect("JSON");
    ready["components"]["mesh"].clone()
}

fn metrics(meshd: &Meshd) -> String {
    meshd.http("/metrics").1
}

/// Lines of the log with all these parts.
fn lines(meshd: &Meshd, parts: &[&str]) -> Vec<String> {
    let log = meshd.log();
    let lines = log
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)));
    lines.map(str::to_owned).collect()
}

fn await_line(meshd: &Meshd, parts: &[&str]) -> String {
    eventually(&format!("a line with {parts:?}"), || {
        lines(meshd, parts).pop()
    })
}

/// Waits until health says that nobody is there, for a cause with these parts.
fn await_alone(meshd: &Meshd, parts: &[&str]) {
    eventually(&format!("alone because of {parts:?}"), || {
        let mesh = mesh_health(meshd);
        let detail = mesh["detail"].as_str().unwrap_or_default();
        let is_it = mesh["state"] == "degraded" && parts.iter().all(|part| detail.contains(part));
        is_it.then_some(())
    });
    assert_eq!(meshd.http("/ready").0, 200, "it works on");
    eventually("the metric", || {
        metrics(meshd)
            .contains("\nhivemind_mesh_alone 1\n")
            .then_some(())
    });
    let parts = [&["WARN", "no peer is there"], parts].concat();
    await_line(meshd, &parts);
}

/// Waits until a peer is there.
fn await_up(meshd: &Meshd) {
    eventually("the mesh is up", || {
        let is_up = mesh_health(meshd)["state"] == "up";
        (is_up && metrics(meshd).contains("\nhivemind_mesh_members{state=\"alive\"} 1\n"))
            .then_some(())
    });
    eventually("the metric", || {
        metrics(meshd)
            .contains("\nhivemind_mesh_alone 0\n")
            .then_some(())
    });
}

/// Two hosts that look for each other, of which the second is different: what each of them says.
fn assert_told_apart(change: impl Fn(&Host), arguments: &[&str], here: &str, there: &str) {
    let [one, other] = ["one", "other"].map(Host::new);
    change(&other);
    let first = one.start_beside(&other, &[]);
    let second = other.start_beside(&one, arguments);
    await_alone(&first, &[&other.address.to_string(), here]);
    await_alone(&second, &[&one.address.to_string(), there]);
}

#[test]
fn another_key_on_two_hosts_shows_on_both() {
    let other_key = "sealed with a key that is not in mesh.key_file";
    let change = |host: &Host| host.write_keys(&keys('1', 'b'));
    assert_told_apart(change, &[], other_key, other_key);
}

#[test]
fn another_hash_key_on_two_hosts_shows_on_both() {
    let other_hash = "the `hash` line of mesh.key_file differs";
    let change = |host: &Host| host.write_keys(&keys('2', 'a'));
    assert_told_apart(change, &[], other_hash, other_hash);
}

#[test]
fn another_cluster_on_two_hosts_shows_on_both() {
    let other = "mesh.cluster differs";
    assert_told_apart(|_| {}, &["--mesh-cluster=another"], other, other);
}

#[test]
fn a_peer_that_nobody_listens_at_one_that_is_silent_and_a_name_without_an_address_are_told_apart() {
    let host = Host::new("lonely");
    let nobody = free_address().to_string();
    let meshd = host.start(&nobody, &[]);
    await_alone(&meshd, &[&nobody, "refused"]);
    drop(meshd);

    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent = silent
        .local_addr()
        .map(|address| (silent, address.to_string()));
    let (_silent, address) = silent.expect("its address");
    let meshd = host.start(&address, &[]);
    await_alone(&meshd, &[&address, "no answer"]);
    drop(meshd);

    // RFC 6761: there is never anything below `invalid`.
    let meshd = host.start("peer.invalid:7946", &[]);
    await_alone(&meshd, &["peer.invalid:7946", "does not resolve"]);
}

#[test]
fn a_host_that_looks_for_nobody_is_not_alone_and_says_once_who_cannot_join_it() {
    let [first, other] = ["first", "other"].map(Host::new);
    other.write_keys(&keys('1', 'b'));
    let meshd = first.start("", &[]);
    let joining = other.start_beside(&first, &[]);
    let address = other.address.to_string();
    await_line(
        &meshd,
        &["WARN", "a host that is no peer", &address, "mesh.key_file"],
    );
    await_alone(&joining, &[&first.address.to_string(), "no answer"]);
    // By now it has heard of that host many times.
    assert_eq!(lines(&meshd, &["a host that is no peer"]).len(), 1);
    assert_eq!(mesh_health(&meshd)["state"], "up");
    assert!(metrics(&meshd).contains("\nhivemind_mesh_alone 0\n"));
}

#[test]
fn a_peer_that_comes_ends_being_alone() {
    let [one, other] = ["one", "other"].map(Host::new);
    let first = one.start_beside(&other, &[]);
    await_alone(&first, &[&other.address.to_string()]);
    let second = other.start_beside(&one, &[]);
    await_up(&first);
    await_up(&second);
    await_line(&first, &["INFO", "not alone any more"]);
    assert!(lines(&second, &["no peer is there"]).is_empty());
}

#[test]
fn junk_from_strangers_and_in_the_name_of_peers_leaves_health_alone_and_the_log_short() {
    let [one, other] = ["one", "other"].map(Host::new);
    let liar = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let liars_address = liar.local_addr().expect("its address").to_string();
    let first = one.start(&format!("{},{liars_address}", other.address), &[]);
    let second = other.start_beside(&one, &[]);
    await_up(&first);
    await_up(&second);
    // Each with the magic; of another version, of another cluster, and what is no datagram at all.
    let mut junk = vec![vec![0x48_u8; 100], vec![0x48; 3], vec![0; 100], Vec::new()];
    let mut other_cluster = vec![0x55_u8; 100];
    other_cluster[..2].copy_from_slice(&[0x48, 2]);
    junk.push(other_cluster);
    for _ in 0..200 {
        let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for datagram in &junk {
            stranger.send_to(datagram, one.address).expect("sent");
            liar.send_to(datagram, one.address).expect("sent");
        }
    }
    let dropped = "hivemind_mesh_dropped_total{cause=\"other_version\"} 400\n";
    eventually("all of it has arrived", || {
        metrics(&first).contains(dropped).then_some(())
    });
    await_line(
        &first,
        &["WARN", "a host that is no peer", "mesh.cluster differs"],
    );
    await_up(&first);
    await_line(
        &first,
        &["WARN", "datagrams of a peer are of no use", &liars_address],
    );
    // Of strangers one for each cause, and one of that peer.
    let said = lines(&first, &["of no use here"]);
    assert!(said.len() <= 3, "{said:#?}");
    assert!(lines(&first, &["no peer is there"]).is_empty());
    assert_eq!(mesh_health(&first)["state"], "up");
}

#[test]
fn two_of_two_peers_down_is_not_up_and_each_change_of_a_peer_is_one_line() {
    let [first, second, third] = ["first", "second", "third"].map(Host::new);
    let meshd = first.start("", &[]);
    let [peer, last] = [&second, &third].map(|host| host.start_beside(&first, &[]));
    for host in [&second, &third] {
        let address = host.address.to_string();
        await_line(&meshd, &["INFO", "a peer is there", host.name, &address]);
    }
    peer.kill();
    last.kill();
    for host in [&second, &third] {
        let address = host.address.to_string();
        await_line(&meshd, &["WARN", "is suspected", host.name, &address]);
        await_line(&meshd, &["WARN", "a peer is down", host.name, &address]);
    }
    let [one, other] = [&second, &third].map(|host| host.address.to_string());
    await_alone(&meshd, &[&one, &other, "second", "third"]);

    let peer = second.start_beside(&first, &[]);
    await_line(&meshd, &["INFO", "a peer is back", "second", &one]);
    await_up(&meshd);
    assert_eq!(peer.stop().code(), Some(0));
    await_line(&meshd, &["INFO", "a peer has left", "second", &one]);

    // The region of the third, and so its actor, goes on elsewhere.
    let third = Host {
        address: free_address(),
        ..third
    };
    let moved = third.start_beside(&first, &[]);
    let address = third.address.to_string();
    await_line(
        &meshd,
        &["INFO", "a peer has moved", "third", &address, &other],
    );
    await_up(&meshd);
    await_up(&moved);
    for (parts, count) in [
        (["a peer is there", ""], 2),
        (["a peer is down", ""], 2),
        (["a peer has left", ""], 1),
        (["a peer has moved", ""], 1),
    ] {
        assert_eq!(
            lines(&meshd, &parts).len(),
            count,
            "{parts:?} in {}",
            meshd.log()
        );
    }
}

/// The hash of the rules in force, as the status and the metrics have it. They are asked one after the other, so a
/// change between the two is asked again.
fn hash(meshd: &Meshd) -> String {
    eventually("one hash in the status and in the metrics", || {
        let status: Value = serde_json::from_str(&meshd.admin("/rules/status").1).expect("JSON");
        let hash = status["hash"].as_str().expect("a hash").to_owned();
        assert!(hash.len() == 16 && hash.chars().all(|digit| digit.is_ascii_hexdigit()));
        let info = format!("\nhivemind_rules_info{{hash=\"{hash}\"}} 1\n");
        metrics(meshd).contains(&info).then_some(hash)
    })
}

#[test]
fn rules_that_differ_between_hosts_are_told_by_both_until_they_do_not() {
    let [one, other] = ["one", "other"].map(Host::new);
    let grace = ["--mesh-rules-grace=2s"];
    let first = one.start_beside(&other, &grace);
    let second = other.start_beside(&one, &grace);
    await_up(&first);
    await_up(&second);
    let before = hash(&first);
    assert_eq!(hash(&second), before, "directories are no part of it");

    other
        .site
        .write("ratelimit.yaml", &RULES.replace(": 3", ": 4"));
    let after = eventually("other rules", || {
        Some(hash(&second)).filter(|hash| *hash != before)
    });
    for (meshd, [here, there], [ours, theirs], peer) in [
        (&first, ["one", "other"], [&before, &after], &other),
        (&second, ["other", "one"], [&after, &before], &one),
    ] {
        let address = peer.address.to_string();
        let line = [
            "WARN",
            "rules of a peer differ",
            here,
            there,
            ours,
            theirs,
            &address,
        ];
        await_line(meshd, &line);
        let mesh = eventually("degraded", || {
            Some(mesh_health(meshd)).filter(|mesh| mesh["state"] == "degraded")
        });
        let detail = mesh["detail"].as_str().expect("a detail");
        for part in [there, &address, ours, theirs] {
            assert!(detail.contains(part), "{detail}");
        }
        assert_eq!(meshd.http("/ready").0, 200);
        let peers: Value = serde_json::from_str(&meshd.admin("/peers").1).expect("JSON");
        assert_eq!(peers["rules"], ours.as_str());
        assert_eq!(peers["peers"][0]["rules"], theirs.as_str());
    }

    one.site
        .write("ratelimit.yaml", &RULES.replace(": 3", ": 4"));
    for meshd in [&first, &second] {
        await_line(meshd, &["INFO", "has the same rules again", &after]);
        await_up(meshd);
        assert_eq!(lines(meshd, &["rules of a peer differ"]).len(), 1);
    }
}
