//! Where meshd listens: by name, and on a Unix socket for whom it is told to.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use support::crowd::replace;
use support::{RULES, Site, admitted};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn addresses_may_be_names() {
    let site = Site::new(RULES);
    let names = [
        "--server-address=localhost",
        "--server-http-address=localhost",
        "--admin-address=localhost",
        "--metrics-bind=localhost:0",
        "--mesh-bind=localhost:0",
        "--mesh-bootstrap-peers=127.0.0.9",
    ];
    let meshd = site.start_with(&names);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 4).await, 3);
    assert_eq!(meshd.http("/live").0, 200);
    assert_eq!(meshd.metrics("/metrics").0, 200);
    let (_, config) = meshd.admin("/config");
    assert!(config.contains("address: \"127.0.0.1\""), "{config}");
    // On loopback alone.
    assert!(TcpStream::connect(("127.0.0.2", meshd.ports.grpc)).is_err());
    assert_eq!(meshd.stop().code(), Some(0));

    let output = site.run(&["--check", "--server-address=no-such-host.invalid"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(
        text.contains("server.address: \"no-such-host.invalid\" is no IP address"),
        "{text}"
    );
}

#[test]
fn the_name_of_this_host_is_an_address_where_its_resolver_knows_it() {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let Ok(mut addresses) = (name.as_str(), 0).to_socket_addrs() else {
        return;
    };
    let known = addresses.find(|address| std::net::TcpListener::bind(address).is_ok());
    let is_ipv4 = known.is_some_and(|address| address.is_ipv4());
    if !is_ipv4 {
        return;
    }
    let site = Site::new(RULES);
    let meshd = site.start_with(&[&format!("--server-address={name}")]);
    TcpStream::connect((name.as_str(), meshd.ports.http)).expect("the port is open");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a socket").permissions().mode() & 0o7777
}

#[test]
fn the_mode_of_the_unix_socket_is_the_configured_one_whatever_the_umask() {
    let site = Site::new(RULES);
    let socket = site.path("rls.sock");
    let start = |umask: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        let meshd = "umask $0; exec \"$@\"";
        command
            .args(["-c", meshd, umask])
            .arg(env!("CARGO_BIN_EXE_meshd"));
        command.arg("--config").arg(site.path("hivemind.yaml"));
        command
            .arg("--server-grpc-socket")
            .arg(&socket)
            .args(arguments);
        site.start_command(command)
    };
    for (umask, arguments, expected) in [
        ("000", &[][..], 0o600),
        ("077", &["--server-grpc-socket-mode=0666"], 0o666),
        ("022", &["--server-grpc-socket-mode=0660"], 0o660),
    ] {
        let meshd = start(umask, arguments);
        assert_eq!(mode(&socket), expected, "umask {umask}");
        UnixStream::connect(&socket).expect("the socket is open");
        // What meshd makes beside it is of the mode it was.
        let region = fs::metadata(site.path("region")).expect("a region");
        assert_eq!(region.permissions().mode() & 0o777, 0o600);
        assert_eq!(meshd.stop().code(), Some(0));
    }
    let output = site.run(&["--check", "--server-grpc-socket-mode=0400"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn a_meshd_that_takes_over_gives_the_unix_socket_the_mode_of_its_own_configuration() {
    let site = Site::new(RULES);
    let socket = site.path("rls.sock");
    let path = format!("--server-grpc-socket={}", socket.display());
    let first = site.start_with(&[&path]);
    assert_eq!(mode(&socket), 0o600);
    let second = replace(
        &site,
        first,
        "second",
        &[&path, "--server-grpc-socket-mode=0660"],
    );
    assert_eq!(mode(&socket), 0o660);
    UnixStream::connect(&socket).expect("the socket is open");
    assert_eq!(second.stop().code(), Some(0));
    assert!(!socket.exists());
}
