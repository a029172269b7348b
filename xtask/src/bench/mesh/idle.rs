//! What a mesh costs that has nothing to say: CPU time and bytes of one meshd with many peers and keys.

use std::net::SocketAddr;
use std::time::Duration;

use hivemind_mesh::status::Status;
use hivemind_shared::window::Unit;
use serde_json::json;
use tokio::time::sleep;

use super::super::cpu;
use crate::artifacts::Profile;
use crate::lab::{Key, Worker};
use crate::meshd::{Meshd, Plan};
use crate::scratch::Scratch;
use crate::site::Tools;
use crate::table::{Align, Table};
use crate::wait::{CLUSTER_PATIENCE, until_ok};
use crate::{http, say};

const RULES: &str = "domain: edge\ndescriptors:\n  - key: user\n    rate_limit: {unit: day, requests_per_unit: 1000}\n";

/// Peers of the meshd that is measured.
const PEERS: usize = 10;

/// Keys that are live and quiet.
const KEYS: usize = 100_000;

/// Time that is measured.
const QUIET: Duration = Duration::from_secs(30);

pub(super) async fn run() -> anyhow::Result<()> {
    let tools = Tools::prepare(Profile::Release)?;
    let scratch = Scratch::new()?;
    let rules = scratch.file("ratelimit.yaml");
    std::fs::write(&rules, RULES)?;
    say!("starting {} daemons on loopback", PEERS + 1);
    let mut daemons: Vec<Meshd> = Vec::new();
    let mut regions = Vec::new();
    for number in 0..=PEERS {
        let region = scratch.region().with_extension(number.to_string());
        let mut plan = Plan::new(&tools.binaries.meshd, &region, &rules);
        plan.name = format!("meshd-{number}");
        plan.max_keys = 131_072;
        let first: Vec<String> = match daemons.first() {
            Some(first) => vec![status(first.admin()).await?.address.to_string()],
            None => Vec::new(),
        };
        plan.mesh = json!({"bind": "127.0.0.1:0", "bootstrap_peers": first});
        daemons.push(Meshd::start(&plan, scratch.dir()).await?);
        regions.push(region);
    }
    let mut table = Table::new(&[
        ("live keys", Align::Right),
        ("CPU", Align::Right),
        ("bytes/s sent", Align::Right),
        ("datagrams/s sent", Align::Right),
        ("target", Align::Left),
    ]);
    for keys in [0, KEYS] {
        if keys > 0 {
            say!("counting {keys} keys");
            let mut worker = Worker::new(&regions[1]);
            for number in 0..keys {
                worker.hit(&user(number))?;
            }
        }
        for daemon in &daemons {
            until_ok(
                "all keys are known and all peers too",
                CLUSTER_PATIENCE,
                || settled(daemon.admin(), keys),
            )
            .await?;
        }
        say!("looking on for {} s", QUIET.as_secs());
        // What keys just cost is over by then.
        sleep(Duration::from_secs(5)).await;
        let measured = &mut daemons[0];
        let pid = measured.process().pid();
        let before = (cpu::thread_times_ns(pid)?, status(measured.admin()).await?);
        sleep(QUIET).await;
        let after = (cpu::thread_times_ns(pid)?, status(measured.admin()).await?);
        let used_ns: u64 = after.0.values().sum::<u64>() - before.0.values().sum::<u64>();
        let seconds = QUIET.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let percent = used_ns as f64 / 1e7 / seconds;
        let sent = |status: &Status| {
            let traffic = &status.traffic;
            let bytes: u64 = traffic.iter().map(|kind| kind.sent_bytes).sum();
            let datagrams: u64 = traffic.iter().map(|kind| kind.sent_datagrams).sum();
            (bytes, datagrams)
        };
        let (bytes, datagrams) = (
            sent(&after.1).0 - sent(&before.1).0,
            sent(&after.1).1 - sent(&before.1).1,
        );
        let verdict = if percent < 1.0 { "met" } else { "MISSED" };
        table.row([
            keys.to_string(),
            format!("{percent:.2} % of a core"),
            (bytes / QUIET.as_secs()).to_string(),
            (datagrams / QUIET.as_secs()).to_string(),
            format!("below 1 %: {verdict}"),
        ]);
    }
    say!(
        "\nA quiet meshd with {PEERS} peers, {} s:\n\n{table}",
        QUIET.as_secs()
    );
    Ok(())
}

fn user(number: usize) -> Key {
    Key {
        domain: "edge".to_owned(),
        key: "user".to_owned(),
        value: number.to_string(),
        unit: Unit::Day,
    }
}

async fn status(admin: SocketAddr) -> anyhow::Result<Status> {
    let response = http::get(admin, "/peers").await?;
    Ok(serde_json::from_slice(&response.body)?)
}

async fn settled(admin: SocketAddr, keys: usize) -> Result<(), String> {
    let status = status(admin).await.map_err(|error| error.to_string())?;
    let in_sync = status.peers.iter().filter(|peer| peer.in_sync).count();
    if status.keys >= keys && in_sync == PEERS {
        Ok(())
    } else {
        Err(format!("{} keys, {in_sync} peers in sync", status.keys))
    }
}
