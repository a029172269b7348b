//! One module for every Envoy it is made for.

use std::path::PathBuf;
use std::process::Command;

use hivemind_tests::harness::{load, per_user, site, tools};
use xtask::envoy;
use xtask::proxy::MODULE_PATH_VARIABLE;
use xtask::site::{MODULE, RLS};

/// Every Envoy there is to test with, by version. One the user named stands for all: it may be there
/// because no other can be had.
fn envoys() -> anyhow::Result<Vec<(String, PathBuf)>> {
    if let Some(named) = envoy::named()? {
        return Ok(vec![("named".to_owned(), named)]);
    }
    let fetched = |version: &str| Ok((version.to_owned(), envoy::fetched(version)?));
    envoy::VERSIONS.into_iter().map(fetched).collect()
}

#[test]
fn every_supported_envoy_accepts_the_bootstraps_in_the_repository() -> anyhow::Result<()> {
    let module_dir = &tools()?.binaries.module_dir;
    for (version, binary) in envoys()? {
        for name in ["module.yaml", "rls.yaml", "both.yaml"] {
            let output = Command::new(&binary)
                .args([
                    "--mode",
                    "validate",
                    "--disable-hot-restart",
                    "--config-path",
                ])
                .arg(xtask::workspace::root().join("envoy").join(name))
                .env(MODULE_PATH_VARIABLE, module_dir)
                .output()?;
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "Envoy {version}, {name}:\n{log}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_supported_envoy_loads_the_module_and_limits() -> anyhow::Result<()> {
    let site = site(&per_user(5)).await?;
    for (version, binary) in envoys()? {
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
