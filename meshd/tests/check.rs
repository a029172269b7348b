//! `meshd --check`, beside what a start says.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Output;

use support::{RULES, Site, admitted, names_in};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the first failure says, without what the log of a start has before it.
fn failure(output: &Output) -> (Option<i32>, String) {
    let text = stderr(output);
    let first = text.lines().find(|line| line.starts_with("meshd: "));
    (output.status.code(), first.unwrap_or_default().to_owned())
}

/// More rules than fit into 4,096 bytes.
fn many_rules() -> String {
    let rule = |n| {
        format!(
            "  - {{key: user, value: \"{n:030}\", rate_limit: {{unit: hour, requests_per_unit: 1}}}}\n"
        )
    };
    let rules: String = (0..200).map(rule).collect();
    format!("domain: test\ndescriptors:\n{rules}")
}

#[test]
fn a_check_says_what_a_start_says_and_changes_nothing() {
    let site = Site::new(RULES);
    let path = |name: &str| site.path(name).to_str().expect("UTF-8").to_owned();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let udp = udp.local_addr().map(|address| (udp, address.to_string()));
    let (_udp, udp) = udp.expect("its address");
    let _live = UnixListener::bind(site.path("live.sock")).expect("a socket");
    drop(UnixListener::bind(site.path("dead.sock")).expect("a socket"));
    fs::create_dir(site.path("own")).expect("a directory");
    fs::write(site.path("own/notes"), "mine").expect("written");
    symlink(site.path("own/notes"), site.path("own/link")).expect("a link");
    fs::write(site.path("own/first"), "").expect("written");
    fs::hard_link(site.path("own/first"), site.path("own/second")).expect("a link");
    site.write("many.yaml", &many_rules());

    let setting = |name: &str, value: &str| format!("--{name}={value}");
    let rules = setting("rate-limiting-config-path", &path("many.yaml"));
    let mesh = [
        "--mesh-insecure=true".to_owned(),
        "--mesh-bootstrap-peers=127.0.0.9".to_owned(),
    ];
    let long = format!("{}/{}", path(""), "s".repeat(120));
    let cases: Vec<(Vec<String>, i32)> = vec![
        (vec![setting("server-grpc-port", &port)], 71),
        (vec![setting("server-http-port", &port)], 71),
        (vec![setting("admin-port", &port)], 71),
        (
            vec![setting("metrics-bind", &format!("127.0.0.1:{port}"))],
            71,
        ),
        (
            vec![setting("mesh-bind", &udp), mesh[0].clone(), mesh[1].clone()],
            71,
        ),
        // Addresses of other hosts.
        (vec![setting("server-address", "192.0.2.1")], 71),
        (vec![setting("server-http-address", "2001:db8::1")], 71),
        (vec![setting("admin-address", "192.0.2.1")], 71),
        (
            vec![
                setting("mesh-bind", "192.0.2.1:0"),
                mesh[0].clone(),
                mesh[1].clone(),
            ],
            71,
        ),
        (vec![setting("server-grpc-socket", &path("live.sock"))], 71),
        (vec![setting("server-grpc-socket", &path("own/notes"))], 71),
        (
            vec![setting("server-grpc-socket", &path("no/where.sock"))],
            71,
        ),
        (vec![setting("server-grpc-socket", &long)], 71),
        (vec![setting("region-path", &path("own/notes"))], 73),
        (vec![setting("region-path", &path("own/link"))], 73),
        (vec![setting("region-path", &path("own/first"))], 73),
        (vec![setting("region-path", &path("own"))], 73),
        (vec![setting("region-path", &path("no/where/region"))], 73),
        (vec![setting("region-path", &path("own/notes/region"))], 73),
        (
            vec![
                setting("region-max-keys", "67108864"),
                setting("region-label-bytes", "1024"),
            ],
            73,
        ),
        (vec![setting("ports-file", &path("no/where.json"))], 73),
        (vec![rules, setting("region-rules-bytes", "4096")], 65),
        // What no region can be made of is a matter of the configuration.
        (vec![setting("region-rules-bytes", "134217728")], 64),
    ];
    let before = names_in(&site.path(""));
    for (arguments, status) in &cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let checked = failure(&site.run(&[&arguments[..], &["--check"]].concat()));
        let started = failure(&site.run(&arguments));
        assert_eq!(checked.0, Some(*status), "{arguments:?}: {}", checked.1);
        assert_eq!(checked, started, "{arguments:?}");
        assert_eq!(names_in(&site.path("")), before, "{arguments:?}");
    }

    let all_is_well = [
        setting("region-path", &path("new/region")),
        setting("server-grpc-socket", &path("dead.sock")),
        setting("metrics-bind", "localhost:0"),
        setting("ports-file", &path("ports.json")),
    ];
    let all_is_well: Vec<&str> = all_is_well.iter().map(String::as_str).collect();
    let output = site.run(&[&all_is_well[..], &["--check"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"configuration ok, 1 rules ok\n");
    assert_eq!(names_in(&site.path("")), before);
}

#[test]
fn a_check_says_all_at_once_with_the_status_of_the_first() {
    let site = Site::new(&many_rules());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let output = site.run(&[
        "--check",
        "--region-rules-bytes=4096",
        &format!("--admin-port={port}"),
        &format!("--region-path={}", site.path("no/where/region").display()),
    ]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(73), "{text}");
    let about: Vec<_> = ["the region at", "(admin.port)", "region.rules_bytes"]
        .into_iter()
        .map(|what| text.lines().position(|line| line.contains(what)))
        .collect();
    assert_eq!(about, [Some(0), Some(1), Some(2)], "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_size_that_is_advised_is_enough_and_no_larger_than_it_has_to_be() {
    let site = Site::new(&many_rules());
    let text = stderr(&site.run(&["--check", "--region-rules-bytes=4096"]));
    let advised = text
        .split_once("set region.rules_bytes to ")
        .and_then(|(_, rest)| rest.split_once(" or more"))
        .and_then(|(bytes, _)| bytes.parse::<u64>().ok());
    let advised = advised.unwrap_or_else(|| panic!("no size in {text}"));
    let with = |bytes: u64| format!("--region-rules-bytes={bytes}");
    assert_eq!(
        site.run(&["--check", &with(advised - 4_096)]).status.code(),
        Some(65)
    );
    assert_eq!(
        site.run(&["--check", &with(advised)]).status.code(),
        Some(0)
    );
    let meshd = site.start_with(&[&with(advised)]);
    let user = format!("{:030}", 7);
    assert_eq!(admitted(&mut meshd.client().await, &user, 2).await, 1);
}

#[test]
fn a_check_beside_a_meshd_that_runs_says_that_a_start_takes_over() {
    let site = Site::new(RULES);
    let socket = format!("--server-grpc-socket={}", site.path("rls.sock").display());
    let meshd = site.start_with(&[&socket]);
    let port = |key: &str, port: u16| format!("--{key}={port}");
    let arguments = [
        "--check",
        &socket,
        &port("server-grpc-port", meshd.ports.grpc),
        &port("server-http-port", meshd.ports.http),
        &port("admin-port", meshd.ports.admin),
    ];
    for more in [&[][..], &["--region-max-keys=4096"]] {
        let output = site.run(&[&arguments[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains(&format!("(process {})", meshd.pid())),
            "{text}"
        );
        assert!(text.contains("a start takes over from it"), "{text}");
    }
    // An address that it cannot have is wrong all the same.
    let elsewhere = [&arguments[..], &["--admin-address=192.0.2.1"]].concat();
    assert_eq!(site.run(&elsewhere).status.code(), Some(71));
    let at_once = [&arguments[..], &["--region-takeover-timeout=0s"]].concat();
    let checked = failure(&site.run(&at_once));
    assert_eq!(checked.0, Some(69), "{}", checked.1);
    assert_eq!(checked, failure(&site.run(&at_once[1..])));
    let text = stderr(&site.run(&at_once));
    assert_eq!(
        text.lines().count(),
        1,
        "what it has is no other failure: {text}"
    );
    let log = meshd.log();
    assert!(
        !log.contains("newcomer"),
        "nobody has asked it for anything: {log}"
    );
    assert_eq!(meshd.stop().code(), Some(0));
}
