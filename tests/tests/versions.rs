//! One module for every Envoy it is made for.

use hivemind_tests::harness::{load, per_user, site};
use xtask::envoy;
use xtask::site::{MODULE, RLS};

#[tokio::test(flavor = "multi_thread")]
async fn every_supported_envoy_loads_the_module_and_limits() -> anyhow::Result<()> {
    let site = site(&per_user(5)).await?;
    // An Envoy the user named stands for all: it may be there because no other can be had.
    let binaries = match envoy::named()? {
        Some(named) => vec![("named".to_owned(), named)],
        None => {
            let fetched = |version: &str| Ok((version.to_owned(), envoy::fetched(version)?));
            envoy::VERSIONS
                .into_iter()
                .map(fetched)
                .collect::<anyhow::Result<Vec<_>>>()?
        }
    };
    for (version, binary) in binaries {
        let mut plan = site.proxy_plan(&format!("envoy-{version}"), site.bootstrap("both.yaml")?);
        plan.binary = binary;
        let proxy = site.start_proxy(&plan).await?;
        for listener in [MODULE, RLS] {
            let user = format!("{version}-{listener}");
            let report = load(proxy.listener(listener)?, &user)?.run(10).await;
            assert_eq!(
                (report.passed(), report.limited(), report.failed),
                (5, 5, 0),
                "Envoy {version} through {listener}:\n{}",
                proxy.log()
            );
            assert_eq!(
                site.counted("user", &user)?,
                10,
                "Envoy {version} through {listener}"
            );
        }
    }
    Ok(())
}
