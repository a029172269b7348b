//! Whatever is wrong with a region's file, hivectl says what and leaves with status 66.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use support::{Finished, Place, hivectl};

/// Fails unless both commands refuse the file with a message that has all of `expected` in it.
#[track_caller]
fn assert_refused(path: &Path, expected: &[&str]) {
    for command in ["stat", "ls"] {
        let finished = Finished::of(hivectl().arg(command).arg("--region").arg(path));
        assert_eq!(
            (finished.status, &*finished.stdout),
            (Some(66), ""),
            "{finished:?}"
        );
        let shown = path.to_str().unwrap();
        for part in expected
            .iter()
            .chain(&["hivectl: ", shown, "from --region"])
        {
            assert!(
                finished.stderr.contains(part),
                "no {part:?} in {finished:?}"
            );
        }
    }
}

/// A good region's bytes with one word overwritten.
fn region_with(place: &Place, offset: usize, word: u64) -> Vec<u8> {
    drop(place.own_with_rules());
    let mut bytes = fs::read(place.region()).unwrap();
    bytes[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
    bytes
}

#[test]
fn a_missing_file() {
    assert_refused(
        &Place::new().path("missing"),
        &["no region at", "start meshd"],
    );
}

#[test]
fn a_directory() {
    assert_refused(Place::new().path("").as_path(), &["a directory"]);
}

#[test]
fn a_socket_or_device() {
    let place = Place::new();
    let _socket = UnixListener::bind(place.path("socket")).unwrap();
    assert_refused(&place.path("socket"), &["a device, pipe or socket"]);
    assert_refused(Path::new("/dev/null"), &["a device, pipe or socket"]);
}

#[test]
fn a_file_below_a_file() {
    let place = Place::new();
    let file = place.write("file", "");
    assert_refused(&file.join("region"), &["cannot open", "Not a directory"]);
}

#[test]
fn an_empty_file() {
    assert_refused(&Place::new().write("region", ""), &["not finished yet"]);
}

#[test]
fn a_file_of_something_else() {
    let foreign = [0xA5; 8_192];
    assert_refused(
        &Place::new().write("region", foreign),
        &["not a region", "0xa5a5"],
    );
}

#[test]
fn a_file_that_is_too_short_for_a_header() {
    assert_refused(
        &Place::new().write("region", "short"),
        &["cut short", "5 bytes"],
    );
}

#[test]
fn a_region_that_is_not_ready() {
    let place = Place::new();
    let bytes = region_with(&place, 16, 0);
    assert_refused(&place.write("region", bytes), &["not finished yet"]);
}

#[test]
fn a_region_of_another_version() {
    let place = Place::new();
    let bytes = region_with(&place, 8, 77);
    assert_refused(
        &place.write("region", bytes),
        &["layout version 77", "version 3"],
    );
}

#[test]
fn a_region_that_was_cut_short() {
    let place = Place::new();
    drop(place.own_with_rules());
    let mut bytes = fs::read(place.region()).unwrap();
    bytes.truncate(bytes.len() - 1);
    assert_refused(&place.write("region", bytes), &["cut short"]);
}

#[test]
fn a_region_whose_header_contradicts_itself() {
    let place = Place::new();
    let bytes = region_with(&place, 96, 12_345);
    assert_refused(
        &place.write("region", bytes),
        &["damaged (section offsets)"],
    );
}

#[test]
fn damage_behind_the_header_is_survived() {
    let place = Place::new();
    drop(place.own_with_rules());
    let mut bytes = fs::read(place.region()).unwrap();
    for (place, byte) in (0_u32..).zip(&mut bytes[4_096..]) {
        *byte = place.wrapping_mul(2_654_435_761).to_be_bytes()[0];
    }
    let path = place.write("region", bytes);
    for command in ["stat", "ls"] {
        for format in [&["--json"][..], &[]] {
            let mut run = hivectl();
            let finished = Finished::of(run.arg(command).args(format).arg("--region").arg(&path));
            assert_eq!(finished.status, Some(0), "{finished:?}");
        }
    }
}
