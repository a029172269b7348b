//! TLS on the gRPC port: who gets in, and what happens when files change or are broken.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::Signal;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use support::certificates::{Authority, Pair};
use support::{Client, Meshd, PATIENCE, RULES, Site, admitted, descriptor, eventually, request};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// The name in meshd's certificates.
const SERVER: &str = "ratelimit.internal";

/// The name of the client that is let in.
const CLIENT: &str = "spiffe://cluster.local/ns/edge/sa/envoy";

/// A site whose meshd shows a certificate of `authority`.
fn site(authority: &Authority) -> Site {
    let site = Site::new(RULES);
    write_pair(&site, &authority.issue(SERVER));
    site
}

fn write_pair(site: &Site, pair: &Pair) {
    site.write("tls.crt", &pair.cert);
    site.write("tls.key", &pair.key);
}

/// Starts meshd with TLS and more arguments.
fn start(site: &Site, arguments: &[&str]) -> Meshd {
    let (cert, key) = (site.path("tls.crt"), site.path("tls.key"));
    let mut all = vec![
        "--server-tls-cert-file",
        cert.to_str().expect("UTF-8"),
        "--server-tls-key-file",
        key.to_str().expect("UTF-8"),
    ];
    all.extend(arguments);
    site.start_with(&all)
}

/// Starts meshd with TLS for clients of an authority, of this name if there is one.
fn start_for_clients(site: &Site, authority: &Authority, name: Option<&str>) -> Meshd {
    site.write("client-ca.crt", &authority.pem);
    let ca = site.path("client-ca.crt");
    let mut arguments = vec!["--server-tls-client-ca-file", ca.to_str().expect("UTF-8")];
    if let Some(name) = name {
        arguments.extend(["--server-tls-client-san", name]);
    }
    start(site, &arguments)
}

/// A client that trusts an authority, and shows a certificate if it has one.
async fn connect(
    meshd: &Meshd,
    trusted: &Authority,
    own: Option<&Pair>,
) -> Result<Client, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&trusted.pem))
        .domain_name(SERVER);
    if let Some(pair) = own {
        tls = tls.identity(Identity::from_pem(&pair.cert, &pair.key));
    }
    let endpoint = format!("https://127.0.0.1:{}", meshd.ports.grpc);
    let endpoint = Endpoint::from_shared(endpoint).expect("an endpoint");
    let channel = endpoint
        .tls_config(tls)
        .expect("good TLS")
        .connect()
        .await?;
    Ok(Client::new(channel))
}

/// Whether a client gets an answer.
async fn is_served(meshd: &Meshd, trusted: &Authority, own: Option<&Pair>) -> bool {
    // With TLS 1.3 a client learns only with its first call that its certificate was refused.
    match connect(meshd, trusted, own).await {
        Ok(mut client) => {
            let call = request(vec![descriptor(&[("user", "anyone")])]);
            client.should_rate_limit(call).await.is_ok()
        }
        Err(_) => false,
    }
}

/// Waits until handshakes have failed for this cause, at least that many times: a client may try again.
fn wait_for_failures(meshd: &Meshd, cause: &str, count: u64) {
    eventually(cause, || (failures(meshd, cause) >= count).then_some(()));
}

/// How many handshakes failed for a cause.
fn failures(meshd: &Meshd, cause: &str) -> u64 {
    let series = format!("hivemind_grpc_handshakes_failed_total{{cause=\"{cause}\"}} ");
    let metrics = meshd.http("/metrics").1;
    let mut samples = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(&series));
    let sample = samples.next().and_then(|sample| sample.parse().ok());
    sample.unwrap_or_default()
}

/// The component `tls`, as `/ready` shows it.
fn state(meshd: &Meshd) -> String {
    let (status, body) = meshd.http("/ready");
    assert_eq!(status, 200, "{body}");
    let ready: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let state = &ready["components"]["tls"]["state"];
    state.as_str().expect("a state").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_come_through_tls_and_count_as_ever() {
    let authority = Authority::new("ours");
    let site = site(&authority);
    let meshd = start(&site, &[]);
    let mut client = connect(&meshd, &authority, None).await.expect("let in");
    assert_eq!(admitted(&mut client, "ada", 5).await, 3);
    let metrics = meshd.http("/metrics").1;
    let expiry = metrics
        .lines()
        .find_map(|line| line.strip_prefix("hivemind_grpc_certificate_expiry_timestamp_seconds "))
        .expect("a sample");
    // What rcgen gives when it is not told.
    assert_eq!(expiry, "67090118400", "the year 4096");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_with_the_right_certificate_are_served() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let site = site(&ours);
    let meshd = start_for_clients(&site, &clients, None);
    let envoy = clients.issue(CLIENT);
    let mut client = connect(&meshd, &ours, Some(&envoy)).await.expect("let in");
    assert_eq!(admitted(&mut client, "ada", 5).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_without_a_certificate_or_with_a_wrong_one_are_refused() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let site = site(&ours);
    let meshd = start_for_clients(&site, &clients, Some(CLIENT));

    assert!(!is_served(&meshd, &ours, None).await);
    wait_for_failures(&meshd, "no_certificate", 1);
    // Signed by the authority of servers, which is not that of clients.
    assert!(!is_served(&meshd, &ours, Some(&ours.issue(CLIENT))).await);
    wait_for_failures(&meshd, "bad_certificate", 1);
    for (count, name) in (1..).zip([
        "spiffe://cluster.local/ns/edge/sa/other",
        "spiffe://CLUSTER.local/ns/edge/sa/envoy",
        "envoy.internal",
    ]) {
        let other = clients.issue(name);
        assert!(!is_served(&meshd, &ours, Some(&other)).await, "{name}");
        wait_for_failures(&meshd, "wrong_name", count);
    }
    assert!(is_served(&meshd, &ours, Some(&clients.issue(CLIENT))).await);
    let log = meshd.log();
    assert_eq!(log.matches("wrong_name").count(), 1, "once a minute: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dns_name_is_a_name_as_well() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let site = site(&ours);
    let meshd = start_for_clients(&site, &clients, Some("envoy.internal"));
    assert!(is_served(&meshd, &ours, Some(&clients.issue("Envoy.internal"))).await);
    for other in ["envoy", "evilenvoy.internal", "envoy.internal.evil"] {
        assert!(
            !is_served(&meshd, &ours, Some(&clients.issue(other))).await,
            "{other}"
        );
    }
}

/// How the handshake of the second of two connections went, for a client that keeps sessions.
fn second_handshake(meshd: &Meshd, trusted: &Authority, own: &Pair) -> Option<HandshakeKind> {
    let mut roots = RootCertStore::empty();
    let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate");
    roots.add(pem(&trusted.pem)).expect("an authority");
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![pem(&own.cert)], key)
        .expect("a certificate and its key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let mut kinds = [(); 2].map(|()| {
        let name = SERVER.try_into().expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(&config), name).expect("a connection");
        let mut stream = TcpStream::connect(("127.0.0.1", meshd.ports.grpc)).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut tls_stream = rustls::Stream::new(&mut tls, &mut stream);
        tls_stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .expect("sent");
        // SETTINGS of the server, which come after its tickets.
        tls_stream.read_exact(&mut [0; 9]).expect("a frame");
        tls.handshake_kind()
    });
    assert_eq!(kinds[0], Some(HandshakeKind::Full));
    kinds[1].take()
}

#[test]
fn a_client_shows_its_certificate_on_every_connection() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let (own, site) = (clients.issue(CLIENT), site(&ours));
    let meshd = start(&site, &[]);
    let kind = second_handshake(&meshd, &ours, &own);
    assert_eq!(kind, Some(HandshakeKind::Resumed), "where nobody is asked");
    drop(meshd);
    let meshd = start_for_clients(&site, &clients, None);
    let kind = second_handshake(&meshd, &ours, &own);
    assert_eq!(kind, Some(HandshakeKind::Full));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_does_not_trust_meshd_and_one_without_tls_are_counted() {
    let ours = Authority::new("ours");
    let site = site(&ours);
    let meshd = start(&site, &[]);
    assert!(!is_served(&meshd, &Authority::new("another"), None).await);
    wait_for_failures(&meshd, "refused", 1);

    let mut plain = TcpStream::connect(("127.0.0.1", meshd.ports.grpc)).expect("open");
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    // Closed, or reset, but not served: an alert at most.
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.len() < 20, "{answer:?}");
    wait_for_failures(&meshd, "not_tls", 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let site = site(&old);
    let meshd = start(&site, &[]);
    let mut before = connect(&meshd, &old, None).await.expect("let in");

    write_pair(&site, &new.issue(SERVER));
    eventually("the reload", || {
        meshd.log().contains("TLS files reloaded").then_some(())
    });
    assert!(is_served(&meshd, &new, None).await);
    assert!(!is_served(&meshd, &old, None).await);
    assert_eq!(
        admitted(&mut before, "ada", 1).await,
        1,
        "a connection from before goes on"
    );

    // The key of another certificate.
    site.write("tls.key", &new.issue(SERVER).key);
    eventually("the rejection", || {
        (state(&meshd) == "degraded").then_some(())
    });
    let log = meshd.log();
    assert!(
        log.contains("tls.key (server.tls_key_file): the key is not the one"),
        "{log}"
    );
    assert!(is_served(&meshd, &new, None).await, "what was good stays");

    write_pair(&site, &old.issue(SERVER));
    eventually("the recovery", || (state(&meshd) == "up").then_some(()));
    assert!(is_served(&meshd, &old, None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_authority_of_clients_is_taken_over_at_a_signal_too() {
    let (ours, old, new) = (
        Authority::new("ours"),
        Authority::new("old"),
        Authority::new("new"),
    );
    let site = site(&ours);
    let meshd = start_for_clients(&site, &old, None);
    let (old_client, new_client) = (old.issue(CLIENT), new.issue(CLIENT));
    assert!(is_served(&meshd, &ours, Some(&old_client)).await);
    assert!(!is_served(&meshd, &ours, Some(&new_client)).await);

    site.write("client-ca.crt", &new.pem);
    meshd.signal(Signal::HUP);
    eventually("the reload", || {
        meshd.log().contains("TLS files reloaded").then_some(())
    });
    assert!(is_served(&meshd, &ours, Some(&new_client)).await);
    assert!(!is_served(&meshd, &ours, Some(&old_client)).await);
}

/// A connection from this address of the host.
fn connect_from(source: [u8; 4], port: u16) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let bound = SocketAddr::from((source, 0));
    rustix::net::bind(&socket, &bound).expect("an address of the loopback");
    let meshd = SocketAddr::from(([127, 0, 0, 1], port));
    rustix::net::connect(&socket, &meshd).expect("the port is open");
    socket.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silent_clients_stop_no_handshake() {
    let ours = Authority::new("ours");
    let site = site(&ours);
    let meshd = start(&site, &[]);
    // From one address, and then from so many that they take all.
    let mut silent = Vec::new();
    for _ in 0..1_100 {
        silent.push(connect_from([127, 0, 0, 2], meshd.ports.grpc));
    }
    assert!(is_served(&meshd, &ours, None).await);
    for source in 3..13 {
        for _ in 0..120 {
            silent.push(connect_from([127, 0, 0, source], meshd.ports.grpc));
        }
        assert!(is_served(&meshd, &ours, None).await);
    }
    // Those beyond a share have given way at once, the others after their time, and each for one of the two: how
    // many for which depends on how fast they came.
    wait_for_failures(&meshd, "too_many", 1);
    wait_for_failures(&meshd, "timeout", 1);
    eventually("all silent ones have failed", || {
        let failed = failures(&meshd, "too_many") + failures(&meshd, "timeout");
        (failed >= silent.len() as u64).then_some(())
    });
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let closed = stream.read(&mut [0; 1]);
        assert!(!matches!(closed, Ok(1..)), "{closed:?}");
    }
    assert!(is_served(&meshd, &ours, None).await);
}

#[test]
fn files_that_are_missing_or_broken_at_the_start_are_status_64_and_named() {
    let authority = Authority::new("ours");
    let site = site(&authority);
    site.write("other.key", &authority.issue(SERVER).key);
    site.write("empty", "");
    site.write("cut.crt", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let cases: [(&str, &str, Option<&str>, &[&str]); 6] = [
        (
            "none",
            "tls.key",
            None,
            &["none", "cannot read", "server.tls_cert_file"],
        ),
        (
            "tls.crt",
            "none",
            None,
            &["none", "cannot read", "server.tls_key_file"],
        ),
        (
            "empty",
            "empty",
            None,
            &["no certificate in it", "no private key in it", "2 problems"],
        ),
        (
            "cut.crt",
            "tls.key",
            None,
            &["cut.crt: not PEM", "server.tls_cert_file"],
        ),
        (
            "tls.crt",
            "other.key",
            None,
            &["not the one of the certificate", "server.tls_key_file"],
        ),
        (
            "tls.crt",
            "tls.key",
            Some("empty"),
            &["no certificate in it", "server.tls_client_ca_file"],
        ),
    ];
    for (cert, key, ca, expected) in cases {
        let path = |name: &str| site.path(name).to_str().expect("UTF-8").to_owned();
        let (cert, key) = (path(cert), path(key));
        let mut arguments = vec![
            "--server-tls-cert-file",
            &cert,
            "--server-tls-key-file",
            &key,
        ];
        let ca = ca.map(path);
        if let Some(ca) = &ca {
            arguments.extend(["--server-tls-client-ca-file", ca]);
        }
        for check in [&[][..], &["--check"]] {
            let output = site.run(&[&arguments[..], check].concat());
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(64), "{text}");
            for part in expected {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
        }
    }
    assert!(!site.path("region").exists(), "nothing was created");
}

#[test]
fn an_expired_certificate_is_warned_about() {
    let site = Site::new(RULES);
    write_pair(&site, &Authority::new("ours").issue_expired(SERVER));
    let meshd = start(&site, &[]);
    let log = meshd.log();
    assert!(log.contains("the certificate has expired"), "{log}");
}

#[test]
fn a_certificate_that_has_expired_degrades_tls_until_it_is_renewed() {
    let authority = Authority::new("ours");
    let site = site(&authority);
    write_pair(&site, &authority.issue_expired(SERVER));
    let meshd = start(&site, &[]);
    meshd.await_log("the certificate of the gRPC port has expired");
    let (code, ready) = meshd.http("/ready");
    assert_eq!(code, 200, "connections there are go on");
    assert!(ready.contains("the certificate has expired"), "{ready}");
    assert!(meshd.log().contains("ERROR"), "{}", meshd.log());

    write_pair(&site, &authority.issue(SERVER));
    meshd.await_log("the certificate of the gRPC port is valid again");
    eventually("all is well", || {
        (!meshd.http("/ready").1.contains("degraded")).then_some(())
    });
}
