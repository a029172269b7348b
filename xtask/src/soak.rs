//! `cargo xtask soak`: two Envoys with two workers each on one region, under concurrent load, meshd
//! killed in the middle; exactly the limit must pass.

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use hivemind_shared::window::Unit;

use crate::artifacts::Profile;
use crate::interrupt;
use crate::load::{Load, Report};
use crate::site::{MODULE, Site, Tools};
use crate::table::{Align, Table, grouped};
use crate::{say, wait, window};

/// The one user all requests come from.
const USER: &str = "everybody";

/// Envoys on the host, and the workers of each.
const ENVOYS: usize = 2;
const WORKERS: usize = 2;

/// Connections to each Envoy: enough for every worker to get some.
const CONNECTIONS: usize = 16;

/// A machine that sends fewer requests a second may meet the end of an hour.
const REQUESTS_PER_S_MIN: u64 = 2_000;

/// What the soak can be asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many requests to send in all.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub requests: usize,
    /// How many of them the rules let pass within an hour.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub limit: u32,
    /// How often meshd is killed with SIGKILL meanwhile, and started again.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub kills: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What each Envoy answered.
    pub reports: Vec<Report>,
    /// What the region says.
    pub counted: u64,
    /// What reached the service behind the Envoys.
    pub reached: usize,
}

impl Outcome {
    /// What all Envoys answered together.
    pub fn total(&self) -> Report {
        let mut total = Report::default();
        for report in &self.reports {
            total.add(report);
        }
        total
    }
}

/// Runs the soak with optimised binaries and prints what came of it.
///
/// # Errors
///
/// When something does not start, and when a number is not exactly what the rules promise.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    interrupt::unless(show(options)).await
}

async fn show(options: &Options) -> anyhow::Result<()> {
    say!("building meshd, hivectl and the module with optimisations");
    let tools = tokio::task::spawn_blocking(|| Tools::prepare(Profile::Release)).await??;
    let outcome = soak(&tools, options).await?;
    let total = outcome.total();
    let mut table = Table::new(&[
        ("", Align::Left),
        ("answered", Align::Right),
        ("passed", Align::Right),
        ("limited", Align::Right),
        ("failed", Align::Right),
        ("counted", Align::Right),
    ]);
    let mut row = |name: &str, report: &Report, counted: &str| {
        let numbers = [
            report.answered(),
            report.passed(),
            report.limited(),
            report.failed,
        ];
        let numbers = numbers.map(|number| grouped(number as u64));
        table.row(
            [name.to_owned()]
                .into_iter()
                .chain(numbers)
                .chain([counted.to_owned()]),
        );
    };
    for (number, report) in outcome.reports.iter().enumerate() {
        row(&format!("Envoy {}", number + 1), report, "");
    }
    row("together", &total, &grouped(outcome.counted));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{table}\n{:.1} s", total.elapsed.as_secs_f64())?;
    out.flush()?;
    let promised = options.requests.min(options.limit as usize);
    let right = total.passed() == promised
        && total.limited() == options.requests - promised
        && total.failed == 0
        && outcome.reached == promised
        && outcome.counted == options.requests as u64;
    if !right {
        bail!(
            "of {} requests, exactly {promised} should have passed",
            options.requests
        );
    }
    Ok(())
}

/// Sends the load on a host of its own. Numbers are not judged here.
///
/// # Errors
///
/// When something does not start, or the load stands still.
pub async fn soak(tools: &Tools, options: &Options) -> anyhow::Result<Outcome> {
    let mut site = Site::start(tools, &rules(options.limit)).await?;
    let mut proxies = Vec::new();
    for number in 1..=ENVOYS {
        proxies.push(site.proxy(&format!("envoy-{number}"), WORKERS).await?);
    }
    let room_s = 30 + options.requests as u64 / REQUESTS_PER_S_MIN;
    if room_s >= u64::from(Unit::Hour.seconds()) {
        bail!(
            "{} requests do not surely fit into an hour; send fewer",
            options.requests
        );
    }
    let room = Duration::from_secs(room_s);
    window::wait_for_room(Unit::Hour, room).await;
    let hour = window::now(Unit::Hour);

    say!("sending {} requests", grouped(options.requests as u64));
    let share = options.requests / ENVOYS;
    let mut rest = options.requests % ENVOYS;
    let mut loads = Vec::new();
    for proxy in &proxies {
        let load = Load::new(proxy.listener(MODULE)?).connections(CONNECTIONS);
        loads.push(
            load.header("x-user", USER)?
                .start(share + std::mem::take(&mut rest)),
        );
    }
    for kill in 1..=options.kills {
        let mark = options.requests * kill / (options.kills + 1);
        let reached = async || {
            let answered: usize = loads.iter().map(|load| load.answered()).sum();
            (answered >= mark).then_some(())
        };
        wait::until(format!("{mark} answers"), room, reached).await?;
        say!("killing meshd after {} answers", grouped(mark as u64));
        site.kill_meshd()?;
        site.start_meshd().await?;
    }
    let mut reports = Vec::new();
    for load in loads {
        reports.push(load.finish().await);
    }
    if window::now(Unit::Hour) != hour {
        bail!("an hour ended meanwhile, so there is nothing to check; send fewer requests");
    }
    let counted = site.counted("user", USER)?;
    Ok(Outcome {
        reports,
        counted,
        reached: site.upstream().answered(),
    })
}

fn rules(limit: u32) -> String {
    format!(
        "domain: edge\n\
         descriptors:\n\
         \x20 - key: user\n\
         \x20   value: {USER}\n\
         \x20   rate_limit: {{unit: hour, requests_per_unit: {limit}}}\n"
    )
}
