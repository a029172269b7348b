//! Counters are reset, as a user does it.

use std::process::Command;

use hivemind_tests::harness::{load, per_user, site};
use xtask::site::{MODULE, RLS, Site};

/// Runs `hivectl reset` for a user: its exit status, and all it says.
fn reset(site: &Site, user: &str, more: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = Command::new(&site.tools().binaries.hivectl);
    command.arg("--region").arg(site.region());
    command.args(["reset", "edge", &format!("user={user}")]);
    let output = command.args(more).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(said)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_reset_passes_again_through_the_module_and_the_service() -> anyhow::Result<()>
{
    let mut site = site(&per_user(5)).await?;
    site.stop_meshd().await?;
    site.allow_changes();
    site.start_meshd().await?;
    let proxy = site.proxy("envoy", 1).await?;
    let (module, service) = (proxy.listener(MODULE)?, proxy.listener(RLS)?);
    let passed = async |target, user| -> anyhow::Result<usize> {
        Ok(load(target, user)?.run(10).await.passed())
    };
    assert_eq!(passed(module, "alice").await?, 5);
    assert_eq!(passed(service, "bob").await?, 5);
    assert_eq!(passed(service, "alice").await?, 0);

    let (status, said) = reset(&site, "alice", &["--dry-run"])?;
    assert_eq!(status, Some(0), "{said}");
    let row = said.lines().nth(1).unwrap_or_default();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[4..], ["20", "0"], "{said}");
    assert_eq!(passed(module, "alice").await?, 0, "that was only a look");
    let (status, said) = reset(&site, "alice", &[])?;
    assert_eq!(status, Some(0), "{said}");
    let row = said.lines().last().unwrap_or_default();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..3], ["edge", "user=alice", "day"], "{said}");
    assert_eq!(cells[4..], ["30", "0"], "{said}");

    assert_eq!(passed(module, "alice").await?, 5);
    assert_eq!(passed(service, "bob").await?, 0, "nobody else was reset");
    reset(&site, "bob", &[])?;
    assert_eq!(passed(service, "bob").await?, 5);
    let log = site.meshd()?.log();
    assert!(
        log.contains("user=alice") && log.contains("counter reset"),
        "{log}"
    );

    let (status, said) = reset(&site, "carol", &[])?;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("nothing is counted for user=carol"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reset_unless_a_meshd_runs_that_allows_it() -> anyhow::Result<()> {
    let mut site = site(&per_user(5)).await?;
    let (status, said) = reset(&site, "alice", &[])?;
    assert_eq!(status, Some(77), "{said}");
    assert!(said.contains("admin.reset"), "{said}");
    site.stop_meshd().await?;
    let (status, said) = reset(&site, "alice", &[])?;
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("start meshd"), "{said}");
    Ok(())
}
