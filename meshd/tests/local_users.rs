//! What other users of the host can do where meshd keeps its files: nothing of theirs is followed, deleted or
//! changed, and each time meshd says whose it is.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use hivemind_shared::region::{AttachError, OwnedRegion, Region, RegionOptions, User};
use support::{RULES, Site, eventually, names_in};

/// Another user.
const OTHER: u32 = 65_534;

/// Whether this test can go on: only root can act for another user. Elsewhere it is run once more as root of a
/// user namespace with more than one user; where there is none, it is skipped, and says so.
fn is_root(test: &str) -> bool {
    const INSIDE: &str = "HIVEMIND_LOCAL_USERS_INSIDE";
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let program = std::env::current_exe().expect("this program");
    let unshare = ["--user", "--map-root-user", "--map-auto"];
    let run = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(unshare).args(arguments).env(INSIDE, "1");
        command.output()
    };
    if run(&["true"]).is_ok_and(|output| output.status.success()) {
        let program = program.to_str().expect("UTF-8");
        let output = run(&[program, test, "--exact", "--nocapture"]).expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("test result: ok. 1 passed"), "{said}");
    } else {
        // Past the capture of a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: run it as root, or install uidmap"
        );
    }
    false
}

fn give_away(path: &Path) {
    lchown(path, Some(OTHER), Some(OTHER)).expect("root may give files away");
}

fn start_as_refused(site: &Site, region: &Path) -> String {
    let argument = format!("--region-path={}", region.display());
    let output = site.run(&[&argument]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(73), "{text}");
    text
}

/// Starts meshd, which must refuse the region because of `thing`, name its owner and the way out, and leave all as
/// it was.
#[track_caller]
fn assert_refused(site: &Site, region: &Path, thing: &Path, what: &str) {
    let before = fs::symlink_metadata(thing).expect("it is there");
    let names = names_in(&site.path(""));
    let text = start_as_refused(site, region);
    let owner = User::owner(&before).to_string();
    let shown = thing.display().to_string();
    for part in [&*owner, &*shown, what, "region.path"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let after = fs::symlink_metadata(thing).expect("it is still there");
    let facts = |it: &fs::Metadata| (it.ino(), it.uid(), it.mode(), it.len(), it.nlink());
    assert_eq!(facts(&after), facts(&before));
    assert_eq!(names_in(&site.path("")), names, "nothing was left behind");
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a FIFO");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !is_root("a_directory_of_another_user_is_refused") {
        return;
    }
    let site = Site::new(RULES);
    let directory = site.path("own");
    fs::create_dir(&directory).expect("a directory");
    give_away(&directory);
    let region = directory.join("region");
    assert_refused(&site, &region, &directory, "is a directory of user");
    assert!(names_in(&directory).is_empty());

    fs::remove_dir(&directory).expect("removed");
    fs::write(&directory, "mine").expect("a file");
    give_away(&directory);
    assert_refused(&site, &region, &directory, "is not a directory");
}

#[test]
fn a_link_of_another_user_in_place_of_the_directory_is_not_followed() {
    if !is_root("a_link_of_another_user_in_place_of_the_directory_is_not_followed") {
        return;
    }
    let site = Site::new(RULES);
    let (directory, elsewhere) = (site.path("own"), site.path("elsewhere"));
    fs::create_dir(&elsewhere).expect("a directory");
    symlink(&elsewhere, &directory).expect("a link");
    give_away(&directory);
    let region = directory.join("region");
    assert_refused(&site, &region, &directory, "is a symbolic link of user");
    assert!(names_in(&elsewhere).is_empty());

    // One of meshd's own user, or of root, is as good as a directory: /var/run is one.
    lchown(&directory, Some(0), Some(0)).expect("root may");
    let argument = format!("--region-path={}", region.display());
    let meshd = site.start_with(&[&argument]);
    assert_eq!(meshd.http("/ready").0, 200);
}

#[test]
fn links_in_place_of_the_region_are_not_followed() {
    if !is_root("links_in_place_of_the_region_are_not_followed") {
        return;
    }
    let site = Site::new(RULES);
    let (region, victim) = (site.path("region"), site.path("victim"));
    // Where the link leads nowhere, nothing is made there.
    symlink(&victim, &region).expect("a link");
    give_away(&region);
    assert_refused(&site, &region, &region, "is a symbolic link of user");
    assert!(!victim.exists());
    // An empty file would pass for one that was made for a region.
    fs::write(&victim, "").expect("a file");
    assert_refused(&site, &region, &region, "is a symbolic link of user");
    assert_eq!(fs::read(&victim).expect("a file"), b"");
    lchown(&region, Some(0), Some(0)).expect("root may");
    assert_refused(&site, &region, &region, "is a symbolic link of user root");

    let refused = Region::attach(&region).expect_err("a link");
    assert!(matches!(refused, AttachError::NotAFile { .. }), "{refused}");
}

#[test]
fn files_of_another_user_in_place_of_the_region_are_left_alone() {
    if !is_root("files_of_another_user_in_place_of_the_region_are_left_alone") {
        return;
    }
    let site = Site::new(RULES);
    let region = site.path("region");
    let belongs = "belongs to user";

    // A region, open to all.
    let options = RegionOptions {
        mode: 0o666,
        max_keys: 1_024,
        ..RegionOptions::default()
    };
    drop(OwnedRegion::open(&region, &options).expect("a region"));
    give_away(&region);
    let bytes = fs::read(&region).expect("a region");
    assert_refused(&site, &region, &region, belongs);
    assert_eq!(fs::read(&region).expect("a region"), bytes);

    for bytes in ["", "mine"] {
        fs::write(&region, bytes).expect("a file");
        assert_refused(&site, &region, &region, belongs);
        assert_eq!(fs::read(&region).expect("a file"), bytes.as_bytes());
    }
    fs::remove_file(&region).expect("removed");
    make_fifo(&region);
    give_away(&region);
    assert_refused(&site, &region, &region, belongs);
    fs::remove_file(&region).expect("removed");

    // A second name of a file of ours, where somebody else may have put it.
    let other_name = site.path("other-name");
    fs::write(&other_name, "").expect("a file");
    fs::hard_link(&other_name, &region).expect("a hard link");
    assert_refused(&site, &region, &region, "2 names (hard links)");
}

#[test]
fn a_directory_in_which_everybody_can_exchange_files_is_refused() {
    let site = Site::new(RULES);
    let directory = site.path("open");
    let region = directory.join("region");
    fs::create_dir(&directory).expect("a directory");
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).expect("a mode");
    assert_refused(&site, &region, &directory, "chmod +t");
    assert!(names_in(&directory).is_empty());
    // As is advised where it is a volume of nobody else.
    let argument = format!("--region-path={}", directory.join("own/region").display());
    assert!(site.start_with(&[&argument]).stop().success());
    // As /dev/shm is.
    fs::set_permissions(&directory, Permissions::from_mode(0o1777)).expect("a mode");
    let argument = format!("--region-path={}", region.display());
    let meshd = site.start_with(&[&argument]);
    assert_eq!(meshd.http("/ready").0, 200);
    assert_eq!(meshd.stop().code(), Some(0));
    // And a directory in it is one of its own, whatever others do beside it.
    let argument = format!("--region-path={}", directory.join("own/region").display());
    let meshd = site.start_with(&[&argument]);
    assert_eq!(meshd.http("/ready").0, 200);
}

#[test]
fn what_stands_where_files_of_meshd_go_stays_and_its_owner_is_named() {
    if !is_root("what_stands_where_files_of_meshd_go_stays_and_its_owner_is_named") {
        return;
    }
    let site = Site::new(RULES);
    let (door, victim) = (site.path("region.handover"), site.path("victim"));
    // Names that meshd could be expected to use for a file that is not finished.
    let link = site.path("region.new");
    symlink(&victim, &link).expect("a link");
    give_away(&link);
    for kind in ["socket", "link", "FIFO"] {
        match kind {
            "socket" => drop(UnixListener::bind(&door).expect("a socket")),
            "link" => symlink(&victim, &door).expect("a link"),
            _ => make_fifo(&door),
        }
        give_away(&door);
        let before = fs::symlink_metadata(&door).expect("it is there").ino();
        let meshd = site.start();
        meshd.await_log("there is no door for the next meshd");
        let log = meshd.log();
        assert!(
            log.contains(&User::of_id(OTHER).to_string()),
            "{kind}: {log}"
        );
        let newcomer = site.run(&["--region-takeover-timeout=100ms"]);
        let text = String::from_utf8_lossy(&newcomer.stderr).into_owned();
        assert_eq!(newcomer.status.code(), Some(69), "{kind}: {text}");
        assert!(
            text.contains(&User::of_id(OTHER).to_string()),
            "{kind}: {text}"
        );
        assert_eq!(meshd.stop().code(), Some(0));
        let after = fs::symlink_metadata(&door)
            .expect("it is still there")
            .ino();
        assert_eq!(after, before, "{kind}");
        fs::remove_file(&door).expect("removed");
    }
    assert!(!victim.exists());
    assert!(fs::symlink_metadata(&link).is_ok(), "left alone");
}

#[test]
fn the_directory_is_for_those_who_may_open_the_region() {
    let site = Site::new(RULES);
    for (mode, expected) in [("0600", 0o700), ("0660", 0o750), ("0666", 0o755)] {
        let directory = site.path(mode);
        let region = directory.join("region");
        let argument = format!("--region-path={}", region.display());
        let meshd = site.start_with(&[&argument, "--region-mode", mode]);
        let mode_of = |path: &Path| {
            let found = fs::symlink_metadata(path).expect("it is there");
            found.permissions().mode() & 0o7777
        };
        assert_eq!(mode_of(&directory), expected);
        assert_eq!(mode_of(&directory.join("region.handover")), 0o600);
        assert_eq!(names_in(&directory), ["region", "region.handover"]);
        assert_eq!(meshd.stop().code(), Some(0));
    }
}

#[test]
fn a_module_counts_in_a_region_of_root_its_own_user_its_groups_or_one_it_is_told() {
    if !is_root("a_module_counts_in_a_region_of_root_its_own_user_its_groups_or_one_it_is_told") {
        return;
    }
    let site = Site::new(RULES);
    let region: PathBuf = site.path("region");
    let options = RegionOptions {
        max_keys: 100,
        mode: 0o666,
        ..RegionOptions::default()
    };
    let _owned = OwnedRegion::open(&region, &options).expect("a region");
    assert!(Region::attach(&region).is_ok());

    give_away(&region);
    let refused = Region::attach(&region).expect_err("of another user");
    assert_eq!(refused.cause(), "region_owner");
    let owner = User::of_id(OTHER);
    assert!(
        refused.to_string().contains(&owner.to_string()),
        "{refused}"
    );
    assert!(Region::attach_to(&region, Some(owner)).is_ok());
    let another = User::of_id(OTHER - 1);
    assert!(Region::attach_to(&region, Some(another)).is_err());

    let group = rustix::process::getegid().as_raw();
    chown(&region, None, Some(group)).expect("root may");
    assert!(Region::attach(&region).is_ok(), "a group in common");
}

#[test]
fn what_a_killed_meshd_left_of_a_region_goes_with_the_next_one() {
    let site = Site::new(RULES);
    let left = site.path("region.00000000000000a5.new");
    let in_use = site.path("region.00000000000000a6.new");
    let other = site.path("region.of-somebody-else.new");
    for path in [&left, &in_use, &other] {
        fs::write(path, "half a region").expect("a file");
    }
    let file = fs::File::open(&in_use).expect("a file");
    file.try_lock().expect("nobody has locked it");
    let _meshd = site.start();
    eventually("it is removed", || (!left.exists()).then_some(()));
    assert!(in_use.exists() && other.exists());
}
