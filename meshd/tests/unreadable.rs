//! Files that change while they cannot be read, and what is no regular file among them.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use support::certificates::Authority;
use support::{Meshd, RULES, Site, admitted, eventually};

/// [`RULES`] with another limit.
fn rules_with_limit(requests_per_unit: u32) -> String {
    let limit = format!("requests_per_unit: {requests_per_unit}");
    RULES.replace("requests_per_unit: 3", &limit)
}

fn rules(meshd: &Meshd) -> String {
    meshd.admin("/rules").1
}

/// Waits until the rules in force allow this many requests.
fn await_limit(meshd: &Meshd, requests_per_unit: u32) {
    let wanted = format!(": {requests_per_unit} per year");
    eventually(&wanted, || rules(meshd).contains(&wanted).then_some(()));
}

fn component(meshd: &Meshd, name: &str) -> serde_json::Value {
    let body: serde_json::Value = serde_json::from_str(&meshd.http("/ready").1).expect("JSON");
    body["components"][name].clone()
}

fn await_state(meshd: &Meshd, name: &str, state: &str) -> String {
    eventually(&format!("{name} is {state}"), || {
        let component = component(meshd, name);
        (component["state"] == state).then(|| component["detail"].to_string())
    })
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

/// File descriptors that meshd has from its start to its end.
const LASTING_DESCRIPTORS: u64 = 8;

/// Lets a meshd open nothing any more; gives the limit there was.
fn take_descriptors(meshd: &Meshd) -> Rlimit {
    let pid = Pid::from_raw(meshd.pid().try_into().expect("a pid"));
    let open = support::names_in(Path::new(&format!("/proc/{}/fd", meshd.pid())));
    for number in 0..LASTING_DESCRIPTORS {
        assert!(open.contains(&number.to_string()), "{open:?}");
    }
    let new = Rlimit {
        current: Some(LASTING_DESCRIPTORS),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(pid, Resource::Nofile, new).expect("the limit can be set")
}

fn give_descriptors(meshd: &Meshd, limit: Rlimit) {
    let pid = Pid::from_raw(meshd.pid().try_into().expect("a pid"));
    prlimit(pid, Resource::Nofile, limit).expect("the limit can be set");
}

/// The lines of the log that say this.
fn lines(meshd: &Meshd, what: &str) -> usize {
    meshd
        .log()
        .lines()
        .filter(|line| line.contains(what))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_changes_while_no_file_can_be_opened_comes_into_force_afterwards() {
    let site = Site::new(RULES);
    let authority = Authority::new("authority");
    let write_pair = || {
        let pair = authority.issue("ratelimit.internal");
        site.write("tls.crt", &pair.cert);
        site.write("tls.key", &pair.key);
    };
    let keys = format!("hash {}\nseal {}\n", "0".repeat(32), "1".repeat(64));
    write_pair();
    site.write("mesh.keys", &keys);
    let meshd = site.start_sealed();
    await_limit(&meshd, 3);

    let limit = take_descriptors(&meshd);
    site.write("ratelimit.yaml", &rules_with_limit(6));
    write_pair();
    site.write("mesh.keys", &format!("{keys}seal {}\n", "2".repeat(64)));
    for file in ["ratelimit.yaml", "tls.crt", "mesh.keys"] {
        eventually(&format!("{file} cannot be read"), || {
            let log = meshd.log();
            let says_so = |line: &str| line.contains(file) && line.contains("Too many open files");
            log.lines().any(says_so).then_some(())
        });
    }
    give_descriptors(&meshd, limit);

    await_limit(&meshd, 6);
    meshd.await_log("TLS files reloaded");
    meshd.await_log("keys reloaded");
    for name in ["rules", "tls", "mesh"] {
        await_state(&meshd, name, "up");
    }
    assert!(meshd.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fifo_or_device_in_a_directory_of_rules_is_skipped_and_named() {
    let site = Site::new(RULES);
    let directory = site.path("rules");
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("a.yaml"), RULES).expect("written");
    fifo(&directory.join("b.yaml"));
    let meshd = site.start_with(&[
        "--rate-limiting-config-path",
        directory.to_str().expect("UTF-8"),
    ]);
    assert_eq!(lines(&meshd, "b.yaml"), 1, "{}", meshd.log());
    assert_eq!(admitted(&mut meshd.client().await, "ada", 4).await, 3);

    // Also where nothing else changes.
    std::os::unix::fs::symlink("/dev/zero", directory.join("c.yaml")).expect("a link");
    meshd.await_log("c.yaml");
    fs::write(directory.join("a.yaml"), rules_with_limit(6)).expect("written");
    await_limit(&meshd, 6);
    assert_eq!(component(&meshd, "rules")["state"], "up");
    meshd.signal(Signal::HUP);
    meshd.await_log("rules read again as asked");
    assert_eq!(
        lines(&meshd, "c.yaml"),
        2,
        "once, and with the new rules:\n{}",
        meshd.log()
    );
    assert!(meshd.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fifo_in_place_of_a_file_is_refused_and_holds_nothing_up() {
    let site = Site::new(RULES);
    let authority = Authority::new("authority");
    let pair = authority.issue("ratelimit.internal");
    site.write("tls.crt", &pair.cert);
    site.write("tls.key", &pair.key);
    let keys = format!("hash {}\nseal {}\n", "0".repeat(32), "1".repeat(64));
    site.write("mesh.keys", &keys);
    let meshd = site.start_sealed();
    let files = [
        ("rules", "ratelimit.yaml"),
        ("tls", "tls.key"),
        ("mesh", "mesh.keys"),
    ];
    for (_, file) in files {
        fs::rename(site.path(file), site.path("aside")).expect("renamed");
        fifo(&site.path(file));
        fs::rename(site.path("aside"), site.path(&format!("{file}.good"))).expect("renamed");
    }
    for (name, file) in files {
        let detail = await_state(&meshd, name, "degraded");
        assert!(
            detail.contains(file) && detail.contains("FIFO"),
            "{name}: {detail}"
        );
    }
    let status: serde_json::Value =
        serde_json::from_str(&meshd.admin("/rules/status").1).expect("JSON");
    assert_eq!(status["last_attempt"]["successful"], false, "{status}");

    for (name, file) in files {
        fs::rename(site.path(&format!("{file}.good")), site.path(file)).expect("renamed");
        await_state(&meshd, name, "up");
    }
    fs::remove_file(site.path("ratelimit.yaml")).expect("removed");
    fifo(&site.path("ratelimit.yaml"));
    await_state(&meshd, "rules", "degraded");
    meshd.signal(Signal::HUP);
    meshd.await_log("rules read again as asked");
    assert!(meshd.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rules_from_a_pipe_are_read_once_and_stay() {
    let site = Site::new(RULES);
    let mut checked = site
        .command(&["--check", "--rate-limiting-config-path=/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("meshd can be started");
    let mut pipe = checked.stdin.take().expect("a pipe");
    pipe.write_all(RULES.as_bytes()).expect("written");
    drop(pipe);
    let checked = checked.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("read once"), "{said}");

    fifo(&site.path("pipe"));
    let path = site.path("pipe");
    let writer = std::thread::spawn(move || {
        let mut pipe = File::options().write(true).open(path).expect("opened");
        pipe.write_all(rules_with_limit(5).as_bytes())
            .expect("written");
    });
    let path = site.path("pipe");
    let meshd = site.start_with(&["--rate-limiting-config-path", path.to_str().expect("UTF-8")]);
    writer.join().expect("written");
    await_limit(&meshd, 5);
    meshd.signal(Signal::HUP);
    meshd.await_log("rules read again as asked");
    assert_eq!(component(&meshd, "rules")["state"], "up");
    assert_eq!(admitted(&mut meshd.client().await, "ada", 9).await, 5);

    // A file in its place is followed.
    fs::rename(site.path("ratelimit.yaml"), &path).expect("renamed");
    await_limit(&meshd, 3);
    assert!(meshd.stop().success());
}
