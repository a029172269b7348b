//! Hit here, visible there: the time from a hit in one host's region until the other host's has it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hivemind_shared::window::Unit;
use tokio::time::sleep;

use super::{per_mille, start_all};
use crate::artifacts::Profile;
use crate::lab::{Impairment, Key, Lab};
use crate::say;
use crate::site::Tools;
use crate::table::{Align, Table};

const RULES: &str = "domain: edge\ndescriptors:\n  - key: user\n    rate_limit: {unit: day, requests_per_unit: 100}\n  - key: service\n    rate_limit: {unit: day, requests_per_unit: 1000000}\n";

/// Longest a hit may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind of network and the target for the 99th percentile.
struct Case {
    name: &'static str,
    key: &'static str,
    loss: f64,
    target_ms: f64,
}

const CASES: [Case; 3] = [
    Case {
        name: "no loss, limit 100",
        key: "user",
        loss: 0.0,
        target_ms: 10.0,
    },
    Case {
        name: "no loss, limit 1,000,000",
        key: "service",
        loss: 0.0,
        target_ms: 10.0,
    },
    Case {
        name: "30 % loss, limit 100",
        key: "user",
        loss: 0.3,
        target_ms: 50.0,
    },
];

pub(super) async fn run(samples: usize) -> anyhow::Result<()> {
    let tools = Tools::prepare(Profile::Release)?;
    let lab = Lab::start(&tools, RULES, 2, 1).await?;
    start_all(&lab).await?;
    let mut table = Table::new(&[
        ("network", Align::Left),
        ("hits", Align::Right),
        ("p50 ms", Align::Right),
        ("p90 ms", Align::Right),
        ("p99 ms", Align::Right),
        ("most ms", Align::Right),
        ("target p99", Align::Left),
    ]);
    for case in CASES {
        say!("following {samples} hits: {}", case.name);
        lab.wire.set_all(Impairment {
            loss: case.loss,
            ..Impairment::NONE
        });
        let mut took_ms = follow(&lab, &case, samples).await?;
        took_ms.sort_by(f64::total_cmp);
        let [p50, p90, p99, most] = [500, 900, 990, 1_000].map(|share| per_mille(&took_ms, share));
        let verdict = if p99 <= case.target_ms {
            "met"
        } else {
            "MISSED"
        };
        table.row([
            case.name.to_owned(),
            samples.to_string(),
            format!("{p50:.1}"),
            format!("{p90:.1}"),
            format!("{p99:.1}"),
            format!("{most:.1}"),
            format!("{:.0} ms: {verdict}", case.target_ms),
        ]);
    }
    say!("\nHit here, visible there, default settings:\n\n{table}");
    Ok(())
}

/// Milliseconds that each hit took. Each is on a key of its own, at any time within a tick.
async fn follow(lab: &Lab, case: &Case, samples: usize) -> anyhow::Result<Vec<f64>> {
    let mut here = lab.nodes[0].worker();
    let mut there = lab.nodes[1].worker();
    let mut took_ms = Vec::with_capacity(samples);
    for sample in 0..samples {
        let key = Key {
            domain: "edge".to_owned(),
            key: case.key.to_owned(),
            value: format!("{}-{sample}", case.loss),
            unit: Unit::Day,
        };
        // Any number of tenths of a millisecond: the hit falls anywhere within a tick.
        let pause_us = 20_000 + (sample as u64 * 7_919 % 200) * 100;
        sleep(Duration::from_micros(pause_us)).await;
        let begun = Instant::now();
        here.hit(&key)?;
        while there.counts(&key)?.remote == 0 {
            ensure!(
                begun.elapsed() < PATIENCE,
                "a hit was not seen within {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_micros(100));
        }
        took_ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(took_ms)
}
