//! How far a limit is exceeded that two hosts share through real Envoys: at full load, and at a pace.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hivemind_shared::window::Unit;
use tokio::time::sleep;

use super::start_all;
use crate::artifacts::Profile;
use crate::lab::Lab;
use crate::load::{Load, Running};
use crate::proxy::Proxy;
use crate::site::{MODULE, Tools};
use crate::table::{Align, Table};
use crate::{say, window};

/// Requests a minute that may pass on both hosts together.
const LIMIT: u64 = 100_000;

/// The share of what is left of a limit that may go unsent, the default.
const EPSILON: f64 = 0.01;

/// Connections of the load on each host.
const CONNECTIONS: usize = 16;

/// Time before the end of a window at which the load stops, so that all of it is in the window.
const MARGIN: Duration = Duration::from_secs(2);

/// Requests a second on each host in the paced part: half as much again as the limit in a minute.
const PACE_PER_S: u32 = 1_300;

/// The share of the limit that a paced load may be off.
const PACED_SHARE: f64 = 0.005;

/// How often the answers are looked at, to see the first refusal.
const GLANCE: Duration = Duration::from_millis(10);

/// A load to measure.
struct Case {
    name: &'static str,
    /// The value of the key that all of it counts on.
    user: &'static str,
    /// Between two requests on each host; zero for as fast as answers come.
    interval: Duration,
    windows: usize,
}

/// What one window let pass.
#[derive(Debug, Default)]
struct Passed {
    requests: usize,
    passed: usize,
    /// Requests a second by host, while they still passed.
    rates: Vec<f64>,
    /// The 99th percentile of the age of news, seconds, on the host where it is longest.
    staleness_s: f64,
}

impl Passed {
    fn beyond(&self) -> f64 {
        self.passed as f64 - LIMIT as f64
    }

    /// The bound of SPECIFICATION.md: what others let pass while their news is on its way, seen from the host
    /// for which that is most, and what they hold back on purpose.
    fn bound(&self) -> f64 {
        let all: f64 = self.rates.iter().sum();
        let slowest = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        (all - slowest) * self.staleness_s + EPSILON * LIMIT as f64
    }
}

pub(super) async fn run() -> anyhow::Result<()> {
    let tools = Tools::prepare(Profile::Release)?;
    let rules = format!(
        "domain: edge\ndescriptors:\n  - key: user\n    rate_limit: {{unit: minute, requests_per_unit: {LIMIT}}}\n"
    );
    let lab = Lab::start(&tools, &rules, 2, 1).await?;
    start_all(&lab).await?;
    let mut proxies = Vec::new();
    for (number, node) in lab.nodes.iter().enumerate() {
        proxies.push(node.proxy(&format!("envoy-{number}"), 1).await?);
    }
    let full = Case {
        name: "full",
        user: "full",
        interval: Duration::ZERO,
        windows: 2,
    };
    let paced = Case {
        name: "paced",
        user: "paced",
        interval: Duration::from_secs(1) / PACE_PER_S,
        windows: 2,
    };
    let mut table = Table::new(&[
        ("load", Align::Left),
        ("window", Align::Right),
        ("requests", Align::Right),
        ("requests/s while they passed", Align::Right),
        ("news, p99", Align::Right),
        ("passed", Align::Right),
        ("beyond", Align::Right),
        ("allowed", Align::Right),
        ("verdict", Align::Left),
    ]);
    for case in [full, paced] {
        for number in 1..=case.windows {
            let passed = one_window(&lab, &proxies, &case).await?;
            // Saturation is what the bound is about; a paced load has to meet the limit itself.
            let (off, allowed) = if case.interval.is_zero() {
                (passed.beyond(), passed.bound().ceil())
            } else {
                (passed.beyond().abs(), LIMIT as f64 * PACED_SHARE)
            };
            let rates: Vec<_> = passed
                .rates
                .iter()
                .map(|rate| format!("{rate:.0}"))
                .collect();
            table.row([
                case.name.to_owned(),
                number.to_string(),
                passed.requests.to_string(),
                rates.join(" + "),
                format!("{:.1} ms", passed.staleness_s * 1e3),
                passed.passed.to_string(),
                format!("{:+.0}", passed.beyond()),
                format!("{allowed:.0}"),
                if off <= allowed { "kept" } else { "BROKEN" }.to_owned(),
            ]);
        }
    }
    say!("\nTwo hosts, an Envoy with the module on each, {LIMIT} a minute together:\n\n{table}");
    Ok(())
}

/// Sends one window's load from each host to its own Envoy.
async fn one_window(lab: &Lab, proxies: &[Proxy], case: &Case) -> anyhow::Result<Passed> {
    let left = next_window().await;
    say!("{} load for {} s", case.name, left.as_secs());
    let mut running = Vec::new();
    for (node, proxy) in lab.nodes.iter().zip(proxies) {
        let load = Load::new(proxy.listener(MODULE)?)
            .connections(CONNECTIONS)
            .every(case.interval)
            .header("x-user", case.user)?;
        running.push(node.load(load, usize::MAX).await);
    }
    let end = Instant::now() + left.saturating_sub(MARGIN);
    let mut window = Passed::default();
    while Instant::now() < end {
        sleep(GLANCE.min(end.saturating_duration_since(Instant::now()))).await;
        if window.rates.is_empty() && running.iter().any(|load| load.limited() > 0) {
            window.rates = running.iter().map(Running::rate).collect();
            window.staleness_s = staleness_s(lab).await?;
        }
    }
    for running in running {
        let report = running.stop().await;
        anyhow::ensure!(report.failed == 0, "{} requests failed", report.failed);
        window.requests += report.answered();
        window.passed += report.passed();
    }
    anyhow::ensure!(
        !window.rates.is_empty(),
        "{} requests did not reach the limit",
        window.requests
    );
    Ok(window)
}

/// How old news of peers gets, at the 99th percentile, where it gets oldest.
async fn staleness_s(lab: &Lab) -> anyhow::Result<f64> {
    let mut longest_us = 0;
    for node in &lab.nodes {
        let peers = node.peers().await?.peers;
        let ages = peers.iter().filter_map(|peer| peer.staleness_p99_us);
        longest_us = ages.fold(longest_us, u64::max);
    }
    Ok(longest_us as f64 / 1e6)
}

/// Waits for the next minute to begin; returns how long it lasts.
async fn next_window() -> Duration {
    let now = window::now(Unit::Minute);
    say!("waiting for the next minute to begin");
    loop {
        let next = window::now(Unit::Minute);
        if next != now {
            let since_epoch = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let end = Duration::from_secs(next.start_s() + 60);
            return end.saturating_sub(since_epoch);
        }
        sleep(Duration::from_millis(20)).await;
    }
}
