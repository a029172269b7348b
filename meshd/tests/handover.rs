//! One meshd after the other, with clients that must not notice.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hivemind_shared::region::RegionView;
use rustix::process::Signal;
use support::newcomer::Newcomer;
use support::{Client, Meshd, RULES, Site, admitted, eventually, exchange, remaining};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

const LIMIT: u32 = 1_000_000;

/// How long a client rests between two calls, so that they do not take the whole machine.
const CALL_INTERVAL: Duration = Duration::from_millis(2);

/// A call of one hit by HTTP, and one that only looks.
const CALL: &str =
    r#"{"domain":"test","descriptors":[{"entries":[{"key":"user","value":"ada"}]}]}"#;
const LOOK: &str = r#"{"domain":"test","descriptors":[{"hitsAddend":"0","entries":[{"key":"user","value":"ada"}]}]}"#;

/// A site whose limit is not reached.
fn busy_site() -> Site {
    Site::new(&RULES.replace(
        "requests_per_unit: 3",
        &format!("requests_per_unit: {LIMIT}"),
    ))
}

/// Starts the next meshd beside `before`, and waits until it serves and the other has ended.
fn replace(site: &Site, before: Meshd, log: &str, arguments: &[&str]) -> Meshd {
    let mut next = site.launch(log, arguments);
    next.await_ready();
    assert_eq!(before.wait().code(), Some(0));
    next
}

/// How many hits the region has for the user of the calls.
fn counted(meshd: &Meshd) -> u32 {
    let (status, answer) = meshd.json(LOOK);
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let remaining = answer["statuses"][0]["limitRemaining"].as_u64();
    LIMIT - u32::try_from(remaining.unwrap_or(0)).expect("a count")
}

/// Clients of all kinds, who call all the time, and fail when a call does.
struct Crowd {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    clients: JoinSet<()>,
}

impl Crowd {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            calls: Arc::default(),
            clients: JoinSet::new(),
        }
    }

    /// Adds a client that makes a call whenever `call` does.
    fn add<F>(&mut self, mut call: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, calls) = (Arc::clone(&self.stop), Arc::clone(&self.calls));
        self.clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                call().await;
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(CALL_INTERVAL).await;
            }
        });
    }

    /// A client on one connection for as long as that lasts.
    fn add_lasting(&mut self, client: Client) {
        self.add(move || {
            let mut client = client.clone();
            async move {
                remaining(&mut client, "ada").await;
            }
        });
    }

    /// A client with a connection for each call.
    fn add_brief(&mut self, endpoint: Endpoint) {
        self.add(move || {
            let endpoint = endpoint.clone();
            async move {
                let channel = endpoint.connect().await.expect("no connection is refused");
                remaining(&mut Client::new(channel), "ada").await;
            }
        });
    }

    /// A client that speaks HTTP, with a connection for each call.
    fn add_http(&mut self, port: u16) {
        self.add(move || async move {
            let call = move || {
                let length = CALL.len();
                let head = format!("POST /json HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}");
                exchange(port, &format!("{head}\r\n\r\n{CALL}"))
            };
            let (status, answer) = tokio::task::spawn_blocking(call).await.expect("an answer");
            assert_eq!(status, 200, "{answer}");
        });
    }

    /// Waits until they have made many more calls.
    fn await_calls(&self) {
        let so_far = self.calls.load(Ordering::Relaxed);
        eventually("calls", || {
            (self.calls.load(Ordering::Relaxed) > so_far + 50).then_some(())
        });
    }

    /// Stops all of them; how many calls they made.
    async fn disperse(mut self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("no call failed");
        }
        self.calls.load(Ordering::Relaxed)
    }
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an endpoint")
}

fn unix_endpoint(site: &Site) -> Endpoint {
    let path = site.path("rls.sock");
    Endpoint::from_shared(format!("unix://{}", path.display())).expect("an endpoint")
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_that_dies_on_the_way_leaves_everything_as_it_was() {
    let site = busy_site();
    let socket = site.path("rls.sock");
    let arguments = [
        "--server-grpc-socket",
        socket.to_str().expect("UTF-8"),
        "--mesh-bind=127.0.0.1:0",
    ];
    let meshd = site.start_with(&arguments);
    let mut crowd = Crowd::new();
    crowd.add_lasting(meshd.client().await);
    crowd.add_brief(endpoint(meshd.ports.grpc));
    crowd.add_brief(unix_endpoint(&site));
    let region = RegionView::open(&site.path("region")).expect("a region");
    let admin = region.admin_address();

    // It knocks and dies; it dies with everything it was offered in its hands.
    drop(Newcomer::knock(&site));
    let newcomer = Newcomer::knock(&site);
    let offered = newcomer.ask();
    assert_eq!(offered.len(), 7, "lock, door, four ports and a socket");
    crowd.await_calls();
    drop(newcomer);
    drop(offered);
    assert!(!meshd.log().contains("handed over"), "{}", meshd.log());

    // It dies as the owner of the region.
    let newcomer = Newcomer::knock(&site);
    let offered = newcomer.ask();
    let incarnation = region.incarnation();
    let yours = newcomer.take();
    assert!(yours.contains("yours"), "{yours}");
    let heartbeat = region.heartbeat_unix_ms();
    crowd.await_calls();
    drop(newcomer);
    drop(offered);
    eventually("the meshd from before goes on", || {
        (region.heartbeat_unix_ms() > heartbeat && region.incarnation() > incarnation).then_some(())
    });
    assert_eq!(region.owner_pid(), u64::from(meshd.pid()));
    assert_eq!(region.admin_address(), admin);
    assert_eq!(meshd.http("/ready").0, 200);
    eventually("the mesh goes on", || {
        let (_, peers) = meshd.admin("/peers");
        peers.contains("\"mesh\":\"on\"").then_some(())
    });
    assert!(
        meshd.log().contains("this meshd goes on"),
        "{}",
        meshd.log()
    );

    // And the next one takes over all the same.
    let meshd = replace(&site, meshd, "next", &arguments);
    crowd.await_calls();
    let made = crowd.disperse().await;
    assert_eq!(counted(&meshd), made);
    assert!(socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomers_killed_at_any_moment_before_they_serve_cost_no_call() {
    let site = busy_site();
    let meshd = site.start();
    let mut client = meshd.client().await;
    let mut left = LIMIT;
    for run in 0..12_u64 {
        let newcomer = site.launch("newcomer", &[]);
        let until = std::time::Instant::now() + Duration::from_millis(run * 3);
        while std::time::Instant::now() < until {
            left -= 1;
            assert_eq!(remaining(&mut client, "ada").await, left);
        }
        let log = site.path("newcomer");
        newcomer.kill();
        let log = std::fs::read_to_string(log).expect("a log");
        if log.contains("taken over") {
            // The machine was quick: this one was the owner, and there is nobody to fall back on.
            return;
        }
        left -= 1;
        assert_eq!(remaining(&mut client, "ada").await, left);
    }
    let meshd = replace(&site, meshd, "next", &[]);
    assert_eq!(counted(&meshd), LIMIT - left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn when_the_owner_is_killed_the_newcomer_that_waits_goes_on() {
    let site = Site::new(RULES);
    let first = site.start();
    assert_eq!(admitted(&mut first.client().await, "ada", 2).await, 2);
    first.signal(Signal::STOP);
    let mut second = site.launch("second", &[]);
    second.await_log("waiting for the meshd that owns the region");
    first.kill();
    second.await_ready();
    assert_eq!(admitted(&mut second.client().await, "ada", 2).await, 1);
    assert_eq!(second.stop().code(), Some(0));
    assert!(!site.path("region.handover").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn when_the_owner_is_stopped_the_newcomer_that_waits_goes_on() {
    let site = Site::new(RULES);
    // As a meshd that cannot hand over does.
    let first = site.start();
    std::fs::remove_file(site.path("region.handover")).expect("a door");
    let mut second = site.launch("second", &[]);
    second.await_log("waiting for the meshd that owns the region");
    assert_eq!(admitted(&mut first.client().await, "ada", 2).await, 2);
    assert_eq!(first.stop().code(), Some(0));
    second.await_ready();
    assert_eq!(admitted(&mut second.client().await, "ada", 2).await, 1);
}

#[test]
fn an_owner_that_is_stopped_halfway_leaves_what_the_newcomer_has() {
    let site = Site::new(RULES);
    let socket = site.path("rls.sock");
    let arguments = ["--server-grpc-socket", socket.to_str().expect("UTF-8")];
    let files = || (socket.exists(), site.path("region.handover").exists());
    let meshd = site.start_with(&arguments);
    let newcomer = Newcomer::knock(&site);
    let offered = newcomer.ask();
    assert_eq!(meshd.stop().code(), Some(0));
    assert_eq!(files(), (false, false), "it had let nothing go");
    assert_eq!(newcomer.hear().0, "", "nor hands it over any more");
    drop(offered);

    let meshd = site.start_with(&arguments);
    let newcomer = Newcomer::knock(&site);
    let offered = newcomer.ask();
    assert!(newcomer.take().contains("yours"));
    let region = RegionView::open(&site.path("region")).expect("a region");
    let admin = region.admin_address();
    assert!(admin.is_some());
    assert_eq!(meshd.stop().code(), Some(0));
    assert_eq!(files(), (true, true), "they are the newcomer's by now");
    assert_eq!(region.admin_address(), admin, "and so is the region");
    let refused = site.run(&["--region-takeover-timeout=0s"]);
    assert_eq!(refused.status.code(), Some(69), "with the right to it");

    // With the newcomer gone as well, everything is as after a crash.
    drop((newcomer, offered));
    let meshd = site.start_with(&arguments);
    assert_eq!(meshd.stop().code(), Some(0));
    assert_eq!(files(), (false, false));
}

#[test]
fn a_silent_visitor_keeps_the_next_one_waiting_only_so_long() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let _silent = Newcomer::knock(&site);
    let next = replace(&site, meshd, "next", &[]);
    assert_eq!(next.http("/ready").0, 200);
}

#[test]
fn an_owner_that_hangs_is_waited_for_only_so_long() {
    let site = Site::new(RULES);
    let first = site.start();
    first.signal(Signal::STOP);
    let output = site.run(&["--region-takeover-timeout", "300ms"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{text}");
    for part in [
        &format!("process {}", first.pid()),
        "within 300ms (region.takeover_timeout)",
        "it does not answer",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    first.signal(Signal::CONT);
    assert_eq!(first.http("/ready").0, 200, "nothing was taken from it");
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
fn a_newcomer_that_is_wrong_bothers_nobody() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    meshd.await_log("meshd is ready");
    let log = meshd.log();
    assert_eq!(
        site.run(&["--server-workers", "many"]).status.code(),
        Some(64)
    );
    site.write("broken.yaml", "domain: test\ndescriptors: 5\n");
    let broken = site.path("broken.yaml");
    let output = site.run(&[
        "--rate-limiting-config-path",
        broken.to_str().expect("UTF-8"),
    ]);
    assert_eq!(output.status.code(), Some(65));
    assert_eq!(meshd.log(), log, "nobody has knocked");

    let output = site.run(&["--server-http-port", &port]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(71), "{text}");
    meshd.await_log("this meshd goes on");
    assert_eq!(meshd.http("/ready").0, 200);
    let nowhere = site.path("no/where.json");
    let output = site
        .command(&["--ports-file", nowhere.to_str().expect("UTF-8")])
        .output()
        .expect("meshd can be run");
    assert_eq!(output.status.code(), Some(73));
    assert_eq!(meshd.http("/ready").0, 200);
    let region = RegionView::open(&site.path("region")).expect("a region");
    eventually("the region is its own again", || {
        (region.owner_pid() == u64::from(meshd.pid())).then_some(())
    });
}

#[test]
fn a_socket_that_is_not_configured_any_more_closes_and_a_new_one_opens() {
    let site = Site::new(RULES);
    let [old, new] = ["old.sock", "new.sock"].map(|name| site.path(name));
    let argument = |path: &std::path::Path| format!("--server-grpc-socket={}", path.display());
    let first = site.start_with(&[&argument(&old), "--admin-address=127.0.0.2"]);
    let ports = first.ports;
    let second = replace(&site, first, "second", &[&argument(&new)]);
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
    let first = site.start();
    assert_eq!(admitted(&mut first.client().await, "ada", 3).await, 3);
    let ports = first.ports;
    // Another layout is another region, as another size is.
    let second = replace(&site, first, "second", &["--region-max-keys", "4096"]);
    assert!(second.log().contains("region replaced"), "{}", second.log());
    assert_eq!(second.ports.grpc, ports.grpc);
    assert_eq!(admitted(&mut second.client().await, "ada", 3).await, 3);
    assert!(RegionView::open(&site.path("region")).is_ok_and(|region| region.max_keys() == 4_096));
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

#[test]
fn the_door_is_for_the_same_user_alone() {
    let site = Site::new(RULES);
    let _meshd = site.start_with(&["--region-mode", "0666"]);
    let door = std::fs::metadata(site.path("region.handover")).expect("a door");
    assert_eq!(door.permissions().mode() & 0o777, 0o600);
}

#[test]
fn nonsense_at_the_door_is_sent_away() {
    let site = Site::new(RULES);
    let meshd = site.start();
    for text in ["nonsense", "{}", "\"take\"", r#"{"ready":{"kept":[]}}"#] {
        let visitor = Newcomer::knock(&site);
        visitor.say(text);
        assert_eq!(visitor.hear().0, "", "after {text}");
    }
    let visitor = Newcomer::knock(&site);
    visitor.say(r#"{"ask":{"protocol":2}}"#);
    let (refusal, handles) = visitor.hear();
    assert!(refusal.contains("version 2"), "{refusal}");
    assert!(handles.is_empty());
    assert_eq!(meshd.http("/ready").0, 200);
    let next = replace(&site, meshd, "next", &[]);
    assert_eq!(next.http("/ready").0, 200);
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
