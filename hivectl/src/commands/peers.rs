//! `hivectl peers`: who a live meshd shares counts with, and how that goes.

use std::io::{self, Write};

use hivemind_mesh::status::{PeerState, PeerStatus, ProbeStatus, Status};
use hivemind_shared::yaml::printable;
use serde::Deserialize;

use crate::admin::AdminOption;
use crate::failure::Failure;
use crate::output::{JsonOption, write_json};
use crate::region::RegionPlace;
use crate::table::{Align, Table};
use crate::text;

/// In place of what is not known.
const UNKNOWN: &str = "-";

/// Show who a live meshd shares counts with, and how that goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    output: JsonOption,
    #[command(flatten)]
    admin: AdminOption,
}

/// What `/peers` says.
#[derive(Deserialize)]
#[serde(tag = "mesh", rename_all = "lowercase")]
enum Answer {
    Off { reason: String },
    Starting,
    On(Box<Status>),
}

pub(crate) fn run(
    options: &Options,
    place: &RegionPlace,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let answer = options.admin.get("/peers", place)?;
    let read = answer.read()?;
    if options.output.json {
        return write_json(out, &answer.document);
    }
    match read {
        Answer::Off { reason } => writeln!(out, "the mesh is off: {}", printable(&reason))?,
        Answer::Starting => writeln!(out, "the mesh is starting")?,
        Answer::On(status) => show(&status, out)?,
    }
    Ok(())
}

fn show(status: &Status, out: &mut impl Write) -> io::Result<()> {
    node(status).write(out)?;
    writeln!(out)?;
    if status.peers.is_empty() {
        writeln!(out, "no peers")?;
    } else {
        peers(&status.peers, status.rules.as_deref()).write(out)?;
    }
    if !status.traffic.is_empty() {
        writeln!(out)?;
        traffic(status).write(out)?;
    }
    if !status.drops.is_empty() {
        writeln!(out)?;
        drops(status).write(out)?;
    }
    Ok(())
}

/// The node that was asked.
fn node(status: &Status) -> Table<2> {
    let mut table = Table::without_titles([Align::Left, Align::Left]);
    let mut row = |name: &str, value: String| table.push([name.to_owned(), value]);
    row("node", printable(&status.name));
    row("address", status.address.to_string());
    row("actor", printable(&status.actor));
    let sealed = if status.sealed {
        "sealed"
    } else {
        "NOT sealed: anyone can change counts"
    };
    row(
        "cluster",
        format!("{}, {sealed}", printable(&status.cluster)),
    );
    let joined = if status.joined {
        "yes"
    } else {
        "waiting for a snapshot from peers"
    };
    row("joined", joined.to_owned());
    if let Some(alone) = &status.alone {
        row("alone", printable(alone));
    }
    row("rules", or_unknown(status.rules.as_deref().map(printable)));
    row("keys", status.keys.to_string());
    row("actors", status.actors.to_string());
    row("probe", probe(&status.probe));
    table
}

/// How long changes take to every peer.
fn probe(probe: &ProbeStatus) -> String {
    if probe.last_us.is_none() {
        return format!("{} sent, none complete yet", probe.sent);
    }
    format!(
        "a change took {} until every peer had it; median {}, 99th percentile {} ({} sent)",
        latency(probe.last_us),
        latency(probe.p50_us),
        latency(probe.p99_us),
        probe.sent
    )
}

fn peers(peers: &[PeerStatus], own: Option<&str>) -> Table<11> {
    let mut table = Table::with_titles([
        ("NAME", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("RTT", Align::Right),
        ("LOSS", Align::Right),
        ("SKEW", Align::Right),
        ("STALENESS p50/p99", Align::Right),
        ("LAST HEARD", Align::Right),
        ("BACKLOG", Align::Right),
        ("SYNC", Align::Left),
        ("RULES", Align::Left),
    ]);
    for peer in peers {
        table.push([
            or_unknown(
                Some(&peer.name)
                    .filter(|name| !name.is_empty())
                    .map(|name| printable(name)),
            ),
            peer.address.to_string(),
            state(peer.state).to_owned(),
            latency(peer.round_trip_us),
            format!("{:.1} %", peer.loss * 100.0),
            or_unknown(peer.skew_ms.map(|ms| format!("{ms:+} ms"))),
            format!(
                "{} / {}",
                latency(peer.staleness_p50_us),
                latency(peer.staleness_p99_us)
            ),
            or_unknown(peer.last_heard_ms.map(text::duration)),
            peer.backlog.to_string(),
            if peer.in_sync { "yes" } else { "no" }.to_owned(),
            or_unknown(peer.rules.as_deref().map(|rules| {
                let differ = own.is_some_and(|own| own != rules);
                format!(
                    "{}{}",
                    printable(rules),
                    if differ { " (differ)" } else { "" }
                )
            })),
        ]);
    }
    table
}

const fn state(state: PeerState) -> &'static str {
    match state {
        PeerState::Alive => "alive",
        PeerState::Suspect => "suspect",
        PeerState::Down => "down",
    }
}

fn traffic(status: &Status) -> Table<5> {
    let mut table = Table::with_titles([
        ("TRAFFIC", Align::Left),
        ("SENT", Align::Right),
        ("BYTES", Align::Right),
        ("RECEIVED", Align::Right),
        ("BYTES", Align::Right),
    ]);
    for kind in &status.traffic {
        table.push([
            printable(&kind.kind),
            kind.sent_datagrams.to_string(),
            text::bytes(kind.sent_bytes),
            kind.received_datagrams.to_string(),
            text::bytes(kind.received_bytes),
        ]);
    }
    table
}

fn drops(status: &Status) -> Table<2> {
    let mut table = Table::with_titles([("DROPPED", Align::Left), ("COUNT", Align::Right)]);
    for drop in &status.drops {
        table.push([printable(&drop.cause), drop.count.to_string()]);
    }
    table
}

fn latency(us: Option<u64>) -> String {
    or_unknown(us.map(text::latency))
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.to_owned())
}
