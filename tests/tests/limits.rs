//! Limits, as a client of Envoy sees them.

use hivemind_tests::harness::{ask, load, module_stats, per_user, site};
use xtask::site::{MODULE, RLS};

#[tokio::test(flavor = "multi_thread")]
async fn the_module_lets_exactly_the_limit_pass() -> anyhow::Result<()> {
    let site = site(&per_user(5)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    let report = load(proxy.listener(MODULE)?, "alice")?.run(10).await;
    assert_eq!(
        (report.passed(), report.limited(), report.failed),
        (5, 5, 0)
    );
    assert_eq!(site.counted("user", "alice")?, 10);
    assert_eq!(
        site.upstream().answered(),
        5,
        "what was limited never reached the service"
    );
    let stats = module_stats(&proxy).await?;
    assert_eq!((stats["ok"], stats["over_limit"]), (5, 5));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_lets_exactly_the_limit_pass() -> anyhow::Result<()> {
    let site = site(&per_user(5)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    let report = load(proxy.listener(RLS)?, "alice")?.run(10).await;
    assert_eq!(
        (report.passed(), report.limited(), report.failed),
        (5, 5, 0)
    );
    assert_eq!(site.counted("user", "alice")?, 10);
    assert_eq!(
        site.upstream().answered(),
        5,
        "what was limited never reached the service"
    );
    let stats = proxy.stats("cluster.upstream.ratelimit").await?;
    assert_eq!(stats["cluster.upstream.ratelimit.ok"], 5);
    assert_eq!(stats["cluster.upstream.ratelimit.over_limit"], 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_paths_count_on_one_key() -> anyhow::Result<()> {
    let site = site(&per_user(5)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    let through_module = load(proxy.listener(MODULE)?, "carol")?.run(3).await;
    let through_service = load(proxy.listener(RLS)?, "carol")?.run(3).await;
    assert_eq!((through_module.passed(), through_module.limited()), (3, 0));
    assert_eq!(
        (through_service.passed(), through_service.limited()),
        (2, 1)
    );
    assert_eq!(site.counted("user", "carol")?, 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_paths_answer_alike() -> anyhow::Result<()> {
    let site = site(&per_user(1)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    let names = [
        "x-envoy-ratelimited",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
    ];
    let mut answers = Vec::new();
    for (listener, user) in [(MODULE, "dave"), (RLS, "erin")] {
        let target = proxy.listener(listener)?;
        for _ in ["within the limit", "over it"] {
            let answer = ask(target, user).await?;
            let headers = names.map(|name| answer.header(name).map(str::to_owned));
            let reset_s = answer
                .header("x-ratelimit-reset")
                .and_then(|it| it.parse::<u32>().ok());
            assert!(
                reset_s.is_some_and(|it| (1..=86_400).contains(&it)),
                "{answer:?}"
            );
            answers.push((answer.status.as_u16(), headers));
        }
    }
    let (module, service) = answers.split_at(2);
    assert_eq!(module, service);
    assert_eq!((module[0].0, module[1].0), (200, 429));
    assert_eq!(module[1].1[0].as_deref(), Some("true"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_count_apart_and_strangers_not_at_all() -> anyhow::Result<()> {
    let site = site(&per_user(2)).await?;
    let proxy = site.proxy("envoy", 1).await?;
    for listener in [MODULE, RLS] {
        let target = proxy.listener(listener)?;
        for user in ["frank", "grace"] {
            let report = load(target, &format!("{user}-{listener}"))?.run(3).await;
            assert_eq!(
                (report.passed(), report.limited()),
                (2, 1),
                "{user} through {listener}"
            );
        }
        // No header, no descriptor, no limit.
        let report = xtask::load::Load::new(target).run(10).await;
        assert_eq!(report.passed(), 10, "{listener}");
    }
    Ok(())
}
