//! One module for every Envoy it is made for.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hivemind_tests::harness::{load, per_user, site, tools};
use xtask::envoy;
use xtask::proxy::MODULE_PATH_VARIABLE;
use xtask::site::{MODULE, RLS};
use xtask::wait::until;

/// Envoy writes its access log every ten seconds, or when there is enough of it.
const PATIENCE: Duration = Duration::from_secs(60);

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

#[tokio::test(flavor = "multi_thread")]
async fn every_supported_envoy_logs_which_rule_refused_a_request() -> anyhow::Result<()> {
    let rules = "domain: edge\n\
                 descriptors:\n\
                 \x20 - key: user\n\
                 \x20   rate_limit: {unit: day, requests_per_unit: 1, name: daily}\n";
    let site = site(rules).await?;
    for (version, binary) in envoys()? {
        let mut bootstrap = site.bootstrap("both.yaml")?;
        let format = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %CUSTOM_FLAGS% \
                      %DYNAMIC_METADATA(hivemind:rule)% %DYNAMIC_METADATA(hivemind:rule_name)%";
        bootstrap.log_access(MODULE, format)?;
        let mut plan = site.proxy_plan(&format!("envoy-{version}"), bootstrap);
        plan.binary = binary;
        let proxy = site.start_proxy(&plan).await?;
        let report = load(proxy.listener(MODULE)?, &version)?.run(2).await;
        assert_eq!(
            (report.passed(), report.limited()),
            (1, 1),
            "Envoy {version}"
        );
        for line in [
            "200 via_upstream  - -",
            "429 request_rate_limited RL edge.user daily",
        ] {
            let is_logged = async || {
                let log = proxy.log();
                log.lines().any(|logged| logged == line).then_some(())
            };
            until(format!("Envoy {version}: {line}"), PATIENCE, is_logged).await?;
        }
    }
    Ok(())
}
