//! `cargo xtask demo`: rate limiting through a real Envoy, both ways, with the numbers checked.

mod burst;
mod verdict;

use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, bail};

use crate::artifacts::Profile;
use crate::interrupt;
use crate::proxy::Proxy;
use crate::site::{MODULE, RLS, Site, Tools};
use crate::{say, workspace};

use self::burst::Burst;
use self::verdict::Verdict;

/// What the demo can be asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Leave everything running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// How many requests the last burst sends over each of the two paths.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Build with optimisations first; takes longer to begin and goes faster then.
    #[arg(long)]
    release: bool,
}

/// Runs the demo.
///
/// # Errors
///
/// When something does not start, and when a number is not what the rules promise.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let shown = interrupt::unless(show(options)).await?;
    if options.keep {
        keep(&shown.site, &shown.proxy).await?;
    }
    shown.verdict.check()
}

/// What is there after the bursts.
struct Shown {
    // Dropped in this order: Envoy before the files it uses.
    proxy: Proxy,
    site: Site,
    verdict: Verdict,
}

async fn show(options: &Options) -> anyhow::Result<Shown> {
    say!("building meshd, hivectl and the module");
    let profile = if options.release {
        Profile::Release
    } else {
        Profile::Dev
    };
    let tools = tokio::task::spawn_blocking(move || Tools::prepare(profile)).await??;

    let rules_file = workspace::root().join("config/ratelimit.yaml");
    let rules = fs::read_to_string(&rules_file)
        .with_context(|| format!("cannot read {}", rules_file.display()))?;
    say!("starting meshd");
    let site = Site::start(&tools, &rules).await?;
    say!("starting Envoy, with the module and with its own ratelimit filter");
    let proxy = site.proxy("envoy", 2).await?;

    let mut verdict = Verdict::default();
    for burst in Burst::all(options.requests as usize) {
        verdict.add(burst.send(&site, &proxy).await?);
    }
    let counters = hivectl_ls(&site).await?;
    let mut out = std::io::stdout().lock();
    write!(out, "\n{}\n", verdict.table())?;
    write!(out, "The region, as `hivectl ls` shows it:\n\n{counters}\n")?;
    out.flush()?;
    Ok(Shown {
        proxy,
        site,
        verdict,
    })
}

/// What the inspection tool says about the site's region.
async fn hivectl_ls(site: &Site) -> anyhow::Result<String> {
    let output = tokio::process::Command::new(&site.tools().binaries.hivectl)
        .arg("--region")
        .arg(site.region())
        .arg("ls")
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run hivectl")?;
    if !output.status.success() {
        bail!(
            "hivectl ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says what there is to try, and leaves it running until Ctrl-C.
async fn keep(site: &Site, proxy: &Proxy) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Running until Ctrl-C. Each user has five requests a minute, over both together:"
    )?;
    writeln!(
        out,
        "  the module:   curl -i -H 'x-user: you' http://{}/",
        proxy.listener(MODULE)?
    )?;
    writeln!(
        out,
        "  the service:  curl -i -H 'x-user: you' http://{}/",
        proxy.listener(RLS)?
    )?;
    writeln!(out, "What is counted:")?;
    let hivectl = site.tools().binaries.hivectl.display();
    writeln!(out, "  {hivectl} --region {} ls", site.region().display())?;
    writeln!(
        out,
        "Envoy's view: http://{}/stats?filter=ratelimit|hivemind",
        proxy.admin()
    )?;
    writeln!(
        out,
        "Rules, read again when they change: {}",
        site.meshd_plan().rules.display()
    )?;
    out.flush()?;
    drop(out);
    interrupt::asked_to_end().await
}
