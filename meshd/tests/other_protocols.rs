//! Clients that speak another protocol than the port they have found.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use support::process::sample;
use support::{Client, Meshd, PATIENCE, RULES, Site, admitted, descriptor, eventually, request};
use tonic::transport::{ClientTlsConfig, Endpoint};

/// A client of gRPC over TLS fails to connect.
async fn connect_with_tls(port: u16) {
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"));
    let endpoint = endpoint
        .and_then(|endpoint| endpoint.tls_config(ClientTlsConfig::new().with_enabled_roots()))
        .expect("an endpoint");
    assert!(endpoint.connect().await.is_err());
}

/// A client of gRPC without TLS fails to call.
async fn call(port: u16) {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an endpoint");
    if let Ok(channel) = endpoint.connect().await {
        let call = request(vec![descriptor(&[("user", "ada")])]);
        assert!(Client::new(channel).should_rate_limit(call).await.is_err());
    }
}

/// A client of HTTP/1 has its connection closed.
fn get(mut stream: impl Read + Write) {
    let request = b"GET /ready HTTP/1.1\r\nhost: test\r\n\r\n";
    stream.write_all(request).expect("sent");
    // What comes back is of HTTP/2.
    let _ = stream.read_to_end(&mut Vec::new());
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn seen(meshd: &Meshd, port: &str, protocol: &str) -> u64 {
    sample(
        meshd,
        &format!(
            "hivemind_connections_other_protocol_total{{port=\"{port}\",protocol=\"{protocol}\"}}"
        ),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_another_protocol_are_counted_and_named_once_a_minute() {
    let site = Site::new(RULES);
    let socket = site.path("rls.sock");
    let meshd = site.start_with(&[
        &format!("--server-grpc-socket={}", socket.display()),
        "--metrics-bind=127.0.0.1:0",
    ]);
    let ports = meshd.ports;
    let metrics = ports.metrics.expect("a port for metrics");
    for _ in 0..2 {
        for port in [ports.grpc, ports.http, ports.admin, metrics] {
            connect_with_tls(port).await;
        }
        for port in [ports.http, ports.admin, metrics] {
            call(port).await;
        }
        get(tcp(ports.grpc));
        get(UnixStream::connect(&socket).expect("the socket is open"));
    }
    let pairs = [
        ("grpc", "tls", "set server.tls_cert_file"),
        ("grpc", "http1", "http2_protocol_options"),
        ("grpc_socket", "http1", "http2_protocol_options"),
        ("http", "tls", "there is no TLS here"),
        ("http", "http2", "server.grpc_port"),
        ("admin", "tls", "there is no TLS here"),
        ("admin", "http2", "server.grpc_port"),
        ("metrics", "tls", "there is no TLS here"),
        ("metrics", "http2", "server.grpc_port"),
    ];
    let log = meshd.log();
    for (port, protocol, advice) in pairs {
        let count = seen(&meshd, port, protocol);
        assert!(count >= 2, "{port} {protocol}: {count}\n{log}");
        let (port, protocol) = (
            format!("port=\"{port}\""),
            format!("protocol=\"{protocol}\""),
        );
        let lines = log
            .lines()
            .filter(|line| line.contains(&port) && line.contains(&protocol));
        let lines: Vec<_> = lines.collect();
        let [line] = lines[..] else {
            panic!("{port} {protocol}: {lines:?}\n{log}");
        };
        assert!(line.contains("WARN") && line.contains(advice), "{line}");
        let has_peer = line.contains("peer=127.0.0.1:");
        assert_eq!(has_peer, !port.contains("socket"), "{line}");
    }
    // They are no clients that break a protocol, of which there is a warning as well.
    assert_eq!(
        sample(
            &meshd,
            "hivemind_grpc_connections_failed_total{cause=\"protocol\"}"
        ),
        0
    );
    assert!(!log.contains("does what none should"), "{log}");
    assert_eq!(admitted(&mut meshd.client().await, "ada", 4).await, 3);
    for (port, protocol) in [("grpc", "http2"), ("http", "http1")] {
        assert_eq!(
            seen(&meshd, port, protocol),
            0,
            "what a port speaks is no other protocol"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_looked_at_and_a_beginning_in_pieces_are_no_other_protocol() {
    let site = Site::new(RULES);
    let meshd = site.start();
    drop(tcp(meshd.ports.grpc));
    let mut slow = tcp(meshd.ports.grpc);
    for byte in support::raw_http2::BEGINNING {
        slow.write_all(&[*byte]).expect("sent");
    }
    slow.read_exact(&mut [0; 9]).expect("meshd speaks HTTP/2");
    eventually("the connections", || {
        (sample(&meshd, "hivemind_connections_accepted_total{port=\"grpc\"}") == 2).then_some(())
    });
    for protocol in ["tls", "http1"] {
        assert_eq!(seen(&meshd, "grpc", protocol), 0);
    }
}
