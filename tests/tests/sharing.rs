//! Several Envoys on one host count together.

use hivemind_tests::harness::{load, per_user, site, tools};
use xtask::site::{MODULE, RLS};
use xtask::soak::{self, Options};

// The same with 200,000 requests, optimised: `cargo xtask soak`.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_limit_passes_two_envoys_under_concurrent_load() -> anyhow::Result<()> {
    let options = Options {
        requests: 20_000,
        limit: 10_000,
        kills: 0,
    };
    let outcome = soak::soak(tools()?, &options).await?;
    let total = outcome.total();
    assert_eq!(
        (total.passed(), total.limited(), total.failed),
        (10_000, 10_000, 0)
    );
    assert_eq!((outcome.counted, outcome.reached), (20_000, 10_000));
    for report in &outcome.reports {
        assert_eq!(
            report.answered(),
            10_000,
            "both had their share of the load"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_limit_passes_both_paths_under_concurrent_load() -> anyhow::Result<()> {
    let site = site(&per_user(1_000)).await?;
    let proxy = site.proxy("envoy", 2).await?;
    let module = load(proxy.listener(MODULE)?, "heidi")?.connections(8);
    let service = load(proxy.listener(RLS)?, "heidi")?.connections(8);
    let (mut total, through_service) = tokio::join!(module.run(1_500), service.run(1_500));
    total.add(&through_service);
    assert_eq!(
        (total.passed(), total.limited(), total.failed),
        (1_000, 2_000, 0)
    );
    assert_eq!(site.counted("user", "heidi")?, 3_000);
    Ok(())
}
