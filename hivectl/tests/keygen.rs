//! `hivectl keygen`: new key files, and the steps from one key to another.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use hivemind_mesh::seal::KeyRing;
use support::{Finished, Place, hivectl};

fn keygen<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    Finished::of(hivectl().arg("keygen").args(arguments))
}

fn ids(text: &str) -> Vec<u32> {
    KeyRing::parse(text).unwrap().key_ids().collect()
}

#[track_caller]
fn assert_fails(finished: &Finished, status: i32, parts: &[&str]) {
    assert_eq!(
        (finished.status, &*finished.stdout),
        (Some(status), ""),
        "{finished:?}"
    );
    for part in parts {
        assert!(finished.stderr.contains(part), "no {part} in {finished:?}");
    }
}

#[test]
fn every_new_file_is_complete_explained_and_different() {
    let [one, other] = [(); 2].map(|()| keygen([""; 0]).ok());
    let rings = [&one, &other].map(|text| KeyRing::parse(text).unwrap());
    assert_ne!(rings[0].hash_key(), rings[1].hash_key());
    assert_ne!(ids(&one), ids(&other));
    for part in ["# Keys of a Hivemind cluster", "--promote FILE", "\nhash "] {
        assert!(one.contains(part), "no {part} in\n{one}");
    }
}

#[test]
fn a_written_file_is_for_its_owner_alone_and_never_overwritten() {
    let place = Place::new();
    let path = place.path("keys");
    let out = [OsStr::new("--out"), path.as_ref()];
    assert_eq!(keygen(out).ok(), "");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(ids(&text).len(), 1);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let parts = ["keys exists", "not overwritten"];
    assert_fails(&keygen(out), 74, &parts);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn three_steps_lead_from_one_key_to_another() {
    let place = Place::new();
    let step = |option: &str, text: &str| {
        let path = place.write("present", text);
        let changed = keygen([OsStr::new(option), path.as_ref()]).ok();
        assert_eq!(fs::read_to_string(path).unwrap(), text);
        changed
    };
    let start = keygen([""; 0]).ok();
    let added = step("--add", &start);
    let promoted = step("--promote", &added);
    let retired = step("--retire", &promoted);
    let [old, new] = ids(&added)[..] else {
        panic!("two keys in\n{added}")
    };
    assert_eq!(ids(&start), [old]);
    assert_eq!(ids(&promoted), [new, old]);
    assert_eq!(ids(&retired), [new]);
    let hash_keys = [start, retired].map(|text| KeyRing::parse(&text).unwrap().hash_key());
    assert_eq!(hash_keys[0], hash_keys[1]);
}

#[test]
fn a_step_can_be_written_to_a_new_file() {
    let place = Place::new();
    let present = place.write("present", keygen([""; 0]).ok());
    let new = place.path("new");
    let arguments = [
        "--add".as_ref(),
        present.as_os_str(),
        "--out".as_ref(),
        new.as_ref(),
    ];
    assert_eq!(keygen(arguments).ok(), "");
    assert_eq!(ids(&fs::read_to_string(new).unwrap()).len(), 2);
}

#[test]
fn wrong_key_files_are_named_with_line_and_remedy() {
    let place = Place::new();
    let bare = place.write("bare", "0123456789abcdef".repeat(4));
    let binary = place.write("binary", b"hash \xFF");
    let long = place.write("long", "#".repeat(70_000));
    for option in ["--add", "--promote", "--retire"] {
        let keygen = |path| keygen([OsStr::new(option), path]);
        let parts = ["bare: line 1: ", "`hivectl keygen`"];
        assert_fails(&keygen(bare.as_ref()), 65, &parts);
        assert_fails(&keygen(binary.as_ref()), 65, &["binary is no key file"]);
        assert_fails(&keygen(long.as_ref()), 65, &["long is no key file"]);
        assert_fails(&keygen("/no/where".as_ref()), 66, &["read /no/where"]);
    }
    let single = place.write("single", keygen([""; 0]).ok());
    for option in ["--promote", "--retire"] {
        let finished = keygen([OsStr::new(option), single.as_ref()]);
        assert_fails(&finished, 65, &["a single seal key", "--add"]);
    }
}

#[test]
fn one_step_at_a_time() {
    let finished = keygen(["--add", "a", "--retire", "b"]);
    assert_fails(&finished, 64, &["cannot be used with"]);
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let finished = keygen(["--out", "/no/where/keys"]);
    assert_fails(&finished, 74, &["cannot write /no/where/keys"]);
}
