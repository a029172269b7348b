//! Peers that take connections, time and memory: what they get, and that others go on.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use support::process::{peak_mib, resident_mib, sample};
use support::raw_http2::{BEGINNING, Peer};
use support::{Client, Meshd, PATIENCE, RULES, Site, descriptor, eventually, exchange, request};
use tonic::Code;

/// Whether the other end has closed a connection.
fn has_closed(stream: &mut (impl Read + NonBlocking)) -> bool {
    stream.nonblocking();
    match stream.read(&mut [0; 1_024]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

trait NonBlocking {
    fn nonblocking(&self);
}

impl NonBlocking for TcpStream {
    fn nonblocking(&self) {
        self.set_nonblocking(true).expect("a socket");
    }
}

impl NonBlocking for UnixStream {
    fn nonblocking(&self) {
        self.set_nonblocking(true).expect("a socket");
    }
}

fn wait_until_closed(what: &str, streams: &mut [impl Read + NonBlocking]) {
    eventually(what, || streams.iter_mut().all(has_closed).then_some(()));
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).expect("the port is open")
}

fn connect_and_send(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(bytes).expect("sent");
    stream
}

/// Makes a call that has to have an answer.
async fn call(client: &mut Client) {
    let call = request(vec![descriptor(&[("other", "any")])]);
    client.should_rate_limit(call).await.expect("an answer");
}

fn closed(meshd: &Meshd, port: &str, cause: &str) -> u64 {
    let labels = format!("{{port=\"{port}\",cause=\"{cause}\"}}");
    sample(meshd, &format!("hivemind_connections_closed_total{labels}"))
}

fn refused(meshd: &Meshd, port: &str, cause: &str) -> u64 {
    let labels = format!("{{port=\"{port}\",cause=\"{cause}\"}}");
    sample(meshd, &format!("hivemind_requests_refused_total{labels}"))
}

fn open(meshd: &Meshd, port: &str) -> u64 {
    sample(
        meshd,
        &format!("hivemind_connections_open{{port=\"{port}\"}}"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn thousands_of_silent_connections_are_closed_in_time_and_calls_go_on() {
    const SILENT: usize = 4_500;
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-header-timeout", "2s"]);
    let mut idle = meshd.client().await;
    call(&mut idle).await;

    let before = resident_mib(&meshd);
    let mut silent: Vec<_> = (0..SILENT).map(|_| connect(meshd.ports.grpc)).collect();
    let mut client = meshd.client().await;
    eventually("the end of the silent connections", || {
        silent.retain_mut(|stream| !has_closed(stream));
        silent.is_empty().then_some(())
    });
    call(&mut client).await;
    assert!(closed(&meshd, "grpc", "header_timeout") >= SILENT as u64);
    let grown = peak_mib(&meshd).saturating_sub(before);
    eprintln!("{SILENT} silent connections: {grown} MiB");
    assert!(grown < 100, "{grown} MiB");

    call(&mut idle).await;
    assert_eq!(open(&meshd, "grpc"), 2, "idle ones that have begun stay");
}

#[test]
fn whoever_is_silent_or_slow_at_the_beginning_is_closed_on_every_port() {
    let site = Site::new(RULES);
    let socket = site.path("rls.sock");
    let meshd = site.start_with(&[
        "--server-header-timeout",
        "500ms",
        "--metrics-bind",
        "127.0.0.1:0",
        "--server-grpc-socket",
        socket.to_str().expect("UTF-8"),
    ]);
    let metrics = meshd.ports.metrics.expect("a port");
    let ports = [
        meshd.ports.http,
        meshd.ports.admin,
        metrics,
        meshd.ports.grpc,
    ];
    let mut silent: Vec<_> = ports.map(connect).into();
    // The beginning of a head, and of a preface.
    silent.extend(ports.map(|port| connect_and_send(port, b"PRI * HTT")));
    let head = b"GET /metrics HTTP/1.1\r\nhost: test\r\n";
    silent.extend(ports[..3].iter().map(|port| connect_and_send(*port, head)));
    let mut on_socket = [UnixStream::connect(&socket).expect("open")];

    wait_until_closed("the end on TCP", &mut silent);
    wait_until_closed("the end on the Unix socket", &mut on_socket);
    for port in ["http", "admin", "metrics", "grpc", "grpc_socket"] {
        assert!(closed(&meshd, port, "header_timeout") > 0, "{port}");
    }
}

#[test]
fn a_connection_that_waits_for_its_next_request_is_left_alone() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-header-timeout", "200ms"]);
    let mut idle = connect(meshd.ports.http);
    idle.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let ask = |stream: &mut TcpStream| {
        stream
            .write_all(b"GET /healthcheck HTTP/1.1\r\nhost: test\r\n\r\n")
            .expect("sent");
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    };
    ask(&mut idle);
    // Those that have sent nothing are closed meanwhile, twice.
    for _ in 0..2 {
        wait_until_closed("the end of a silent one", &mut [connect(meshd.ports.http)]);
    }
    let mut rest = [0; 1_024];
    let _ = idle.read(&mut rest).expect("the rest of the first answer");
    ask(&mut idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_that_does_not_come_is_given_up_and_its_connection_goes_on() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-body-timeout", "300ms"]);
    let head = "POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    let (status, _) = exchange(meshd.ports.http, head);
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(refused(&meshd, "http", "body_timeout"), 1);

    let mut peer = Peer::connect(meshd.ports.grpc);
    peer.begin_call(1);
    eventually("the end of the call", || {
        (refused(&meshd, "grpc", "body_timeout") == 1).then_some(())
    });
    assert_eq!(open(&meshd, "grpc"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_one_connection_sends_and_does_not_finish_is_bounded() {
    const CALLS: u32 = 1_024;
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-body-timeout", "5s"]);
    let before = resident_mib(&meshd);
    let mut peer = Peer::connect(meshd.ports.grpc);
    let part = vec![0; 60_000];
    // The head of a message of a megabyte, which then never comes as a whole.
    let beginning = [0, 0, 0x0f, 0xff, 0xff];
    for call in 0..CALLS {
        let stream = 2 * call + 1;
        peer.begin_call(stream);
        assert!(peer.send_data(stream, &beginning, false));
        assert!(peer.send_data(stream, &part, false), "the connection stays");
    }
    eventually("refusals", || {
        (refused(&meshd, "grpc", "connection_bytes") > 0).then_some(())
    });
    let grown = peak_mib(&meshd).saturating_sub(before);
    eprintln!("{CALLS} calls of 60 kB that do not end: {grown} MiB");
    assert!(grown < 48, "{grown} MiB");
    call(&mut meshd.client().await).await;
    eventually("the end of what was begun", || {
        (sample(&meshd, "hivemind_connections_buffered_bytes") == 0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_that_nobody_reads_are_bounded_and_end_their_connection() {
    use prost::Message;

    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-write-timeout", "1s"]);
    let before = resident_mib(&meshd);
    let mut peer = Peer::connect(meshd.ports.grpc);
    peer.open_windows();
    let many = request(vec![descriptor(&[("user", "ada")]); 2_000]).encode_to_vec();
    let length = u32::try_from(many.len()).expect("short");
    let message = [&[0][..], &length.to_be_bytes(), &many].concat();
    let mut stream = 1;
    // Until the connection is closed, or takes nothing more.
    let deadline = Instant::now() + PATIENCE;
    while closed(&meshd, "grpc", "write_timeout") == 0 {
        assert!(Instant::now() < deadline, "the connection is never closed");
        for _ in 0..50 {
            if stream < 2 * 2_000 {
                peer.try_call(stream, &message);
                stream += 2;
            }
        }
    }
    let grown = peak_mib(&meshd).saturating_sub(before);
    eprintln!("answers that are not read: {grown} MiB");
    assert!(grown < 64, "{grown} MiB");
    call(&mut meshd.client().await).await;
}

/// A site with so many rules that `/metrics` is some megabytes.
fn site_with_large_metrics() -> Site {
    let mut rules = "domain: test\ndescriptors:\n".to_owned();
    for rule in 0..4_000 {
        let name = format!("key_{rule:04}_{}", "long".repeat(30));
        rules.push_str(&format!(
            "  - key: {name}\n    rate_limit: {{unit: hour, requests_per_unit: 3}}\n"
        ));
    }
    Site::new(&rules)
}

#[test]
fn readers_that_do_not_read_are_bounded_and_others_read() {
    const READERS: usize = 120;
    let site = site_with_large_metrics();
    let meshd = site.start_with(&[
        "--server-max-connection-bytes",
        "8388608",
        "--server-max-buffered-bytes",
        "33554432",
        "--server-write-timeout",
        "10m",
        "--metrics-bind",
        "127.0.0.1:0",
        "--region-rules-bytes",
        "8388608",
    ]);
    let size = meshd.admin("/metrics").1.len();
    assert!(size > 3_000_000, "{size}");
    let before = resident_mib(&meshd);
    let scrape = b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n";
    let ports = [
        ("http", meshd.ports.http),
        ("admin", meshd.ports.admin),
        ("metrics", meshd.ports.metrics.expect("a port")),
    ];
    let readers: Vec<_> = (0..READERS)
        .map(|reader| connect_and_send(ports[reader % 3].1, scrape))
        .collect();
    eventually("every scrape", || {
        let ended: u64 = ports
            .iter()
            .map(|(port, _)| closed(&meshd, port, "buffered_bytes"))
            .sum();
        // All but those that fit.
        (ended + (33_554_432 / size) as u64 >= (READERS - 20) as u64).then_some(())
    });
    let grown = peak_mib(&meshd).saturating_sub(before);
    eprintln!("{READERS} readers of {size} bytes that do not read: {grown} MiB");
    assert!(grown < 80, "{grown} MiB");
    for (_, port) in ports {
        let head = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        assert!(exchange(port, head).1.len() > 3_000_000);
    }
    drop(readers);
}

#[test]
fn a_reader_that_does_not_read_is_closed_after_a_while() {
    let site = site_with_large_metrics();
    let meshd = site.start_with(&[
        "--server-write-timeout",
        "500ms",
        "--region-rules-bytes",
        "8388608",
    ]);
    let _reader = connect_and_send(
        meshd.ports.http,
        b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n",
    );
    eventually("the end of the connection", || {
        (closed(&meshd, "http", "write_timeout") == 1).then_some(())
    });
    eventually("the end of its bytes", || {
        (sample(&meshd, "hivemind_connections_buffered_bytes") == 0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn at_the_bound_the_oldest_idle_connection_gives_way_and_those_in_use_go_on() {
    const BOUND: usize = 200;
    let site = Site::new(RULES);
    let bound = BOUND.to_string();
    let meshd = site.start_with(&["--server-max-connections", &bound]);
    let mut user = meshd.client().await;
    call(&mut user).await;
    let mut begun = connect_and_send(meshd.ports.grpc, BEGINNING);
    // Several times as many as there is room for; the first ones go first.
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.extend((0..BOUND).map(|_| connect(meshd.ports.grpc)));
        call(&mut user).await;
        call(&mut meshd.client().await).await;
    }
    eventually("the end of most", || {
        silent.retain_mut(|stream| !has_closed(stream));
        (silent.len() <= BOUND).then_some(())
    });
    assert!(!silent.is_empty(), "the last ones have their time");
    let mut preface = [0; 64];
    let _ = begun.read(&mut preface);
    wait_until_closed("the end of the one that never called", &mut [begun]);
    call(&mut user).await;
    assert!(open(&meshd, "grpc") <= BOUND as u64 + 32);
    let displaced = closed(&meshd, "grpc", "displaced");
    assert!(displaced >= 8 * BOUND as u64, "{displaced}");
    assert_eq!(closed(&meshd, "grpc", "full"), 0);
}

#[test]
fn a_crowd_on_one_http_port_leaves_the_others_alone_and_the_newest_is_served() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-max-http-connections", "20"]);
    let silent: Vec<_> = (0..500).map(|_| connect(meshd.ports.http)).collect();
    assert_eq!(meshd.http("/healthcheck").0, 200);
    assert_eq!(meshd.admin("/rules").0, 200);
    assert!(open(&meshd, "http") <= 52);
    assert!(closed(&meshd, "http", "displaced") >= 400);
    drop(silent);
}

/// meshd with so many file descriptors, soft and hard.
fn start_limited(site: &Site, soft: u32, hard: u32, log: &str) -> Meshd {
    let meshd = site.command(&[]);
    let mut command = std::process::Command::new("sh");
    let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.args(["-c", &limits]).arg(meshd.get_program());
    command.args(meshd.get_args());
    let mut meshd = site.launch_command(log, command);
    meshd.await_ready();
    meshd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_descriptors_that_the_host_allows_are_used() {
    let site = Site::new(RULES);
    let meshd = start_limited(&site, 100, 2_000, "log");
    let mut clients = Vec::new();
    for _ in 0..500 {
        let mut client = meshd.client().await;
        call(&mut client).await;
        clients.push(client);
    }
    assert_eq!(open(&meshd, "grpc"), 500);
    assert_eq!(closed(&meshd, "grpc", "displaced"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn when_connections_have_all_they_may_rules_health_and_hand_over_work() {
    let site = Site::new(RULES);
    let meshd = start_limited(&site, 100, 400, "log");
    let log = meshd.log();
    assert!(log.contains("allows fewer connections"), "{log}");
    // On every port more than there are descriptors.
    let ports = [meshd.ports.grpc, meshd.ports.http, meshd.ports.admin];
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.extend(ports.map(connect));
    }
    let mut client = meshd.client().await;
    call(&mut client).await;
    assert_eq!(meshd.http("/ready").0, 200);
    site.write(
        "ratelimit.yaml",
        &RULES.replace("requests_per_unit: 3", "requests_per_unit: 4"),
    );
    eventually("the reload", || {
        meshd
            .admin("/rules")
            .1
            .contains(": 4 per year")
            .then_some(())
    });
    assert_eq!(meshd.log().matches("cannot accept").count(), 0);

    silent.extend(ports.map(connect));
    let next = start_limited(&site, 100, 400, "next");
    assert_eq!(meshd.wait().code(), Some(0), "handed over");
    call(&mut next.client().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_that_is_too_large_for_its_connection_is_refused_with_a_reason() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&["--server-max-connection-bytes", "8388608"]);
    let mut client = meshd.client().await;
    // Short descriptors: the answer takes far more than the request.
    let call = request(vec![descriptor(&[]); 400_000]);
    let error = client.should_rate_limit(call).await.expect_err("too much");
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    assert!(error.message().contains("on this connection"), "{error:?}");
    tokio::time::timeout(Duration::from_secs(10), self::call(&mut client))
        .await
        .expect("others are answered");
}
