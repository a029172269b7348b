//! How meshd starts, and refuses to.

use std::fs;
use std::path::Path;
use std::process::Command;

use hivemind_tests::harness::{per_user, site, tools};
use xtask::meshd::Meshd;
use xtask::process::Process;
use xtask::scratch::Scratch;
use xtask::site::Site;
use xtask::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn broken_rules_are_listed_in_full_and_nothing_is_created() -> anyhow::Result<()> {
    let rules = "\
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: fortnight, requests_per_unit: 5}
  - value: lonely
    rate_limit: {unit: day, requests_per_unit: -1}
  - key: user
    rate_limt: {unit: day, requests_per_unit: 5}
";
    let site = Site::new(tools()?, rules).await?;
    let mut command = site.meshd_plan().command(site.dir())?;
    let mut meshd = Process::start("meshd", &mut command, site.dir().join("meshd.log"))?;
    let status = meshd.end(PATIENCE).await?;
    let output = meshd.output();
    assert_eq!(status.code(), Some(65), "{output}");
    for place in ["4:24", "5:5", "6:", "8:5"] {
        let place = format!("ratelimit.yaml:{place}");
        assert!(output.contains(&place), "no problem at {place}:\n{output}");
    }
    assert!(
        !site.region().exists(),
        "nothing is created before everything is right"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_service_file_is_listed_in_full() -> anyhow::Result<()> {
    let site = Site::new(tools()?, &per_user(1)).await?;
    let mut command = site.meshd_plan().command(site.dir())?;
    // In place of the service file the plan has written.
    fs::write(
        site.dir().join("meshd.yaml"),
        "region:\n  max_keys: lots\n  colour: blue\nserver:\n  grpc_port: 70000\n",
    )?;
    let mut meshd = Process::start("meshd", &mut command, site.dir().join("meshd.log"))?;
    let status = meshd.end(PATIENCE).await?;
    let output = meshd.output();
    assert_eq!(status.code(), Some(64), "{output}");
    for place in ["2:13", "3:3", "5:14"] {
        let place = format!("meshd.yaml:{place}");
        assert!(output.contains(&place), "no problem at {place}:\n{output}");
    }
    assert!(
        !site.region().exists(),
        "nothing is created before everything is right"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_meshd_that_may_not_wait_says_so_and_leaves() -> anyhow::Result<()> {
    let mut site = site(&per_user(1)).await?;
    let mut plan = site.meshd_plan().clone();
    plan.name = "second".to_owned();
    plan.grpc_port = 0;
    let mut command = plan.command(site.dir())?;
    command.arg("--region-takeover-timeout=0s");
    let mut second = Process::start("second", &mut command, site.dir().join("second.log"))?;
    let status = second.end(PATIENCE).await?;
    assert!(!status.success(), "{}", second.output());
    let first = site.meshd()?.process().pid().to_string();
    assert!(
        second.output().contains(&first),
        "names the owner, {first}:\n{}",
        second.output()
    );
    assert!(site.meshd()?.process().ended()?.is_none());
    Ok(())
}

#[test]
fn the_files_in_the_repository_are_good() -> anyhow::Result<()> {
    let output = Command::new(&tools()?.binaries.meshd)
        .args(["--config", "config/hivemind.yaml", "--check"])
        // A check looks at the ports and the region of this host as well.
        .args([
            "--server-grpc-port=0",
            "--server-http-port=0",
            "--admin-port=0",
        ])
        .arg("--region-path")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("region"))
        .current_dir(xtask::workspace::root())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn the_service_file_in_the_repository_has_every_key_with_its_default() -> anyhow::Result<()> {
    let config = |arguments: &[&str], dir: &Path| -> anyhow::Result<String> {
        let output = Command::new(&tools()?.binaries.meshd)
            .arg("--print-config")
            .args(arguments)
            .current_dir(dir)
            .output()?;
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout)?;
        // Behind the value stands where it comes from.
        let without_origin = |line: &str| {
            line.split(" #")
                .next()
                .unwrap_or_default()
                .trim_end()
                .to_owned()
        };
        Ok(text
            .lines()
            .map(without_origin)
            .collect::<Vec<_>>()
            .join("\n"))
    };
    let shipped = config(
        &["--config", "config/hivemind.yaml"],
        xtask::workspace::root(),
    )?;
    let defaults = config(&[], Scratch::new()?.dir())?;
    assert_eq!(shipped, defaults);

    // Those without a default stand there as comments.
    let text = fs::read_to_string(xtask::workspace::root().join("config/hivemind.yaml"))?;
    for line in defaults.lines() {
        let key = line.split_inclusive(':').next().unwrap_or_default().trim();
        assert!(text.contains(key), "no {key} in config/hivemind.yaml");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_meshd_in_order_and_a_restart_keeps_the_region() -> anyhow::Result<()> {
    let mut site = site(&per_user(1)).await?;
    let region_id = |site: &Site| {
        hivemind_shared::region::RegionView::open(&site.region()).map(|view| view.region_id())
    };
    let before = region_id(&site)?;
    let status = site.meshd()?.process().terminate(PATIENCE).await?;
    assert_eq!(status.code(), Some(0), "{}", site.meshd()?.log());
    let _second = Meshd::start(site.meshd_plan(), site.dir()).await?;
    assert_eq!(region_id(&site)?, before);
    Ok(())
}
