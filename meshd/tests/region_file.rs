//! What happens to the region's file while meshd runs: it goes away and comes back, or a process that is
//! attached writes words that are the owner's. The state follows what is there.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use hivemind_shared::region::{Region, RegionView};
use support::{Meshd, RULES, Site, admitted, eventually};

fn await_ready(meshd: &Meshd, status: u16) {
    eventually("the state", || {
        (meshd.http("/ready").0 == status).then_some(())
    });
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Stores a word in the header of the region.
fn store(region: &Path, offset: u64, value: u64) {
    let file = File::options().write(true).open(region);
    file.and_then(|file| file.write_all_at(&value.to_le_bytes(), offset))
        .expect("the region can be written");
}

fn word(region: &Path, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    let file = File::open(region);
    file.and_then(|file| file.read_exact_at(&mut bytes, offset))
        .expect("the region can be read");
    u64::from_le_bytes(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_region_that_cannot_be_replaced_while_it_is_away_is_up_when_it_is_back() {
    let site = Site::new(RULES);
    let (outer, away) = (site.path("outer"), site.path("away"));
    let region = outer.join("inner/region");
    fs::create_dir_all(outer.join("inner")).expect("a directory");
    let path = region.to_str().expect("UTF-8");
    let meshd = site.start_with(&["--region-path", path]);
    await_ready(&meshd, 200);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 2);
    let before = inode(&region);
    for _ in 0..2 {
        fs::rename(&outer, &away).expect("moved away");
        await_ready(&meshd, 503);
        fs::rename(&away, &outer).expect("moved back");
        await_ready(&meshd, 200);
        assert_eq!(inode(&region), before);
    }
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 1);
    let attached = Region::attach(&region).expect("a region");
    assert!(attached.is_current(&region));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_that_is_moved_back_is_the_region_again_with_its_counts() {
    let site = Site::new(RULES);
    let (region, away) = (site.path("region"), site.path("away"));
    let meshd = site.start();
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 2);
    let first = inode(&region);
    fs::rename(&region, &away).expect("moved away");
    eventually("a new region", || {
        let is_there = Region::attach(&region).is_ok_and(|new| new.rules_generation() > 0);
        (is_there && inode(&region) != first).then_some(())
    });
    meshd.await_log("went on with a new one");
    fs::rename(&away, &region).expect("moved back");
    meshd.await_log("went on with the one that is there now");
    await_ready(&meshd, 200);
    assert_eq!(inode(&region), first);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn words_of_the_owner_that_another_process_stores_are_put_right() {
    let site = Site::new(RULES);
    let region = site.path("region");
    let meshd = site.start();
    let view = RegionView::open(&region).expect("a region");
    let (id, admin) = (view.region_id(), view.admin_address());
    assert!(admin.is_some());
    let file = inode(&region);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 2);
    // The word that says that the region was replaced, those that openers check, and what tools go by.
    for (offset, name) in [
        (272, "replaced"),
        (0, "magic"),
        (8, "layout version"),
        (16, "ready"),
        (24, "size"),
        (32, "region id"),
        (48, "hash key"),
        (64, "max keys"),
        (96, "offset of the slots"),
        (256, "owner's process id"),
        (288, "admin port"),
        (296, "admin address"),
        (320, "rules generation"),
    ] {
        let before = word(&region, offset);
        store(&region, offset, 77);
        eventually(name, || {
            let is_right = word(&region, offset) == before || offset == 320;
            (is_right && Region::attach(&region).is_ok()).then_some(())
        });
        assert_eq!(meshd.http("/ready").0, 200, "after {name}");
    }
    eventually("rules that can be read", || {
        let attached = Region::attach(&region).expect("a region");
        attached.load_rules().is_ok().then_some(())
    });
    let attached = Region::attach(&region).expect("a region");
    assert!(attached.is_current(&region));
    assert_eq!(
        (attached.region_id(), attached.admin_address()),
        (id, admin)
    );
    assert_eq!(inode(&region), file, "it is the same region");
    assert_eq!(admitted(&mut meshd.client().await, "ada", 2).await, 1);
    assert!(
        meshd.log().contains("changed by another process"),
        "{}",
        meshd.log()
    );
}
