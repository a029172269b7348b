//! Rules that change while meshd runs.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;
use support::{Meshd, RULES, Site, admitted, eventually};

/// [`RULES`] with another limit.
fn rules_with_limit(requests_per_unit: u32) -> String {
    RULES.replace(
        "requests_per_unit: 3",
        &format!("requests_per_unit: {requests_per_unit}"),
    )
}

/// Waits until the rules in force allow this many requests.
fn await_limit(meshd: &Meshd, requests_per_unit: u32) {
    let wanted = format!(": {requests_per_unit} per year");
    eventually(&wanted, || {
        meshd.admin("/rules").1.contains(&wanted).then_some(())
    });
}

fn status(meshd: &Meshd) -> serde_json::Value {
    serde_json::from_str(&meshd.admin("/rules/status").1).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_edited_file_comes_into_force_and_counts_are_kept() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 4).await, 3);
    let generation = status(&meshd)["generation"].as_u64().expect("a generation");

    site.write("ratelimit.yaml", &rules_with_limit(6));
    await_limit(&meshd, 6);
    assert_eq!(
        admitted(&mut client, "ada", 4).await,
        2,
        "four of six were used before"
    );
    assert_eq!(status(&meshd)["generation"], generation + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_touched_file_is_not_published_again() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let generation = status(&meshd)["generation"].clone();
    // The edit back and forth ends where it began; the last one is waited for.
    site.write("ratelimit.yaml", &rules_with_limit(9));
    await_limit(&meshd, 9);
    site.write("ratelimit.yaml", &rules_with_limit(9));
    site.write("ratelimit.yaml", RULES);
    await_limit(&meshd, 3);
    assert_eq!(
        status(&meshd)["generation"],
        generation.as_u64().expect("a number") + 2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broken_file_keeps_the_last_good_rules_and_shows_everywhere() {
    let site = Site::new(RULES);
    let meshd = site.start();
    let mut client = meshd.client().await;
    assert_eq!(admitted(&mut client, "ada", 1).await, 1);

    site.write(
        "ratelimit.yaml",
        "domain: test\ndescriptors:\n  - kye: user\n",
    );
    let broken = eventually("the reload is rejected", || {
        let status = status(&meshd);
        (status["last_attempt"]["successful"] == false).then_some(status)
    });
    assert!(
        broken["last_attempt"]["problems"]
            .to_string()
            .contains("ratelimit.yaml:3:"),
        "{broken}"
    );
    assert_eq!(
        admitted(&mut client, "ada", 4).await,
        2,
        "the last good rules stay"
    );
    let (code, ready) = meshd.http("/ready");
    assert_eq!(code, 200, "meshd works on");
    assert!(ready.contains("degraded"), "{ready}");
    assert!(
        meshd.log().contains("ERROR") && meshd.log().contains("kye"),
        "{}",
        meshd.log()
    );

    site.write("ratelimit.yaml", &rules_with_limit(5));
    await_limit(&meshd, 5);
    eventually("all is well again", || {
        (!meshd.http("/ready").1.contains("degraded")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_removed_file_keeps_the_last_good_rules() {
    let site = Site::new(RULES);
    let meshd = site.start();
    fs::remove_file(site.path("ratelimit.yaml")).expect("removed");
    eventually("the reload is rejected", || {
        (status(&meshd)["last_attempt"]["successful"] == false).then_some(())
    });
    assert_eq!(admitted(&mut meshd.client().await, "ada", 4).await, 3);
    // Back as it was: nothing to publish, but no longer degraded.
    site.write("ratelimit.yaml", RULES);
    eventually("all is well again", || {
        (!meshd.http("/ready").1.contains("degraded")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_swapped_config_map_comes_into_force() {
    let site = Site::new(RULES);
    let rules = site.path("rules");
    for (version, limit) in [("..one", 3), ("..two", 7)] {
        fs::create_dir_all(rules.join(version)).expect("a directory");
        fs::write(
            rules.join(version).join("edge.yaml"),
            rules_with_limit(limit),
        )
        .expect("written");
    }
    symlink("..one", rules.join("..data")).expect("a link");
    symlink("..data/edge.yaml", rules.join("edge.yaml")).expect("a link");
    let meshd = site.start_with(&[
        "--rate-limiting-config-path",
        rules.to_str().expect("UTF-8"),
    ]);
    await_limit(&meshd, 3);

    symlink("..two", rules.join("..data_tmp")).expect("a link");
    fs::rename(rules.join("..data_tmp"), rules.join("..data")).expect("swapped");
    await_limit(&meshd, 7);
    assert_eq!(admitted(&mut meshd.client().await, "ada", 9).await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn files_of_a_directory_come_and_go() {
    let site = Site::new(RULES);
    let rules = site.path("rules");
    fs::create_dir(&rules).expect("a directory");
    fs::write(rules.join("a.yaml"), RULES).expect("written");
    let meshd = site.start_with(&[
        "--rate-limiting-config-path",
        rules.to_str().expect("UTF-8"),
    ]);
    await_limit(&meshd, 3);
    fs::write(
        rules.join("b.yml"),
        rules_with_limit(8).replace("domain: test", "domain: other"),
    )
    .expect("written");
    await_limit(&meshd, 8);
    fs::remove_file(rules.join("a.yaml")).expect("removed");
    eventually("the first domain is gone", || {
        (!meshd.admin("/rules").1.contains("test.user")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sighup_reads_the_rules_again_and_does_not_stop_meshd() {
    let site = Site::new(RULES);
    let meshd = site.start();
    meshd.signal(Signal::HUP);
    eventually("the log says so", || {
        meshd
            .log()
            .contains("rules read again as asked")
            .then_some(())
    });
    assert_eq!(admitted(&mut meshd.client().await, "ada", 4).await, 3);
}
