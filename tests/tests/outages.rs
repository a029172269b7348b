//! Processes killed with SIGKILL under load.

use hivemind_tests::harness::{ask, load, per_user, site, tools};
use xtask::load::Running;
use xtask::site::{MODULE, RLS};
use xtask::soak::{self, Options};
use xtask::wait::{PATIENCE, until};

async fn answers(load: &Running, number: usize) -> anyhow::Result<()> {
    let enough = async || (load.answered() >= number).then_some(());
    Ok(until(format!("{number} answers"), PATIENCE, enough).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn meshd_killed_under_load_fails_no_request_and_loses_no_count() -> anyhow::Result<()> {
    let options = Options {
        requests: 20_000,
        limit: 10_000,
        kills: 3,
    };
    let outcome = soak::soak(tools()?, &options).await?;
    let total = outcome.total();
    assert_eq!(
        (total.passed(), total.limited(), total.failed),
        (10_000, 10_000, 0)
    );
    assert_eq!(outcome.counted, 20_000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_meshd_the_module_goes_on_limiting() -> anyhow::Result<()> {
    let mut site = site(&per_user(5)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    let target = proxy.listener(MODULE)?;
    assert_eq!(load(target, "ivan")?.run(3).await.passed(), 3);
    site.kill_meshd()?;
    let report = load(target, "ivan")?.run(3).await;
    assert_eq!((report.passed(), report.limited()), (2, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_meshd_the_service_follows_envoys_failure_mode() -> anyhow::Result<()> {
    let mut site = site(&per_user(2)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    let target = proxy.listener(RLS)?;
    let report = load(target, "judy")?.run(3).await;
    assert_eq!((report.passed(), report.limited()), (2, 1));
    site.kill_meshd()?;
    let report = load(target, "judy")?.run(3).await;
    assert_eq!(
        (report.passed(), report.failed),
        (3, 0),
        "allowed, as the bootstrap says"
    );
    site.start_meshd().await?;
    // Envoy waits a little before it connects again.
    let limited_again = async || {
        let answer = ask(target, "judy").await.ok()?;
        (answer.status.as_u16() == 429).then_some(())
    };
    until(
        "the service to limit again, by the counts from before",
        PATIENCE,
        limited_again,
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_killed_under_load_disturbs_neither_meshd_nor_the_other_envoy() -> anyhow::Result<()>
{
    const CONNECTIONS: usize = 8;
    let mut site = site(&per_user(1_000_000)).await?;
    let survivor = site.proxy("survivor", 2).await?;
    let mut victim = site.proxy("victim", 2).await?;
    let doomed = load(victim.listener(MODULE)?, "ken")?
        .connections(CONNECTIONS)
        .start(usize::MAX);
    let steady = load(survivor.listener(MODULE)?, "ken")?
        .connections(CONNECTIONS)
        .start(usize::MAX);
    answers(&doomed, 1_000).await?;
    victim.process().kill()?;
    // What it left behind must not stop the others later either.
    let already = steady.answered();
    answers(&steady, already + 3_000).await?;
    let (doomed, steady) = tokio::join!(doomed.stop(), steady.stop());

    assert!(doomed.failed > 0, "it was killed under load: {doomed:?}");
    assert_eq!((steady.passed(), steady.failed), (steady.answered(), 0));
    assert!(
        site.meshd()?.process().ended()?.is_none(),
        "{}",
        site.meshd()?.log()
    );
    // A request the victim had counted but not answered is counted all the same.
    let answered = (steady.answered() + doomed.answered()) as u64;
    let counted = site.counted("user", "ken")?;
    assert!(
        (answered..=answered + CONNECTIONS as u64).contains(&counted),
        "{counted} counted, {answered} answered"
    );
    // The service, the region and the rules still work together.
    let report = load(survivor.listener(RLS)?, "ken")?.run(1).await;
    assert_eq!(report.passed(), 1);
    assert_eq!(site.counted("user", "ken")?, counted + 1);
    Ok(())
}
