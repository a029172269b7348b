//! `meshd healthcheck`, beside a meshd that runs.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::process::{Command, Output};

use rustix::process::Signal;
use support::{Meshd, RULES, Site, eventually};

fn healthcheck(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshd"));
    command
        .arg("healthcheck")
        .arg("--config")
        .arg(site.path("hivemind.yaml"));
    let output = command.args(arguments).output().expect("meshd can be run");
    result(&output)
}

/// The exit status, and all that was written.
fn result(output: &Output) -> (Option<i32>, String) {
    let text = [&*output.stdout, &*output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn ports_file(site: &Site) -> String {
    site.path("log.ports").to_str().expect("UTF-8").to_owned()
}

#[test]
fn it_says_by_its_status_whether_meshd_is_ready_and_why_not() {
    let site = Site::new(RULES);
    let ports = ports_file(&site);
    let ask = |more: &[&str]| healthcheck(&site, &[&["--ports-file", &ports], more].concat());
    assert_eq!(ask(&[]).0, Some(69), "nothing runs");

    let meshd = site.start_with(&["--server-shutdown-delay=1h"]);
    eventually("readiness", || {
        (meshd.http("/ready").0 == 200).then_some(())
    });
    assert_eq!(ask(&[]), (Some(0), "ready\n".to_owned()));
    assert_eq!(ask(&["--live"]), (Some(0), "running\n".to_owned()));

    site.write("ratelimit.yaml", "nonsense");
    eventually("what is degraded", || {
        let (status, text) = ask(&[]);
        assert_eq!(status, Some(0), "{text}");
        text.starts_with("ready; degraded: rules: ").then_some(())
    });

    meshd.signal(Signal::TERM);
    let stopping = (Some(1), "meshd: not ready: server: stopping\n".to_owned());
    eventually("unreadiness", || (ask(&[]) == stopping).then_some(()));
    assert_eq!(ask(&["--live"]).0, Some(0));
    meshd.kill();
    for more in [&[][..], &["--live"]] {
        let (status, text) = ask(more);
        assert_eq!(status, Some(69), "{text}");
        assert!(text.contains("no meshd answers at 127.0.0.1:"), "{text}");
    }
}

#[test]
fn it_finds_the_port_as_meshd_did_and_forgives_what_is_wrong_by_now() {
    let site = Site::new(RULES);
    let (status, text) = healthcheck(&site, &[]);
    assert_eq!(status, Some(64), "a free port is known to nobody: {text}");
    assert!(text.contains("--ports-file"), "{text}");

    let meshd: Meshd = site.start();
    let port = meshd.ports.http.to_string();
    assert_eq!(
        healthcheck(&site, &["--server-http-port", &port]).0,
        Some(0)
    );
    let by_variable = Command::new(env!("CARGO_BIN_EXE_meshd"))
        .args(["healthcheck", "--config"])
        .arg(site.path("hivemind.yaml"))
        .env("HIVEMIND_SERVER_HTTP_PORT", &port)
        .output();
    assert_eq!(result(&by_variable.expect("meshd can be run")).0, Some(0));

    // The service file is read at the start alone, so an edit of it is no reason to be restarted.
    let file = format!("server: {{http_port: {port}, grpc_port: many}}\nregoin: {{}}\n");
    site.write("hivemind.yaml", &file);
    assert_eq!(healthcheck(&site, &[]).0, Some(0));
    site.write("hivemind.yaml", "{");
    assert_eq!(
        healthcheck(&site, &["--server-http-port", &port]).0,
        Some(0)
    );

    for wrong in [
        &["--server-http-port=many"][..],
        &["--timeout=soon"],
        &["--check"],
    ] {
        assert_eq!(healthcheck(&site, wrong).0, Some(64), "{wrong:?}");
    }
}

#[test]
fn it_waits_only_so_long_and_believes_no_other_server() {
    let site = Site::new(RULES);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port().to_string();
    let ask = |more: &[&str]| healthcheck(&site, &[&["--server-http-port", &*port], more].concat());
    let (status, text) = ask(&["--timeout", "200ms"]);
    assert_eq!(status, Some(69), "{text}");
    assert!(text.contains("nothing within 200ms"), "{text}");

    let answers = std::thread::spawn(move || {
        use std::io::{Read, Write};
        // Of the question that was given up, and of the next ones.
        for answer in [
            "",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            let (mut stream, _) = silent.accept().expect("a connection");
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let (status, text) = ask(&["--timeout=20s"]);
    assert_eq!(status, Some(69), "{text}");
    assert!(text.contains("status 404"), "{text}");
    assert_eq!(ask(&["--timeout=20s"]).0, Some(69));
    answers.join().expect("it has answered");
}
