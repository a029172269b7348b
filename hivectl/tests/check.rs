//! `hivectl check` on good and bad rules.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::path::Path;

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
