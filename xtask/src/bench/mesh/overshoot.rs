//! How far a limit is exceeded that two hosts share: at full load through real Envoys, and at a pace.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hivemind_shared::window::Unit;
use tokio::time::sleep;

use super::start_all;
use crate::artifacts::Profile;
use crate::lab::{Key, Lab};
use crate::load::Load;
use crate::site::{MODULE, Tools};
use crate::table::{Align, Table};
use crate::{say, window};

/// Requests a minute that may pass on both hosts together.
const LIMIT: u64 = 100_000;

/// The share of what is left of a limit that may go unsent, the default.
const EPSILON: f64 = 0.01;

/// Connections of the load on each host.
const CONNECTIONS: usize = 16;

/// Windows at full load, one after the other.
const WINDOWS: usize = 2;

/// Time before the end of a window at which the load stops, so that all of it is in the window.
const MARGIN: Duration = Duration::from_secs(2);

/// Hits a second on each host in the paced part: half as much again as the limit in a minute.
const PACE_PER_S: u64 = 1_300;

pub(super) async fn run() -> anyhow::Result<()> {
    let tools = Tools::prepare(Profile::Release)?;
    let rules = format!(
        "domain: edge\ndescriptors:\n  - key: user\n    rate_limit: {{unit: minute, requests_per_unit: {LIMIT}}}\n"
    );
    let lab = Lab::start(&tools, &rules, 2, 1).await?;
    start_all(&lab).await?;
    let mut table = Table::new(&[
        ("load", Align::Left),
        ("window", Align::Right),
        ("requests", Align::Right),
        ("passed", Align::Right),
        ("beyond", Align::Right),
        ("bound", Align::Right),
        ("verdict", Align::Left),
    ]);
    full_load(&lab, &mut table).await?;
    paced(&lab, &mut table).await?;
    say!("\nTwo hosts, {LIMIT} a minute together:\n\n{table}");
    Ok(())
}

async fn full_load(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let mut proxies = Vec::new();
    for (number, node) in lab.nodes.iter().enumerate() {
        proxies.push(node.proxy(&format!("envoy-{number}"), 1).await?);
    }
    for number in 1..=WINDOWS {
        let left = next_window().await;
        say!(
            "full load for {} s, window {number} of {WINDOWS}",
            left.as_secs()
        );
        let begun = Instant::now();
        let mut running = Vec::new();
        for (node, proxy) in lab.nodes.iter().zip(&proxies) {
            let load = Load::new(proxy.listener(MODULE)?)
                .connections(CONNECTIONS)
                .header("x-user", "both")?;
            running.push(node.load(load, usize::MAX).await);
        }
        sleep(left.saturating_sub(MARGIN)).await;
        let (mut requests, mut passed, mut rates) = (0, 0, Vec::new());
        for running in running {
            let report = running.stop().await;
            let answered: usize = report.statuses.values().sum();
            requests += answered;
            passed += report.statuses.get(&200).copied().unwrap_or(0);
            rates.push(answered as f64 / begun.elapsed().as_secs_f64());
        }
        let mut staleness_s: f64 = 0.0;
        for node in &lab.nodes {
            let p99 = node
                .peers()
                .await?
                .peers
                .iter()
                .filter_map(|peer| peer.staleness_p99_us)
                .max();
            staleness_s = staleness_s.max(p99.unwrap_or(0) as f64 / 1e6);
        }
        let others = rates.iter().copied().fold(0.0, f64::max);
        let bound = (others * staleness_s + EPSILON * LIMIT as f64).ceil();
        let beyond = passed as f64 - LIMIT as f64;
        table.row([
            "full, Envoys with the module".to_owned(),
            number.to_string(),
            requests.to_string(),
            passed.to_string(),
            format!("{beyond:.0}"),
            format!("{bound:.0} (news up to {:.1} ms old)", staleness_s * 1e3),
            if beyond <= bound { "kept" } else { "BROKEN" }.to_owned(),
        ]);
    }
    Ok(())
}

async fn paced(lab: &Lab, table: &mut Table) -> anyhow::Result<()> {
    let left = next_window().await.saturating_sub(MARGIN);
    say!(
        "{PACE_PER_S} hits a second on each host for {} s",
        left.as_secs()
    );
    let threads: Vec<_> = lab
        .nodes
        .iter()
        .map(|node| {
            let mut worker = node.worker();
            std::thread::spawn(move || -> anyhow::Result<(u64, u64)> {
                let key = Key {
                    domain: "edge".to_owned(),
                    key: "user".to_owned(),
                    value: "paced".to_owned(),
                    unit: Unit::Minute,
                };
                let begun = Instant::now();
                let (mut hits, mut passed) = (0, 0);
                while begun.elapsed() < left {
                    let due = begun + Duration::from_micros(hits * 1_000_000 / PACE_PER_S);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    passed += u64::from(worker.hit(&key)?);
                    hits += 1;
                }
                Ok((hits, passed))
            })
        })
        .collect();
    let (mut requests, mut passed) = (0, 0);
    for thread in threads {
        let (hits, let_pass) = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        requests += hits;
        passed += let_pass;
    }
    let beyond = passed.abs_diff(LIMIT);
    table.row([
        "paced, the module's decision".to_owned(),
        "1".to_owned(),
        requests.to_string(),
        passed.to_string(),
        beyond.to_string(),
        format!("{} (0.5 %)", LIMIT / 200),
        if beyond <= LIMIT / 200 {
            "kept"
        } else {
            "BROKEN"
        }
        .to_owned(),
    ]);
    Ok(())
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
