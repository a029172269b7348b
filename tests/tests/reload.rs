//! Rules that change while requests come in.

use anyhow::Context as _;
use hivemind_tests::harness::{ask, load, per_user, site};
use xtask::proxy::Proxy;
use xtask::site::{MODULE, RLS, Site};
use xtask::wait::{PATIENCE, until};

/// Waits until one request of this user gets this status on both paths.
async fn both_answer(proxy: &Proxy, user: &str, status: u16) -> anyhow::Result<()> {
    for listener in [MODULE, RLS] {
        let target = proxy.listener(listener)?;
        let what = format!("{status} for {user} through {listener}");
        let seen = async || {
            let answer = ask(target, user).await.ok()?;
            (answer.status.as_u16() == status).then_some(())
        };
        until(what, PATIENCE, seen).await?;
    }
    Ok(())
}

/// Waits until meshd has logged a problem at this place of the rules, in one line.
async fn problem_logged(
    site: &mut Site,
    line: u32,
    column: u32,
    about: &str,
) -> anyhow::Result<()> {
    let words = [
        format!("line={line}"),
        format!("column={column}"),
        about.to_owned(),
    ];
    let meshd = site.meshd()?;
    let is_it = |logged: &str| words.iter().all(|word| logged.contains(word));
    let seen = async || meshd.log().lines().any(is_it).then_some(());
    until(format!("meshd to log {words:?}"), PATIENCE, seen)
        .await
        .with_context(|| format!("meshd's log:\n{}", meshd.log()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_both_paths_while_traffic_flows() -> anyhow::Result<()> {
    let site = site(&per_user(1_000_000)).await?;
    let proxy = site.proxy("envoy", 2).await?;
    let traffic = [
        load(proxy.listener(MODULE)?, "lee")?
            .connections(4)
            .start(usize::MAX),
        load(proxy.listener(RLS)?, "lee")?
            .connections(4)
            .start(usize::MAX),
    ];
    both_answer(&proxy, "mallory", 200).await?;
    site.write_rules(&per_user(0))?;
    both_answer(&proxy, "mallory", 429).await?;
    site.write_rules(&per_user(2_000_000))?;
    both_answer(&proxy, "mallory", 200).await?;

    let mut sent = 0;
    for (path, traffic) in ["module", "service"].into_iter().zip(traffic) {
        let report = traffic.stop().await;
        assert_eq!(report.failed, 0, "{path}: {report:?}");
        assert_eq!(
            report.passed() + report.limited(),
            report.answered(),
            "{path}: {report:?}"
        );
        assert!(
            report.limited() > 0,
            "{path} followed the first edit: {report:?}"
        );
        sent += report.answered() as u64;
    }
    assert_eq!(
        site.counted("user", "lee")?,
        sent,
        "a changed limit keeps the count"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_edit_is_reported_and_the_last_good_rules_stay() -> anyhow::Result<()> {
    let mut site = site(&per_user(2)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    both_answer(&proxy, "nina", 200).await?;
    site.write_rules(
        "domain: edge\n\
         descriptors:\n\
         \x20 - key: user\n\
         \x20   rate_limit: {unit: fortnight, requests_per_unit: 1000}\n\
         \x20   shadow_mod: true\n",
    )?;
    problem_logged(&mut site, 4, 24, "fortnight").await?;
    problem_logged(&mut site, 5, 5, "shadow_mod").await?;
    let report = load(proxy.listener(MODULE)?, "olaf")?.run(3).await;
    assert_eq!((report.passed(), report.limited()), (2, 1));
    let report = load(proxy.listener(RLS)?, "pat")?.run(3).await;
    assert_eq!((report.passed(), report.limited()), (2, 1));

    site.write_rules(&per_user(0))?;
    both_answer(&proxy, "quinn", 429).await
}
