//! Instructions a request takes inside Envoy, counted by valgrind.
//!
//! Time swings by a tenth from run to run, more than a filter costs. Instructions repeat to a
//! twentieth of a percent. Two runs of different length are compared, so that starting and stopping
//! cancel out.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::h2load;
use super::scenario::{HEADER, LISTENER, Scenario};
use super::tool::Tool;
use crate::proxy::Plan;
use crate::site::Site;

/// Requests of the short run.
const SHORT: usize = 1_000;

/// Requests of the long run.
const LONG: usize = 9_000;

/// Envoy takes this long to start or stop under valgrind on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Counts the instructions one request takes.
pub(super) async fn a_request(
    scenario: Scenario,
    site: &Site,
    empty_module_dir: &Path,
) -> anyhow::Result<u64> {
    let mut counts = [0; 2];
    for (requests, count) in [SHORT, LONG].into_iter().zip(&mut counts) {
        *count = run(scenario.plan(site, empty_module_dir)?, site, requests).await?;
    }
    let [short, long] = counts;
    Ok(long.saturating_sub(short) / (LONG - SHORT) as u64)
}

/// Counts the instructions of an Envoy that starts, answers this many requests, and stops.
async fn run(mut plan: Plan, site: &Site, requests: usize) -> anyhow::Result<u64> {
    let counts_file = site.dir().join("cachegrind.out");
    let mut counts_option = OsString::from("--cachegrind-out-file=");
    counts_option.push(&counts_file);
    plan.under = [
        Tool::Valgrind.program(),
        "--tool=cachegrind",
        "--cache-sim=no",
    ]
    .map(OsString::from)
    .into_iter()
    .chain([counts_option])
    .collect();
    plan.patience = PATIENCE;
    let proxy = site.start_proxy(&plan).await?;
    let load = h2load::Plan {
        target: proxy.listener(LISTENER)?,
        path: "/",
        requests,
        connections: 1,
        streams: 1,
        http1: true,
        headers: &[HEADER],
        body: None,
    };
    load.run().await?;
    proxy.stop().await?;
    let counts = fs::read_to_string(&counts_file).context("valgrind wrote no counts")?;
    fs::remove_file(&counts_file)?;
    total(&counts).context("valgrind's counts have no summary")
}

/// Reads the line `summary: 1234` of a cachegrind file; its first number counts instructions.
fn total(counts: &str) -> Option<u64> {
    let summary = counts
        .lines()
        .find_map(|line| line.strip_prefix("summary:"))?;
    summary.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_summary_is_read() {
        assert_eq!(
            total("events: Ir\nfl=a.c\n1 2\nsummary: 123456\n"),
            Some(123_456)
        );
        assert_eq!(total("events: Ir\n"), None);
    }
}
