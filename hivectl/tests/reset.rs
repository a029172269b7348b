//! `hivectl reset` against what answers like a meshd's admin port.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use support::{Finished, Place, hivectl};

/// Answers one request with this status and body; the thread gives the request's document back.
fn admin_port(status: u16, body: &str) -> (SocketAddr, JoinHandle<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /reset http/1.1\r\n"), "{head}");
        assert!(
            head.contains("content-type: application/json\r\n"),
            "{head}"
        );
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut document = vec![0; length];
        reader.read_exact(&mut document).unwrap();
        reader.into_inner().write_all(answer.as_bytes()).unwrap();
        serde_json::from_slice(&document).unwrap()
    });
    (address, thread)
}

fn ask(status: u16, body: &str, arguments: &[&str]) -> (Finished, Value) {
    let (address, thread) = admin_port(status, body);
    let admin = format!("--admin={address}");
    let mut command = hivectl();
    let finished = Finished::of(command.arg("reset").args(arguments).arg(&admin));
    (finished, thread.join().unwrap())
}

const DONE: &str = r#"{"domain":"edge","entries":[{"key":"user","value":"ann"}],"dry_run":false,
"counters":[
 {"unit":"hour","unit_multiplier":1,"window_start_unix_s":1800000000,"before":12,"after":0},
 {"unit":"minute","unit_multiplier":5,"window_start_unix_s":1800000000,"before":7,"after":0}]}"#;

#[test]
fn what_was_reset_is_a_table_with_the_hits_before_and_after() {
    let (finished, asked) = ask(200, DONE, &["edge", "user=ann,list=a\\,b"]);
    assert_eq!(
        asked,
        json!({
            "domain": "edge",
            "entries": [{"key": "user", "value": "ann"}, {"key": "list", "value": "a,b"}],
            "dry_run": false,
        })
    );
    let text = finished.ok();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "DOMAIN DESCRIPTOR UNIT WINDOW BEFORE AFTER",
            "edge user=ann,list=a,b hour 2027-01-15T08:00:00Z 12 0",
            "edge user=ann,list=a,b 5 minutes 2027-01-15T08:00:00Z 7 0",
        ]
    );
}

#[test]
fn json_is_what_meshd_says_and_a_dry_run_is_asked_for() {
    let (finished, asked) = ask(200, DONE, &["edge", "user=ann", "--json", "--dry-run"]);
    assert_eq!(asked["dry_run"], true);
    let expected: Value = serde_json::from_str(DONE).unwrap();
    assert_eq!(finished.json(), expected);
}

#[test]
fn what_meshd_refuses_is_said_in_its_words_with_a_status_of_its_own() {
    for (status, error, exit) in [
        (403, "off", 77),
        (404, "nothing_counted", 1),
        (503, "not_joined", 69),
        (400, "body", 69),
    ] {
        let body = json!({"error": error, "message": "set admin.reset \u{1b}[2J"}).to_string();
        let (finished, _) = ask(status, &body, &["edge", "user=ann"]);
        assert_eq!(
            (finished.status, &*finished.stdout),
            (Some(exit), ""),
            "{finished:?}"
        );
        assert!(finished.stderr.contains("set admin.reset"), "{finished:?}");
        assert!(!finished.stderr.contains('\u{1b}'), "{finished:?}");
    }
}

#[test]
fn a_meshd_without_resets_and_whoever_else_answers_is_status_69() {
    for (status, body) in [
        (404, ""),
        (405, ""),
        (200, "<html>"),
        (200, "{}"),
        (500, "{}"),
    ] {
        let (finished, _) = ask(status, body, &["edge", "user=ann"]);
        assert_eq!(finished.status, Some(69), "{finished:?}");
        assert!(finished.stderr.contains("no admin port"), "{finished:?}");
    }
}

#[test]
fn without_a_meshd_nothing_is_reset_and_the_way_out_is_named() {
    let place = Place::new();
    let region = place.own_with_rules();
    let finished = place.hivectl(&["reset", "edge", "user=ann"]);
    assert_eq!(finished.status, Some(69), "{finished:?}");
    assert!(
        finished.stderr.contains("names no admin port"),
        "{finished:?}"
    );

    let (address, thread) = admin_port(200, DONE);
    region.set_admin_address(Some(address));
    assert!(
        place
            .hivectl(&["reset", "edge", "user=ann"])
            .ok()
            .contains("12")
    );
    thread.join().unwrap();

    let missing = Finished::of(hivectl().args(["reset", "edge", "user=ann", "--region=/no/where"]));
    assert_eq!(missing.status, Some(66), "{missing:?}");
    let wrong = Finished::of(hivectl().args(["reset", "edge", "user"]));
    assert_eq!(wrong.status, Some(64), "{wrong:?}");
}
