//! Hand-overs that go wrong: newcomers that are wrong, silent or killed, owners that hang, are stopped or
//! killed. Whoever serves then goes on.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use hivemind_shared::region::{Opened, OwnedRegion, RegionLock, RegionOptions, RegionView};
use rustix::process::Signal;
use support::crowd::{Crowd, LIMIT, busy_site, counted, endpoint, replace, unix_endpoint};
use support::newcomer::Newcomer;
use support::{PATIENCE, RULES, Site, admitted, eventually, remaining};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_newcomer_that_dies_with_a_region_of_its_own_is_followed_by_another_one() {
    let site = Site::new(RULES);
    let path = site.path("region");
    let meshd = site.start_with(&["--mesh-bind=127.0.0.1:0"]);
    let newcomer = Newcomer::knock(&site);
    let mut offered = newcomer.ask();
    assert!(newcomer.take().contains("yours"));
    let lock = RegionLock::of_shared(offered.remove(0), &path)
        .expect("it is locked")
        .expect("it is the one there");
    let options = RegionOptions {
        max_keys: 64,
        ..RegionOptions::default()
    };
    let (other, opened) = OwnedRegion::open_locked(lock, &options).expect("a region");
    assert!(matches!(opened, Opened::Replaced { .. }), "{opened:?}");
    drop((other, offered, newcomer));

    eventually("a region of the one from before", || {
        let region = RegionView::open(&path).ok()?;
        let is_its_own = region.owner_pid() == u64::from(meshd.pid());
        (is_its_own && region.max_keys() == 1_024).then_some(())
    });
    meshd.await_log("the mesh goes on with the new region");
    assert_eq!(admitted(&mut meshd.client().await, "ada", 4).await, 3);
    let next = replace(&site, meshd, "next", &["--mesh-bind=127.0.0.1:0"]);
    assert_eq!(admitted(&mut next.client().await, "ada", 1).await, 0);
}

/// What a newcomer logs on its way, one after the other; whoever waits for one of them is there at another
/// moment each time.
const STEPS: [&str; 4] = [
    "meshd starts",
    "waiting for the meshd that owns the region",
    "region resumed",
    "meshd is ready",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomers_killed_at_any_moment_cost_no_call() {
    let site = busy_site();
    let mut meshd = site.start();
    let mut client = meshd.client().await;
    let mut left = LIMIT;
    for step in STEPS.into_iter().cycle().take(3 * STEPS.len()) {
        let newcomer = site.launch("newcomer", &[]);
        let deadline = Instant::now() + PATIENCE;
        while !newcomer.log().contains(step) {
            assert!(Instant::now() < deadline, "never came to {step}");
            left -= 1;
            assert_eq!(remaining(&mut client, "ada").await, left);
        }
        let log = site.path("newcomer");
        newcomer.kill();
        let log = std::fs::read_to_string(log).expect("a log");
        if log.contains("taken over") {
            // The machine was quick: this one was the owner perhaps, and there is nobody to fall back on.
            assert_eq!(meshd.stop().code(), Some(0));
            meshd = site.start();
            client = meshd.client().await;
        }
        left -= 1;
        assert_eq!(remaining(&mut client, "ada").await, left);
    }
    let meshd = replace(&site, meshd, "next", &[]);
    assert_eq!(counted(&meshd), LIMIT - left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn owners_killed_at_any_moment_leave_a_newcomer_that_serves_with_all_counts() {
    let site = busy_site();
    let mut meshd = site.start();
    let mut made = 0;
    for step in STEPS.into_iter().cycle().take(3 * STEPS.len()) {
        made += 1;
        assert_eq!(
            remaining(&mut meshd.client().await, "ada").await,
            LIMIT - made
        );
        let mut next = site.launch("next", &[]);
        next.await_log(step);
        meshd.kill();
        next.await_ready();
        meshd = next;
        let region = RegionView::open(&site.path("region")).expect("a region");
        assert_eq!(region.owner_pid(), u64::from(meshd.pid()));
    }
    assert_eq!(counted(&meshd), made);
    assert_eq!(meshd.stop().code(), Some(0));
    assert!(!site.path("region.handover").exists());
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
