//! The log level is changed, as a user does it.

use std::process::Command;

use hivemind_tests::harness::{load, per_user, site};
use xtask::site::{RLS, Site};

/// Runs `hivectl log-level`: its exit status, and all it says.
fn log_level(site: &Site, more: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = Command::new(&site.tools().binaries.hivectl);
    command.arg("--region").arg(site.region()).arg("log-level");
    let output = command.args(more).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(said)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_in_the_log_once_they_are_asked_for() -> anyhow::Result<()> {
    let mut site = site(&per_user(5)).await?;
    assert_eq!(log_level(&site, &[])?, (Some(0), "info\n".to_owned()));
    let (status, said) = log_level(&site, &["debug"])?;
    assert_eq!(status, Some(77), "{said}");
    assert!(said.contains("admin.log_level"), "{said}");

    site.stop_meshd().await?;
    site.allow_changes();
    site.start_meshd().await?;
    let proxy = site.proxy("envoy", 1).await?;
    load(proxy.listener(RLS)?, "alice")?.run(1).await;
    assert_eq!(
        log_level(&site, &["debug"])?,
        (Some(0), "debug\n".to_owned())
    );
    load(proxy.listener(RLS)?, "bob")?.run(1).await;
    let log = site.meshd()?.log();
    assert!(
        log.contains("descriptors=user=bob (OK by edge.user"),
        "{log}"
    );
    assert!(!log.contains("user=alice"), "{log}");
    site.stop_meshd().await?;
    let (status, said) = log_level(&site, &["info"])?;
    assert_eq!(status, Some(69), "{said}");
    Ok(())
}
