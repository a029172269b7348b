//! What a panic leaves in the log.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

use std::process::Command;

use meshd::config::{Log, LogFormat, LogLevel};
use serde_json::Value;

/// The process that panics; by itself it says nothing.
#[test]
#[ignore = "the test below runs it"]
fn a_thread_panics() {
    let log = Log {
        level: LogLevel::Info,
        format: LogFormat::Json,
    };
    meshd::telemetry::log::init(log, None);
    meshd::panics::log();
    let thread = std::thread::Builder::new().name("region".to_owned());
    let died = thread.spawn(|| panic!("an index of {}", 7));
    assert!(died.expect("a thread").join().is_err());
}

#[test]
fn a_panic_is_an_error_in_the_log_with_thread_place_and_text() {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "a_thread_panics", "--nocapture"])
        .output()
        .expect("it can be run");
    assert!(output.status.success());
    let log = String::from_utf8_lossy(&output.stderr);
    let line: Value = serde_json::from_str(log.trim()).expect(&log);
    assert_eq!(line["level"], "ERROR", "{log}");
    assert_eq!(line["thread"], "region", "{log}");
    let text = line.to_string();
    for part in ["an index of 7", "meshd/tests/panics.rs:", "a bug in meshd"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}
