//! What is logged, by `log.level`, `RUST_LOG` and a change while meshd runs.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use serde_json::{Value, json};
use support::{Meshd, RULES, Site, eventually, exchange};

const DEBUG: &str = "--log-level=debug";
const CHANGES: &str = "--admin-log-level=true";

/// Asks `/json` for a descriptor of one entry.
fn ask(meshd: &Meshd, domain: &str, key: &str, value: &str) -> u16 {
    let call = json!({
        "domain": domain,
        "descriptors": [{"entries": [{"key": key, "value": value}]}],
    });
    meshd.json(&call.to_string()).0
}

/// The lines about decisions, as JSON.
fn decisions(meshd: &Meshd) -> Vec<Value> {
    let log = meshd.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let is_one = |line: &Value| line["target"] == "meshd::decisions";
    lines.filter(is_one).collect()
}

fn change(meshd: &Meshd, level: &str) -> (u16, Value) {
    let (status, body) = meshd.admin_post("/log-level", &json!({"level": level}).to_string());
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[test]
fn at_debug_decisions_are_logged_with_limit_and_what_is_left() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[DEBUG, "--log-format=json"]);
    for _ in 0..4 {
        ask(&meshd, "test", "user", "a,nn\u{1b}");
    }
    ask(&meshd, "test", "path", "/x");
    ask(&meshd, "", "user", "ann");
    let lines = eventually("all lines", || {
        Some(decisions(&meshd)).filter(|lines| lines.len() == 6)
    });
    let text = |line: &Value, field: &str| line[field].as_str().expect(field).to_owned();
    for (line, code, descriptors) in [
        (
            0,
            "OK",
            r"user=a\,nn\u{1b} (OK by test.user, 3 per year, 2 left, reset in ",
        ),
        (
            2,
            "OK",
            r"user=a\,nn\u{1b} (OK by test.user, 3 per year, 0 left, reset in ",
        ),
        (
            3,
            "OVER_LIMIT",
            r"user=a\,nn\u{1b} (OVER_LIMIT by test.user, 3 per year, 0 left, reset in ",
        ),
        (4, "OK", "path=/x (no limit)"),
    ] {
        let line = &lines[line];
        assert_eq!(
            (&*text(line, "code"), &*text(line, "level")),
            (code, "DEBUG")
        );
        assert!(
            text(line, "descriptors").starts_with(descriptors),
            "no {descriptors} in {line}"
        );
    }
    assert!(text(&lines[5], "error").contains("domain must not be empty"));

    // What libraries say is not among it, and without it there is none of it.
    assert!(!meshd.log().contains("hyper"), "{}", meshd.log());
    drop(meshd);
    let meshd = site.start_with(&["--log-format=json"]);
    ask(&meshd, "test", "user", "bob");
    assert_eq!(decisions(&meshd), [] as [Value; 0]);
}

#[test]
fn of_many_decisions_some_are_logged_and_a_rare_refusal_is_among_them() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[DEBUG, "--log-format=json"]);
    let refused = |lines: &[Value]| lines.iter().any(|line| line["code"] == "OVER_LIMIT");
    let mut asked = 0;
    let lines = eventually("lines that were held back", || {
        // Faster than lines are let through, on any machine that runs this test.
        for _ in 0..50 {
            ask(&meshd, "test", "path", "/x");
            asked += 1;
        }
        ask(&meshd, "test", "user", "ann");
        let lines = decisions(&meshd);
        let held_back: u64 = lines
            .iter()
            .filter_map(|line| line["not_shown"].as_u64())
            .sum();
        (held_back > 0 && refused(&lines)).then_some(lines)
    });
    let of_paths = lines.iter().filter(|line| line["code"] == "OK");
    assert!(of_paths.count() < asked, "{asked} calls");
}

#[test]
fn the_level_is_changed_while_meshd_runs() {
    let site = Site::new(RULES);
    let meshd = site.start_with(&[CHANGES, "--log-format=json"]);
    let shown = |meshd: &Meshd| -> Value {
        serde_json::from_str(&meshd.admin("/log-level").1).expect("JSON")
    };
    let info = json!({"level": "info", "rust_log": null, "admin_log_level": true});
    assert_eq!(shown(&meshd), info);
    ask(&meshd, "test", "user", "ann");
    let (status, answer) = change(&meshd, "debug");
    assert_eq!((status, &answer["level"]), (200, &json!("debug")));
    ask(&meshd, "test", "user", "bob");
    let lines = eventually("a decision", || {
        Some(decisions(&meshd)).filter(|lines| !lines.is_empty())
    });
    assert!(lines[0]["descriptors"].to_string().contains("user=bob"));
    let log = meshd.log();
    let changed = log.lines().find(|line| line.contains("log level changed"));
    let changed = changed.expect("a line about the change");
    for part in ["127.0.0.1:", "\"from\":\"info\"", "\"to\":\"debug\""] {
        assert!(changed.contains(part), "no {part} in {changed}");
    }

    // Off, which is the last thing that is said, and back, which is said again.
    assert_eq!(change(&meshd, "off").0, 200);
    ask(&meshd, "test", "user", "carol");
    let put = exchange(
        meshd.ports.admin,
        "PUT /log-level HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 17\r\n\r\n{\"level\": \"warn\"}",
    );
    assert_eq!(put.0, 200, "{put:?}");
    let log = meshd.log();
    assert_eq!(log.matches("log level changed").count(), 3, "{log}");
    assert!(!log.contains("carol"), "{log}");
}

#[test]
fn the_level_is_not_changed_for_anyone_who_may_not() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let (status, answer) = change(&meshd, "debug");
    assert_eq!((status, &answer["error"]), (403, &json!("off")));
    assert!(answer["message"].to_string().contains("admin.log_level"));
    drop(meshd);

    let meshd = site.start_with(&[CHANGES]);
    for (body, expected) in [
        ("", 400),
        ("{}", 422),
        (r#"{"level": "loud"}"#, 400),
        (r#"{"level": "debug", "x": 1}"#, 422),
    ] {
        let (status, body) = meshd.admin_post("/log-level", body);
        assert_eq!(status, expected, "{body}");
    }
    for (more, expected) in [
        // A form, as pages of other sites may send it.
        ("content-type: text/plain", 415),
        ("content-type: application/json\r\norigin: http://test", 403),
        (
            "content-type: application/json\r\norigin: http://evil.example",
            403,
        ),
    ] {
        let request = format!(
            "POST /log-level HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{more}\r\n\
             content-length: 17\r\n\r\n{{\"level\":\"debug\"}}"
        );
        let (status, body) = exchange(meshd.ports.admin, &request);
        assert_eq!(status, expected, "{more}: {body}");
    }
    let shown = meshd.admin("/log-level").1;
    assert!(shown.contains("\"info\""), "{shown}");
    let log = meshd.log();
    let line = "a change of the log level was refused";
    assert!(
        log.contains(line) && !log.contains("log level changed"),
        "{log}"
    );
}

#[test]
fn rust_log_says_what_is_logged_unless_a_flag_does() {
    let site = Site::new(RULES);
    let start = |rust_log: &str, arguments: &[&str]| {
        let mut command = site.command(arguments);
        command
            .env("RUST_LOG", rust_log)
            .env("HIVEMIND_LOG_LEVEL", "warn");
        let meshd = site.start_command(command);
        ask(&meshd, "test", "user", "ann");
        meshd
    };
    // All that it does not name stays as it is configured.
    let meshd = start("meshd::decisions=debug", &[CHANGES]);
    meshd.await_log("decision code=");
    assert!(!meshd.log().contains("meshd serves"), "{}", meshd.log());
    let config = meshd.admin("/config").1;
    let line = config
        .lines()
        .find(|line| line.trim().starts_with("level:"));
    let line = line.expect("a line");
    assert!(
        line.ends_with("# HIVEMIND_LOG_LEVEL; over it RUST_LOG=meshd::decisions=debug"),
        "{line}"
    );
    // A change while it runs has the last word.
    let (status, answer) = change(&meshd, "info");
    assert_eq!((status, &answer["rust_log"]), (200, &Value::Null));
    let logged = meshd.log().matches("decision code=").count();
    ask(&meshd, "test", "user", "ann");
    assert_eq!(meshd.log().matches("decision code=").count(), logged);
    drop(meshd);

    // A level alone is that of all.
    let meshd = start("info", &[]);
    meshd.await_log("meshd serves");
    drop(meshd);
    let meshd = start("off", &["--log-level=info"]);
    meshd.await_log("meshd serves");
    drop(meshd);
    // One that was meant for another program is no reason not to start.
    let meshd = start("meshd=loud", &[]);
    meshd.await_log("RUST_LOG=meshd=loud has no effect");
}

#[test]
fn a_file_of_rules_is_told_from_a_service_file_and_the_other_way_round() {
    let site = Site::new(RULES);
    let rules = site.path("ratelimit.yaml");
    let service = site.path("hivemind.yaml");
    let run = |arguments: &[&str]| {
        let output = site.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (status, said) = run(&[
        "--check",
        "--rate-limiting-config-path",
        service.to_str().expect("UTF-8"),
    ]);
    assert_eq!(status, Some(65), "{said}");
    assert!(said.contains("this is a service file of meshd"), "{said}");

    let output = std::process::Command::new(env!("CARGO_BIN_EXE_meshd"))
        .args(["--check", "--config"])
        .arg(&rules)
        .output()
        .expect("meshd can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for part in [
        "this is a file of rules, not a service file: it has the key 'domain'",
        "rate_limiting.config_path",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    assert!(!said.contains("unknown section"), "{said}");

    site.write("hivemind.yaml", "server\u{200b}: {}\n");
    let (status, said) = run(&["--check"]);
    assert_eq!(status, Some(64), "{said}");
    assert!(said.contains("U+200B (zero width space)"), "{said}");
}
