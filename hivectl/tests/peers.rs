//! `hivectl peers` against what answers like a meshd's admin port.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use support::{Finished, Place, hivectl};

/// Answers one request with this status and body; the thread gives the request back.
fn admin_port(status: u16, body: &str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 1_024];
        while !request.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut chunk).unwrap();
            request.extend_from_slice(&chunk[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, thread)
}

fn ask(status: u16, body: &str, arguments: &[&str]) -> Finished {
    let (address, thread) = admin_port(status, body);
    let admin = format!("--admin={address}");
    let mut command = hivectl();
    // A proxy for the internet is not asked about this host.
    command.env("http_proxy", "http://127.0.0.1:1");
    let finished = Finished::of(command.args(["peers", &admin]).args(arguments));
    let request = thread.join().unwrap();
    assert!(request.starts_with("GET /peers HTTP/1.1\r\n"), "{request}");
    finished
}

const ON: &str = r#"{"mesh":"on","actor":"00000000000000aa","name":"edge-1","address":"192.0.2.1:7946",
"cluster":"hivemind","sealed":true,"joined":true,"keys":12,"actors":3,
"peers":[
 {"actor":"00000000000000bb","name":"edge-2","address":"192.0.2.2:7946","state":"alive",
  "last_heard_ms":40,"round_trip_us":250,"loss":0.0125,"skew_ms":-3,"staleness_p50_us":5200,
  "staleness_p99_us":12000,"sent_datagrams":1,"sent_bytes":2,"received_datagrams":3,
  "received_bytes":4,"backlog":7,"in_sync":true},
 {"actor":"00000000000000cc","name":"","address":"192.0.2.3:7946","state":"down",
  "last_heard_ms":null,"round_trip_us":null,"loss":0.0,"skew_ms":null,"staleness_p50_us":null,
  "staleness_p99_us":null,"sent_datagrams":0,"sent_bytes":0,"received_datagrams":0,
  "received_bytes":0,"backlog":0,"in_sync":false}],
"traffic":[{"kind":"counts","sent_datagrams":10,"sent_bytes":2048,"received_datagrams":20,
 "received_bytes":100}],
"drops":[{"cause":"replayed","count":5}],
"probe":{"sent":9,"last_us":4100,"p50_us":4000,"p99_us":9000},"overshoot":[]}"#;

#[test]
fn peers_are_a_table_with_traffic_drops_and_probe() {
    let text = ask(200, ON, &[]).ok();
    // Columns are aligned with spaces: only the words matter here.
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "node edge-1",
        "cluster hivemind, sealed",
        "probe a change took 4.1 ms until every peer had it; median 4.0 ms, 99th percentile 9.0 ms (9 sent)",
        "rules -",
        "NAME ADDRESS STATE RTT LOSS SKEW STALENESS p50/p99 LAST HEARD BACKLOG SYNC RULES",
        "edge-2 192.0.2.2:7946 alive 250 µs 1.2 % -3 ms 5.2 ms / 12 ms 0.0 s 7 yes -",
        "- 192.0.2.3:7946 down - 0.0 % - - / - - 0 no -",
        "counts 10 2.0 KiB 20 100 bytes",
        "replayed 5",
    ] {
        assert!(
            lines.iter().any(|shown| shown == line),
            "no {line:?} in\n{text}"
        );
    }
}

#[test]
fn rules_of_peers_and_being_alone_are_shown() {
    let own = r#""joined":true,"rules":"00000000000000ab","alone":"no peer is there""#;
    let told = ON
        .replace(r#""joined":true"#, own)
        .replace(
            r#""name":"edge-2","#,
            r#""name":"edge-2","rules":"00000000000000cd","#,
        )
        .replace(r#""name":"","#, r#""name":"","rules":"00000000000000ab","#);
    let text = ask(200, &told, &[]).ok();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for line in [
        ["rules", "00000000000000ab"].as_slice(),
        &["alone", "no", "peer", "is", "there"],
    ] {
        assert!(
            lines.iter().any(|shown| shown == line),
            "no {line:?} in\n{text}"
        );
    }
    for end in [["00000000000000cd", "(differ)"], ["no", "00000000000000ab"]] {
        assert!(
            lines.iter().any(|shown| shown.ends_with(&end)),
            "no {end:?} in\n{text}"
        );
    }
}

#[test]
fn json_is_what_meshd_says() {
    let expected: serde_json::Value = serde_json::from_str(ON).unwrap();
    assert_eq!(ask(200, ON, &["--json"]).json(), expected);
}

#[test]
fn a_mesh_that_is_off_says_so() {
    let off = r#"{"mesh":"off","reason":"nobody to share with"}"#;
    assert_eq!(
        ask(200, off, &[]).ok(),
        "the mesh is off: nobody to share with\n"
    );
    assert_eq!(
        ask(200, r#"{"mesh":"starting"}"#, &[]).ok(),
        "the mesh is starting\n"
    );
}

#[test]
fn names_of_peers_cannot_write_to_the_terminal() {
    let hostile = ON.replace("edge-2", r"\u001b[2Jx");
    assert!(!ask(200, &hostile, &[]).ok().contains('\u{1b}'));
}

#[test]
fn whoever_else_answers_is_status_69_with_a_way_out() {
    for (status, body) in [
        (404, ""),
        (200, "<html>"),
        (200, r#"{"mesh":"sideways"}"#),
        (302, ""),
    ] {
        let finished = ask(status, body, &[]);
        assert_eq!(
            (finished.status, &*finished.stdout),
            (Some(69), ""),
            "{finished:?}"
        );
        assert!(finished.stderr.contains("no admin port"), "{finished:?}");
        assert!(
            finished.stderr.contains("--admin HOST:PORT"),
            "{finished:?}"
        );
    }
}

#[test]
fn the_port_comes_from_the_region_when_no_flag_names_it() {
    let place = Place::new();
    let region = place.own();
    let finished = place.hivectl(&["peers"]);
    assert_eq!(finished.status, Some(69), "{finished:?}");
    assert!(
        finished.stderr.contains("names no admin port"),
        "{finished:?}"
    );

    let (address, thread) = admin_port(200, r#"{"mesh":"starting"}"#);
    region.set_admin_address(Some(address));
    assert_eq!(place.hivectl(&["peers"]).ok(), "the mesh is starting\n");
    thread.join().unwrap();

    // Nobody listens there any more.
    let finished = place.hivectl(&["peers"]);
    assert_eq!(finished.status, Some(69), "{finished:?}");
    let expected = format!("cannot be reached at {address}");
    assert!(finished.stderr.contains(&expected), "{finished:?}");

    let missing = Finished::of(hivectl().args(["peers", "--region=/no/where"]));
    assert_eq!(missing.status, Some(66), "{missing:?}");
}
