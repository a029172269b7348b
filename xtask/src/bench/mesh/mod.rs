//! `cargo xtask bench mesh`: how soon a hit is seen on another host, what a quiet mesh costs, and how far
//! limits are exceeded.

mod idle;
mod overshoot;
mod visible;

use serde_json::{Value, json};

use crate::lab::{Lab, Node};
use crate::wait::{CLUSTER_PATIENCE, until_ok};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Parts to leave out: visible, idle, overshoot.
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    without: Vec<String>,
    /// Hits to follow from one host to the other, for each kind of network.
    #[arg(long, default_value_t = 1_000)]
    samples: usize,
}

/// Measures, and prints tables on standard output.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let wanted = |part: &str| !options.without.iter().any(|without| without == part);
    if wanted("visible") {
        visible::run(options.samples).await?;
    }
    if wanted("idle") {
        idle::run().await?;
    }
    if wanted("overshoot") {
        overshoot::run().await?;
    }
    Ok(())
}

/// The section `mesh` of hosts in a lab: defaults, and the first host to begin with. Datagrams are sealed
/// without a secret, which costs the same.
fn member(lab: &Lab) -> Value {
    json!({"bootstrap_peers": [lab.nodes[0].mesh_address()], "insecure": true})
}

/// Starts a meshd on every host, and waits until they know each other.
async fn start_all(lab: &Lab) -> anyhow::Result<()> {
    for node in &lab.nodes {
        node.set_mesh(member(lab)).await;
        node.start().await?;
    }
    for node in &lab.nodes {
        until_ok("all hosts know each other", CLUSTER_PATIENCE, || {
            knows_others(node, lab.nodes.len() - 1)
        })
        .await?;
    }
    Ok(())
}

async fn knows_others(node: &Node, others: usize) -> Result<(), String> {
    let status = node.peers().await.map_err(|error| error.to_string())?;
    let known = status.peers.iter().filter(|peer| peer.in_sync).count();
    if known == others {
        Ok(())
    } else {
        Err(format!("{known} of {others}"))
    }
}

/// The value that so many of a thousand do not exceed; 0 of none.
fn per_mille(sorted: &[f64], share: usize) -> f64 {
    let rank = (sorted.len() * share).div_ceil(1_000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}
