//! Arguments, the environment, and readers that stop listening.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::Read;
use std::process::Stdio;

use support::{AT_NOW, Finished, Place, hit, hivectl};

#[test]
fn wrong_arguments_are_explained_with_status_64() {
    for arguments in [
        &["lsx"][..],
        &["ls", "--tpo=3"],
        &["ls", "--top=many"],
        &["stat", "--at=yesterday"],
        &["check"],
        &["explain"],
        &["explain", "config/ratelimit.yaml", "edge"],
        &["explain", "config/ratelimit.yaml", "edge", "user"],
        &["explain", "edge"],
        &["explain", "edge", "user"],
        &["explain", "user=ann"],
        &["explain", "edge", "user=a,b"],
        &["explain", "a", "b", "c", "user=ann"],
        &["diff"],
        &["diff", "a.yaml", "b.yaml", "c.yaml"],
        &["diff", "--region=/no/where", "a.yaml", "b.yaml"],
        &["check", "--format=xml", "a.yaml"],
        &["log-level", "loud"],
        &["peers", "--admin=edge-1"],
        &[],
    ] {
        let finished = Finished::of(hivectl().args(arguments));
        assert_eq!(
            (finished.status, &*finished.stdout),
            (Some(64), ""),
            "{arguments:?}"
        );
        assert!(finished.stderr.contains("--help"), "{finished:?}");
    }
    let finished = Finished::of(hivectl().args(["stat", "--at=yesterday"]));
    assert!(
        finished.stderr.contains("`heartbeat` or a Unix time"),
        "{finished:?}"
    );
}

#[test]
fn help_names_every_command() {
    let help = Finished::of(hivectl().arg("--help")).ok();
    for part in [
        "stat",
        "ls",
        "check",
        "explain",
        "diff",
        "keygen",
        "peers",
        "reset",
        "log-level",
    ] {
        assert!(help.contains(part), "no {part:?} in\n{help}");
    }
    let version = Finished::of(hivectl().arg("--version")).ok();
    assert!(version.starts_with("hivectl "), "{version}");
}

#[test]
fn the_environment_names_the_region_unless_a_flag_does() {
    let place = Place::new();
    let _region = place.own_with_rules();
    let with_variable = |value: &str, arguments: &[&str]| {
        let mut command = hivectl();
        command.env("HIVEMIND_REGION_PATH", value).args(arguments);
        Finished::of(&mut command)
    };
    let region = place.region();
    let region = region.to_str().unwrap();
    assert!(with_variable(region, &["stat"]).ok().contains(region));
    assert!(
        with_variable("/no/where", &["stat", "--region", region])
            .ok()
            .contains(region)
    );
    let finished = with_variable("/no/where", &["stat"]);
    assert_eq!(finished.status, Some(66));
    let origin = "/no/where (from HIVEMIND_REGION_PATH)";
    assert!(finished.stderr.contains(origin), "{finished:?}");
}

#[test]
fn a_reader_that_is_gone_ends_hivectl_quietly() {
    let place = Place::new();
    let region = place.own_with_rules();
    hit(&region, "edge", &[("user", "ann")], 1);
    let rules = place.write("rules.yaml", support::RULES);
    let path = place.region();
    let [path, rules] = [&path, &rules].map(|path| path.to_str().unwrap());
    for arguments in [
        &["ls", AT_NOW, "--region", path][..],
        &["ls", "--json", "--region", path],
        &["stat", "--region", path],
        &["stat", "--json", "--region", path],
        &["check", rules],
        &["keygen"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = hivectl();
        let finished = Finished::of(command.args(arguments).stdout(writer));
        assert_eq!(
            (finished.status, &*finished.stderr),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_reader_that_leaves_in_the_middle_ends_hivectl_quietly() {
    let place = Place::new();
    let region = place.own_with_rules();
    // Far more than a pipe holds, at about 500 bytes of JSON a counter.
    for user in 0..200 {
        let user = format!("{user:0>40}");
        hit(&region, "edge", &[("user", &user)], 1);
        hit(&region, "inner", &[("service", &user), ("peer", "x")], 1);
    }
    let mut child = hivectl()
        .args(["ls", "--json", AT_NOW, "--region"])
        .arg(place.region())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"{");
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.len()),
        (Some(0), 0),
        "{output:?}"
    );
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let place = Place::new();
    let _region = place.own_with_rules();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = hivectl();
    command
        .args(["stat", "--region"])
        .arg(place.region())
        .stdout(full);
    let finished = Finished::of(&mut command);
    assert_eq!(finished.status, Some(74), "{finished:?}");
    assert!(
        finished.stderr.contains("cannot write the result"),
        "{finished:?}"
    );
}
