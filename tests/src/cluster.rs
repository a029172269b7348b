//! Setting up a cluster in a lab, and waiting for its hosts to agree.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hivemind_mesh::seal::{add_key, generate_key_file, promote_key, retire_keys};
use hivemind_mesh::status::{PeerState, PeerStatus, Status};
use hivemind_shared::window::Unit;
use serde_json::{Value, json};
use xtask::lab::{Counting, Counts, Key, Lab, Node, Place, as_root_of_a_namespace};
use xtask::load::Load;
use xtask::proxy::Proxy;
use xtask::wait::{CLUSTER_PATIENCE, PATIENCE, until_ok};
use xtask::window;

use crate::harness::{self, KEY, per_user, tools};

/// A limit that nothing here reaches.
pub const NO_LIMIT: u32 = 1_000_000;

/// What a test may take, so that a day does not end in the middle of one.
const ROOM: Duration = Duration::from_secs(300);

/// Runs a test that needs a lab; `name` is the test's own.
///
/// # Errors
///
/// What the test says, and when there can be no lab on this machine.
pub fn in_lab(name: &str, test: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if as_root_of_a_namespace(name)? == Place::Done {
        return Ok(());
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        window::wait_for_room(Unit::Day, ROOM).await;
        test().await
    })
}

/// Hosts with rules that give each user this many requests a day; no meshd runs yet.
///
/// # Errors
///
/// When the system does not allow it.
pub async fn hosts(number: u8, requests_per_day: u32) -> anyhow::Result<Lab> {
    // What goes wrong is the same in every run.
    const SEED: u64 = 0x5eed;
    Ok(Lab::start(tools()?, &per_user(requests_per_day), number, SEED).await?)
}

/// As [`hosts`], and all of them in one cluster, which everyone finds by the first one's address.
///
/// # Errors
///
/// With meshd's own words when one does not start or they do not find each other.
pub async fn cluster(number: u8, requests_per_day: u32) -> anyhow::Result<Lab> {
    let lab = hosts(number, requests_per_day).await?;
    start_members(&lab, &lab.nodes).await?;
    Ok(lab)
}

/// Makes these hosts a cluster, which everyone finds by the first host's address.
///
/// # Errors
///
/// With meshd's own words when one does not start or they do not find each other.
pub async fn start_members(lab: &Lab, nodes: &[Node]) -> anyhow::Result<()> {
    let [keys, ..] = key_files()?;
    for node in nodes {
        node.set_mesh(member(lab, "lab", &write_keys(node, &keys)?))
            .await;
    }
    start_together(nodes).await?;
    all_see_all(nodes).await
}

/// Starts these hosts' daemons. The first one knows of nobody, and is ready before its patience ends
/// only because the next one comes along.
///
/// # Errors
///
/// With meshd's own words when one does not start.
pub async fn start_together(nodes: &[Node]) -> anyhow::Result<()> {
    let Some((first, rest)) = nodes.split_first() else {
        return Ok(());
    };
    let others = async {
        for node in rest {
            node.start().await?;
        }
        anyhow::Ok(())
    };
    let (first, others) = tokio::join!(first.start(), others);
    first?;
    others
}

/// The section `mesh` of a member of a cluster, who finds the others by the first host's address.
pub fn member(lab: &Lab, cluster: &str, key_file: &Path) -> Value {
    json!({
        "cluster": cluster,
        "bootstrap_peers": [lab.nodes[0].mesh_address()],
        "key_file": key_file,
    })
}

/// A cluster's key files: before its seal key is changed, and after each of the three steps of that.
/// The key to name counters with is the same in all of them.
///
/// # Errors
///
/// Never, as long as the files can be changed at all.
pub fn key_files() -> anyhow::Result<[String; 4]> {
    let before = generate_key_file(&[0x4a; 48]);
    let added = add_key(&before, &[0x9c; 32])?;
    let promoted = promote_key(&added)?;
    let retired = retire_keys(&promoted)?;
    Ok([before, added, promoted, retired])
}

/// Writes this host's key file, in one step.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_keys(node: &Node, text: &str) -> anyhow::Result<PathBuf> {
    let path = node.dir().join("mesh.keys");
    let draft = node.dir().join("mesh.keys.draft");
    fs::write(&draft, text)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    fs::rename(draft, &path)?;
    Ok(path)
}

/// The counter of a user.
pub fn user(name: &str) -> Key {
    Key {
        domain: "edge".to_owned(),
        key: KEY.to_owned(),
        value: name.to_owned(),
        unit: Unit::Day,
    }
}

/// Waits until each of these hosts counts all others of them as present, and nobody else.
///
/// # Errors
///
/// With what a host last said about its peers.
pub async fn all_see_all(nodes: &[Node]) -> anyhow::Result<()> {
    for node in nodes {
        sees(node, nodes.len() - 1).await?;
    }
    Ok(())
}

/// Waits until this host counts this many peers as present, and is in doubt about none.
///
/// # Errors
///
/// With what it last said about them.
pub async fn sees(node: &Node, peers: usize) -> anyhow::Result<Status> {
    let doubtful = |it: &PeerStatus| it.state == PeerState::Suspect;
    let wanted = |status: &Status| present(status) == peers && !status.peers.iter().any(doubtful);
    peers_until(node, &format!("{peers} peers to be there"), wanted).await
}

/// How many peers are there, as far as this host knows.
pub fn present(status: &Status) -> usize {
    let peers = status.peers.iter();
    peers.filter(|it| it.state == PeerState::Alive).count()
}

/// How often this host has dropped something for this cause.
pub fn drops(status: &Status, cause: &str) -> u64 {
    let its = status.drops.iter().filter(|it| it.cause == cause);
    its.map(|it| it.count).sum()
}

/// Waits until what this host says about its peers is as wanted.
///
/// # Errors
///
/// With what it last said.
pub async fn peers_until(
    node: &Node,
    what: &str,
    wanted: impl Fn(&Status) -> bool,
) -> anyhow::Result<Status> {
    let look = async || match node.peers().await {
        Ok(status) if wanted(&status) => Ok(status),
        Ok(status) => Err(format!("{status:?}")),
        Err(error) => Err(error.to_string()),
    };
    let address = node.mesh_address();
    let what = format!("{what}, says {address}");
    Ok(until_ok(what, CLUSTER_PATIENCE, look).await?)
}

/// Waits until each of these hosts knows of exactly this many hits.
///
/// # Errors
///
/// With what each of them knows instead.
pub async fn agree_on(nodes: &[Node], key: &Key, hits: u64) -> anyhow::Result<()> {
    let mut workers: Vec<_> = nodes.iter().map(Node::worker).collect();
    let look = async || {
        let counts = workers.iter_mut().map(|it| it.counts(key));
        let counts: Vec<Counts> = counts
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let agreed = counts.iter().all(|it| it.total() == hits);
        agreed.then_some(()).ok_or_else(|| format!("{counts:?}"))
    };
    let what = format!("all hosts to know of {hits} hits of {}", key.value);
    Ok(until_ok(what, CLUSTER_PATIENCE, look).await?)
}

/// Waits until these hosts know of exactly this many hits, lets news go once more from everyone to
/// everyone, and looks again: a count that came too often is noticed, too.
///
/// # Errors
///
/// With what each host knows instead.
pub async fn agree_for_good_on(nodes: &[Node], key: &Key, hits: u64) -> anyhow::Result<()> {
    static ROUND: AtomicU32 = AtomicU32::new(0);
    agree_on(nodes, key, hits).await?;
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let news = user(&format!("news {round}"));
    for node in nodes {
        node.worker().hit(&news)?;
    }
    agree_on(nodes, &news, nodes.len() as u64).await?;
    for node in nodes {
        let counts = node.worker().counts(key)?;
        ensure!(
            counts.total() == hits,
            "{} knows of {counts:?} after having agreed on {hits}",
            node.mesh_address()
        );
    }
    Ok(())
}

/// Waits until this many hits of a key were counted on the host itself.
///
/// # Errors
///
/// With what was counted instead.
pub async fn counted_here(node: &Node, key: &Key, at_least: u64) -> anyhow::Result<()> {
    let mut worker = node.worker();
    let look = async || match worker.counts(key) {
        Ok(counts) if counts.local >= at_least => Ok(()),
        Ok(counts) => Err(format!("{counts:?}")),
        Err(error) => Err(error.to_string()),
    };
    let what = format!("{at_least} hits on {}", node.mesh_address());
    Ok(until_ok(what, PATIENCE, look).await?)
}

/// Counts one hit a millisecond on each of these hosts, from now on.
///
/// # Errors
///
/// When there are no threads for it.
pub fn count_everywhere(nodes: &[Node], key: &Key) -> anyhow::Result<Vec<Counting>> {
    let start = |node: &Node| node.worker().start(key.clone(), Duration::from_millis(1));
    Ok(nodes.iter().map(start).collect::<Result<_, _>>()?)
}

/// Ends that, and tells how many hits were counted in all.
pub fn stop_counting(counting: Vec<Counting>) -> u64 {
    counting.into_iter().map(Counting::stop).sum()
}

/// Checks that each of these hosts is ready now.
///
/// # Errors
///
/// Naming the one that is not.
pub async fn all_ready(nodes: impl IntoIterator<Item = &Node>) -> anyhow::Result<()> {
    for node in nodes {
        let address = node.mesh_address();
        let ready = node.is_ready().await;
        ensure!(
            ready.with_context(|| format!("{address} does not answer"))?,
            "{address} is not ready"
        );
    }
    Ok(())
}

/// Requests of a user to an Envoy on this host.
///
/// # Errors
///
/// When Envoy has no such listener.
pub fn load_on(proxy: &Proxy, listener: &str, name: &str) -> anyhow::Result<Load> {
    Ok(harness::load(proxy.listener(listener)?, name)?)
}
