//! One meshd after the other, with Envoys that must not notice.

use hivemind_tests::harness::{KEY, load, per_user, site};
use xtask::load::Running;
use xtask::site::{MODULE, RLS};
use xtask::wait::{PATIENCE, until};

/// How often meshd is replaced.
const HANDOVERS: usize = 3;

/// Answers between two of them.
const ANSWERS: usize = 300;

async fn more_answers(load: &Running) -> anyhow::Result<()> {
    let wanted = load.answered() + ANSWERS;
    let enough = async || (load.answered() >= wanted).then_some(());
    Ok(until(format!("{wanted} answers"), PATIENCE, enough).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_are_limited_through_restarts_of_meshd_without_a_failed_call() -> anyhow::Result<()>
{
    let mut site = site(&per_user(1_000_000)).await?;
    let proxy = site.proxy("envoy", 2).await?;
    let by_service = load(proxy.listener(RLS)?, "nell")?
        .connections(4)
        .start(usize::MAX);
    let by_module = load(proxy.listener(MODULE)?, "nell")?
        .connections(2)
        .start(usize::MAX);
    more_answers(&by_service).await?;
    for _ in 0..HANDOVERS {
        assert!(site.replace_meshd().await?.success());
        more_answers(&by_service).await?;
        more_answers(&by_module).await?;
    }
    let (by_service, by_module) = tokio::join!(by_service.stop(), by_module.stop());

    // Envoy lets a request pass when a call fails, and nobody has counted it then.
    for report in [&by_service, &by_module] {
        assert_eq!(
            (report.passed(), report.failed),
            (report.answered(), 0),
            "{report:?}"
        );
    }
    let answered = by_service.answered() + by_module.answered();
    assert_eq!(site.counted(KEY, "nell")?, answered as u64);
    Ok(())
}
