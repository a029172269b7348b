//! `cargo xtask bench rls`: meshd's Rate Limit Service alone.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use hivemind_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use prost::Message as _;

use super::cpu::cpu_time_s;
use super::tool::{self, Tool};
use super::{h2load, median, scenario};
use crate::artifacts::Profile;
use crate::say;
use crate::site::{Site, Tools};
use crate::table::{Align, Table};

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often each level is measured; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
}

/// How many calls are in flight at once.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Connections, as Envoy workers have one each.
    connections: usize,
    /// Calls at once on a connection.
    streams: usize,
    /// Calls of one round: about two seconds of CPU, of which the system counts hundredths.
    calls: usize,
}

const LEVELS: [Level; 3] = [
    Level {
        connections: 1,
        streams: 1,
        calls: 40_000,
    },
    Level {
        connections: 4,
        streams: 4,
        calls: 150_000,
    },
    Level {
        connections: 10,
        streams: 10,
        calls: 300_000,
    },
];

/// Figures of one round.
struct Round {
    calls_per_s: f64,
    cpu_us_a_call: f64,
}

/// Measures and prints.
///
/// # Errors
///
/// When a program is missing, does not start, or gives answers that spoil the measurement.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    tool::require(&[Tool::H2load])?;
    say!("building meshd with optimisations");
    let tools = tokio::task::spawn_blocking(|| Tools::prepare(Profile::Release)).await??;
    let mut site = Site::start(&tools, &scenario::rules()).await?;
    let body = site.dir().join("call");
    fs::write(&body, framed(&call()))?;

    let mut rounds: [Vec<Round>; LEVELS.len()] = Default::default();
    for number in 1..=options.rounds.max(1) {
        say!("round {number} of {}", options.rounds.max(1));
        for (level, rounds) in LEVELS.iter().zip(&mut rounds) {
            rounds.push(measure(level, &mut site, &body).await?);
        }
    }
    check_counts(&site, options.rounds.max(1))?;

    let mut table = Table::new(&[
        ("calls in flight", Align::Right),
        ("calls/s", Align::Right),
        ("CPU a call", Align::Right),
    ]);
    for (level, rounds) in LEVELS.iter().zip(&rounds) {
        let middle = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        table.row([
            (level.connections * level.streams).to_string(),
            format!("{:.0}", middle(|round| round.calls_per_s)),
            format!("{:.1} µs", middle(|round| round.cpu_us_a_call)),
        ]);
    }
    let mut out = std::io::stdout().lock();
    write!(out, "\n{table}\n")?;
    writeln!(out, "target: at most 7 µs of CPU a call at 100 in flight")?;
    Ok(out.flush()?)
}

async fn measure(level: &Level, site: &mut Site, body: &Path) -> anyhow::Result<Round> {
    let meshd = site.meshd()?;
    let pid = meshd.process().pid();
    let load = h2load::Plan {
        target: meshd.grpc(),
        path: METHOD,
        requests: level.calls,
        connections: level.connections,
        streams: level.streams,
        http1: false,
        headers: &["content-type: application/grpc", "te: trailers"],
        body: Some(PathBuf::from(body)),
    };
    let cpu_before_s = cpu_time_s(pid)?;
    let elapsed = load.run().await?;
    let cpu_s = cpu_time_s(pid)? - cpu_before_s;
    // Far below 2^52, so nothing is lost.
    #[allow(clippy::cast_precision_loss)]
    let calls = level.calls as f64;
    Ok(Round {
        calls_per_s: calls / elapsed.as_secs_f64(),
        cpu_us_a_call: cpu_s / calls * 1e6,
    })
}

/// h2load takes any gRPC answer for a good one, so the counter has to tell that all were.
fn check_counts(site: &Site, rounds: usize) -> anyhow::Result<()> {
    let sent: usize = LEVELS.iter().map(|level| level.calls * rounds).sum();
    let counted = site.counted(&scenario::header_key(), USER)?;
    if counted != sent as u64 {
        bail!("meshd counted {counted} of {sent} calls: some were answered with an error");
    }
    Ok(())
}

const USER: &str = "alice";

fn call() -> RateLimitRequest {
    let entry = Entry {
        key: scenario::header_key().into(),
        value: USER.into(),
    };
    let descriptor = RateLimitDescriptor {
        entries: vec![entry],
        ..Default::default()
    };
    RateLimitRequest {
        domain: scenario::DOMAIN.into(),
        descriptors: vec![descriptor],
        hits_addend: 0,
    }
}

/// A message as gRPC sends it: a byte that says it is not compressed, its length, itself.
fn framed(message: &RateLimitRequest) -> Vec<u8> {
    let message = message.encode_to_vec();
    // One descriptor is nowhere near four gigabytes.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framed_message_has_its_length_in_front() {
        let framed = framed(&call());
        assert_eq!(framed[0], 0);
        assert_eq!(
            u32::from_be_bytes(framed[1..5].try_into().unwrap()) as usize,
            framed.len() - 5
        );
        assert_eq!(RateLimitRequest::decode(&framed[5..]).unwrap(), call());
    }
}
