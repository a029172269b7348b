//! `hivectl check` on good and bad rules.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{Finished, MORE_RULES, Place, RULES, check, hivectl};

const BROKEN: &str = "\
domain: edge
descriptors:
  - key: user
    rate_limit:
      unt: hour
      requests_per_unit: many
";

#[test]
fn good_rules_are_counted_in_one_line() {
    let place = Place::new();
    let paths = [
        place.write("a.yaml", RULES),
        place.write("b.yaml", MORE_RULES),
    ];
    assert_eq!(check(&paths).ok(), "ok: 2 files, 2 domains, 5 rules\n");
    assert_eq!(check(&paths[1..]).ok(), "ok: 1 file, 1 domain, 1 rule\n");
}

#[test]
fn the_rules_in_the_repository_are_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/ratelimit.yaml");
    assert!(check(&[path]).ok().starts_with("ok: 1 file, 1 domain, "));
}

#[test]
fn every_problem_is_shown_with_its_place_and_the_line() {
    let place = Place::new();
    let paths = [
        place.write("a.yaml", BROKEN),
        place.write("b.yaml", "domain: [x]\n"),
    ];
    let finished = check(&paths);
    assert_eq!(
        (finished.status, &*finished.stdout),
        (Some(65), ""),
        "{finished:?}"
    );
    let [first, second] = paths.map(|path| path.display().to_string());
    for part in [
        format!("{first}:5:7: "),
        "\n5 |       unt: hour\n  |       ^^^\n".to_owned(),
        format!("{first}:6:26: "),
        "\n6 |       requests_per_unit: many\n  |                          ^^^^\n".to_owned(),
        format!("{second}:1:9: "),
    ] {
        assert!(
            finished.stderr.contains(&part),
            "no {part:?} in\n{}",
            finished.stderr
        );
    }
    assert!(
        finished.stderr.ends_with(" problems in the rules\n"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_directory_stands_for_its_yaml_files() {
    let place = Place::new();
    for (name, text) in [
        ("a.yaml", RULES),
        ("b.yml", MORE_RULES),
        (".c.yaml", BROKEN),
        ("README.md", BROKEN),
    ] {
        place.write(name, text);
    }
    assert_eq!(
        check(&[place.path("")]).ok(),
        "ok: 2 files, 2 domains, 5 rules\n"
    );
}

#[test]
fn all_paths_together_are_one_configuration() {
    let place = Place::new();
    let paths = [place.write("a.yaml", RULES), place.write("b.yaml", RULES)];
    let finished = check(&paths);
    assert_eq!(finished.status, Some(65));
    assert!(
        finished.stderr.contains("duplicate domain 'edge'"),
        "{finished:?}"
    );
}

#[test]
fn warnings_are_shown_and_the_rules_still_good() {
    let place = Place::new();
    let rules = "domain: edge\ndescriptors:\n  - key: a\n    rate_limit: {unit: hour, \
                 requests_per_unit: 1, replaces: [{name: nobody}]}\n";
    let finished = check(&[place.write("a.yaml", rules)]);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, "ok: 1 file, 1 domain, 1 rule\n");
    assert!(
        finished.stderr.contains("warning: no rule of this domain"),
        "{finished:?}"
    );
}

#[test]
fn what_cannot_be_read_is_a_problem_like_any_other() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    let finished = check(&[
        place.path("missing.yaml"),
        place.path("empty"),
        place.write("latin1.yaml", b"domain: caf\xE9\n"),
        place.write("broken.yaml", BROKEN),
    ]);
    assert_eq!(finished.status, Some(65));
    for part in [
        "missing.yaml: cannot read the rules: No such file",
        "empty: there is no *.yaml or *.yml file",
        "latin1.yaml:1:12: the file is not UTF-8",
        "broken.yaml:5:7: ",
    ] {
        assert!(
            finished.stderr.contains(part),
            "no {part:?} in\n{}",
            finished.stderr
        );
    }
}

#[test]
fn rules_come_through_a_pipe_that_is_named() {
    let place = Place::new();
    let rules = place.write("a.yaml", RULES);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", r#""$0" check <(sleep 0.1; cat "$1")"#])
        .arg(env!("CARGO_BIN_EXE_hivectl"))
        .arg(rules);
    assert_eq!(
        Finished::of(&mut shell).ok(),
        "ok: 1 file, 1 domain, 4 rules\n"
    );
}

#[test]
fn a_fifo_or_device_in_a_directory_is_skipped_and_named() {
    let place = Place::new();
    place.write("a.yaml", RULES);
    let fifo = place.path("b.yaml");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    symlink("/dev/zero", place.path("c.yaml")).unwrap();
    let finished = check(&[place.path("")]);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, "ok: 1 file, 1 domain, 4 rules\n");
    for part in [
        "b.yaml: warning: skipped: not a file, but a FIFO",
        "c.yaml: warning: skipped: not a file, but a device",
    ] {
        assert!(
            finished.stderr.contains(part),
            "no {part:?} in {finished:?}"
        );
    }
}

#[test]
fn the_settings_that_rules_need_are_named() {
    let place = Place::new();
    let paths = [
        place.write("a.yaml", RULES),
        place.write("b.yaml", "domain: edge\n"),
    ];
    let finished = check(&paths);
    assert_eq!(finished.status, Some(65));
    for part in ["rate_limiting.merge_domain_config", "--merge-domains"] {
        assert!(finished.stderr.contains(part), "no {part} in {finished:?}");
    }
    let merged = Finished::of(hivectl().args(["check", "--merge-domains"]).args(&paths));
    assert_eq!(merged.ok(), "ok: 2 files, 1 domain, 4 rules\n");

    let metadata = "domain: d\ndescriptors:\n  - key: a\n    metadata: {team: x}\n    \
                    rate_limit: {unit: day, requests_per_unit: 1}\n";
    let finished = check(&[place.write("m.yaml", metadata)]);
    assert_eq!(finished.status, Some(0));
    assert!(
        finished.stderr.contains(
            "m.yaml:3: answers carry 'metadata' only with `rate_limiting.response_dynamic_metadata"
        ),
        "{finished:?}"
    );
}

#[test]
fn a_star_without_quotes_is_explained() {
    let place = Place::new();
    for value in ["*", "*.example.com"] {
        let rules = format!("domain: d\ndescriptors:\n  - key: a\n    value: {value}\n");
        let finished = check(&[place.write("a.yaml", rules)]);
        assert_eq!(finished.status, Some(65));
        assert!(
            finished.stderr.contains("begins with '*' goes in quotes"),
            "{finished:?}"
        );
    }
}

/// Runs `hivectl check` in the place, with a format.
fn check_as(place: &Place, format: &str, paths: &[&str]) -> Finished {
    let mut command = hivectl();
    command.args(["check", "--format", format]).args(paths);
    Finished::of(command.current_dir(place.path("")))
}

#[test]
fn programs_get_every_problem_in_one_object() {
    let place = Place::new();
    place.write("good.yaml", RULES);
    place.write("broken.yaml", BROKEN);
    let checked = check_as(&place, "json", &["good.yaml"]).json();
    let expected = json!({
        "ok": true, "files": 1, "domains": 1, "rules": 4, "problems": [], "omitted": 0,
    });
    assert_eq!(checked, expected);

    let finished = check_as(&place, "json", &["broken.yaml"]);
    assert_eq!((finished.status, &*finished.stderr), (Some(65), ""));
    let checked: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(
        (&checked["ok"], &checked["rules"]),
        (&json!(false), &Value::Null)
    );
    let first = json!({
        "severity": "error", "file": "broken.yaml", "line": 5, "column": 7,
        "message": "config error, unknown key 'unt'", "hint": "did you mean 'unit'?",
    });
    assert_eq!(checked["problems"][0], first);

    let finished = check_as(&place, "json", &["missing.yaml"]);
    assert_eq!(finished.status, Some(66), "{finished:?}");
    let checked: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(checked["problems"][0]["line"], Value::Null);

    // More than are kept.
    use std::fmt::Write as _;
    let mut many = "domain: d\ndescriptors:\n".to_owned();
    for _ in 0..1_500 {
        writeln!(many, "  - kye: a").unwrap();
    }
    place.write("many.yaml", many);
    let finished = check_as(&place, "json", &["many.yaml"]);
    let checked: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(checked["problems"].as_array().unwrap().len(), 1_000);
    assert_eq!(checked["omitted"], 500);
}

#[test]
fn a_workflow_gets_annotations() {
    let place = Place::new();
    place.write("broken.yaml", BROKEN);
    let metadata = "domain: d\ndescriptors:\n  - key: a\n    metadata: {team: x}\n    \
                    rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: 100%}]}\n";
    place.write("warned.yaml", metadata);
    let finished = check_as(&place, "github", &["broken.yaml"]);
    assert_eq!((finished.status, &*finished.stderr), (Some(65), ""));
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "::error file=broken.yaml,line=5,col=7::config error, unknown key 'unt'%0Ahint: did you mean 'unit'?"
    );
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("::error file=broken.yaml,line="))
    );

    let text = check_as(&place, "github", &["warned.yaml"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].starts_with("::warning file=warned.yaml,line=5,col=")
            && lines[0].contains("named '100%25'%0Ahint: "),
        "{text}"
    );
    assert!(
        lines[1]
            .starts_with("::notice file=warned.yaml,line=3::answers carry 'metadata' only with"),
        "{text}"
    );
    assert_eq!(lines[2], "ok: 1 file, 1 domain, 1 rule");
    assert_eq!(
        check_as(&place, "github", &["missing.yaml"]).status,
        Some(66)
    );
}

#[test]
fn a_service_file_is_told_from_rules() {
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/hivemind.yaml");
    let finished = check(&[&service]);
    assert_eq!(
        (finished.status, &*finished.stdout),
        (Some(65), ""),
        "{finished:?}"
    );
    for part in [
        "this is a service file of meshd, not a file of rules".to_owned(),
        format!("`meshd --check --config {}` checks it", service.display()),
        "1 problem in the rules".to_owned(),
    ] {
        assert!(finished.stderr.contains(&part), "no {part} in {finished:?}");
    }
}

#[test]
fn what_was_meant_is_guessed() {
    let place = Place::new();
    let limit = "rate_limit: {unit: hour, requests_per_unit: 1}";
    let twice = format!("domain: d\ndescriptors:\n  - key: a\n    {limit}\n    {limit}\n");
    let finished = check(&[place.write("twice.yaml", twice)]);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(
        finished.stderr.contains("'rate_limits: [{…}, {…}]'"),
        "{finished:?}"
    );
    let invisible = format!("domain: d\ndescriptors:\n  - key: us\u{200b}er\n    {limit}\n");
    let finished = check(&[place.write("invisible.yaml", invisible)]);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(
        finished.stderr.contains("U+200B (zero width space)")
            && !finished.stderr.contains('\u{200b}'),
        "{finished:?}"
    );
}

#[test]
fn rules_that_need_more_room_than_a_region_has_by_default_are_good_and_it_is_said() {
    let place = Place::new();
    let rule = |n| {
        format!(
            "  - {{key: user, value: \"{n:0100}\", rate_limit: {{unit: hour, requests_per_unit: 1}}}}\n"
        )
    };
    let rules = |count| -> String { (0..count).map(rule).collect() };
    let few = place.write(
        "few.yaml",
        format!("domain: edge\ndescriptors:\n{}", rules(10)),
    );
    let finished = check(&[few]);
    assert!(!finished.stderr.contains("rules_bytes"), "{finished:?}");

    let many = place.write(
        "many.yaml",
        format!("domain: edge\ndescriptors:\n{}", rules(10_000)),
    );
    let finished = check(&[many]);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let said = "hivectl: compiled, the rules take ";
    assert!(finished.stderr.contains(said), "{finished:?}");
    assert!(
        finished
            .stderr
            .contains("meshd needs `region.rules_bytes: "),
        "{finished:?}"
    );
    assert!(
        finished.stdout.ends_with("1 domain, 10000 rules\n"),
        "{finished:?}"
    );
}
