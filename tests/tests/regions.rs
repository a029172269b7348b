//! Regions that are missing, foreign, of another version, or gone: Envoy goes on serving, its stats
//! name the cause, its log says it once, and limiting begins by itself when there is a region.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hivemind_shared::region::layout::LAYOUT_VERSION;
use hivemind_tests::harness::{ask, load, module_stat, per_user, site, tools};
use serde_json::json;
use xtask::proxy::Proxy;
use xtask::site::{MODULE, Site};
use xtask::wait::{PATIENCE, until};

/// Two workers, the module alone.
async fn module_proxy(site: &Site) -> anyhow::Result<Proxy> {
    let mut plan = site.proxy_plan("envoy", site.bootstrap("module.yaml")?);
    plan.workers = 2;
    Ok(site.start_proxy(&plan).await?)
}

/// Sends requests until the module has looked for its region again, which it does once a second, a
/// few times. All of them must pass.
async fn traffic_passes_for_some_seconds(proxy: &Proxy) -> anyhow::Result<()> {
    let begin_s = unix_time_s()?;
    let target = proxy.listener(MODULE)?;
    while unix_time_s()? < begin_s + 3 {
        let report = load(target, "ruth")?.connections(4).run(100).await;
        assert_eq!((report.passed(), report.failed), (100, 0), "{report:?}");
    }
    Ok(())
}

fn unix_time_s() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// What Envoy must say about a region it cannot use.
async fn cause_is_told_once(proxy: &Proxy, cause: &str) -> anyhow::Result<()> {
    let errors = module_stat(proxy, &format!("error.{cause}")).await?;
    let allowed = module_stat(proxy, "failure_mode_allowed").await?;
    assert!(errors > 0, "no stat counts {cause}");
    assert_eq!(
        errors, allowed,
        "every request of another cause than {cause} was decided"
    );
    let log = proxy.log();
    let lines = log.lines().filter(|line| line.contains(cause)).count();
    assert_eq!(lines, 1, "{cause} is logged once:\n{log}");
    Ok(())
}

/// Waits until the limit of none is enforced.
async fn limiting_begins(proxy: &Proxy) -> anyhow::Result<()> {
    let target = proxy.listener(MODULE)?;
    let limited = async || {
        let answer = ask(target, "ruth").await.ok()?;
        (answer.status.as_u16() == 429).then_some(())
    };
    until("limiting to begin", PATIENCE, limited)
        .await
        .with_context(|| format!("Envoy's log:\n{}", proxy.log()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_comes_after_envoy_is_found() -> anyhow::Result<()> {
    let mut site = Site::new(tools()?, &per_user(0)).await?;
    let proxy = module_proxy(&site).await?;
    traffic_passes_for_some_seconds(&proxy).await?;
    cause_is_told_once(&proxy, "region_missing").await?;
    site.start_meshd().await?;
    limiting_begins(&proxy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_of_random_bytes_disturbs_nobody() -> anyhow::Result<()> {
    let mut site = Site::new(tools()?, &per_user(0)).await?;
    fs::write(site.region(), noise(1 << 20))?;
    let proxy = module_proxy(&site).await?;
    traffic_passes_for_some_seconds(&proxy).await?;
    cause_is_told_once(&proxy, "region_foreign").await?;
    fs::remove_file(site.region())?;
    site.start_meshd().await?;
    limiting_begins(&proxy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_of_another_version_disturbs_nobody() -> anyhow::Result<()> {
    let mut site = site(&per_user(0)).await?;
    site.kill_meshd()?;
    let mut bytes = fs::read(site.region())?;
    // The second word of the header.
    bytes[8..16].copy_from_slice(&(LAYOUT_VERSION + 1).to_ne_bytes());
    fs::write(site.region(), bytes)?;
    let proxy = module_proxy(&site).await?;
    traffic_passes_for_some_seconds(&proxy).await?;
    cause_is_told_once(&proxy, "region_version").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_cut_short_disturbs_nobody() -> anyhow::Result<()> {
    let mut site = site(&per_user(0)).await?;
    site.kill_meshd()?;
    let bytes = fs::read(site.region())?;
    fs::write(site.region(), &bytes[..bytes.len() / 2])?;
    let proxy = module_proxy(&site).await?;
    traffic_passes_for_some_seconds(&proxy).await?;
    cause_is_told_once(&proxy, "region_truncated").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_removed_under_load_fails_no_request() -> anyhow::Result<()> {
    let mut site = site(&per_user(0)).await?;
    let proxy = module_proxy(&site).await?;
    limiting_begins(&proxy).await?;
    let traffic = load(proxy.listener(MODULE)?, "ruth")?
        .connections(4)
        .start(usize::MAX);
    // Nobody is there to make a new one.
    site.kill_meshd()?;
    fs::remove_file(site.region())?;
    let missed = async || {
        let missed = module_stat(&proxy, "error.region_missing").await.ok()?;
        (missed > 0).then_some(())
    };
    until("the module to miss its region", PATIENCE, missed).await?;
    site.start_meshd().await?;
    limiting_begins(&proxy).await?;
    let report = traffic.stop().await;
    assert_eq!(report.failed, 0);
    assert_eq!(
        report.passed() + report.limited(),
        report.answered(),
        "{report:?}"
    );
    assert!(
        report.passed() > 0,
        "allowed while there was none: {report:?}"
    );
    cause_is_told_once(&proxy, "region_missing").await
}

#[tokio::test(flavor = "multi_thread")]
async fn meshd_makes_a_new_region_when_its_own_is_removed() -> anyhow::Result<()> {
    let site = site(&per_user(1)).await?;
    let proxy = module_proxy(&site).await?;
    let target = proxy.listener(MODULE)?;
    let report = load(target, "sybil")?.run(2).await;
    assert_eq!((report.passed(), report.limited()), (1, 1));
    fs::remove_file(site.region())?;
    // A new region begins at zero, so the one request a day passes again, and is counted there.
    let counted_anew = async || {
        ask(target, "sybil").await.ok()?;
        let counted = site.counted("user", "sybil").ok()?;
        (counted > 0).then_some(())
    };
    until("a new region", PATIENCE, counted_anew).await?;
    assert_eq!(ask(target, "sybil").await?.status.as_u16(), 429);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_region_requests_are_refused_when_the_user_says_so() -> anyhow::Result<()> {
    let mut site = Site::new(tools()?, &per_user(1)).await?;
    let mut bootstrap = site.bootstrap("module.yaml")?;
    bootstrap.module_config()?["failure_mode_deny"] = json!(true);
    let proxy = site
        .start_proxy(&site.proxy_plan("envoy", bootstrap))
        .await?;
    let target = proxy.listener(MODULE)?;
    assert_eq!(ask(target, "trent").await?.status.as_u16(), 500);
    site.start_meshd().await?;
    let passes = async || {
        let answer = ask(target, "trent").await.ok()?;
        (answer.status.as_u16() == 200).then_some(())
    };
    until("requests to pass", PATIENCE, passes).await?;
    Ok(())
}

/// Bytes without any order, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}
