//! Throughput and latency through Envoy, by wrk, in rounds that take turns: what disturbs one
//! filter's round disturbs its neighbours' as well.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::h2load::duration;
use super::median;
use super::scenario::{HEADER, LISTENER, Scenario};
use super::tool::Tool;
use crate::say;
use crate::site::Site;

/// Connections wrk keeps busy.
const CONNECTIONS: usize = 16;

/// What wrk saw, each figure the median of all rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) requests_per_s: f64,
    pub(super) half_within: Duration,
    pub(super) most_within: Duration,
}

/// One round of wrk.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    requests_per_s: f64,
    half_within: Duration,
    most_within: Duration,
}

/// Runs `rounds` rounds of `seconds` each over every scenario, and hands back a line a scenario.
pub(super) async fn measure(
    scenarios: &[Scenario],
    site: &Site,
    empty_module_dir: &Path,
    rounds: usize,
    seconds: usize,
) -> anyhow::Result<Vec<Figures>> {
    let mut proxies = Vec::with_capacity(scenarios.len());
    for (number, scenario) in scenarios.iter().enumerate() {
        let mut plan = scenario.plan(site, empty_module_dir)?;
        plan.name = format!("envoy-{number}");
        proxies.push(site.start_proxy(&plan).await?);
    }
    let mut seen: Vec<Vec<Round>> = vec![Vec::new(); scenarios.len()];
    for round in 1..=rounds {
        say!("throughput, round {round} of {rounds}");
        for (proxy, seen) in proxies.iter().zip(&mut seen) {
            let arguments = [
                "--threads=1".to_owned(),
                format!("--connections={CONNECTIONS}"),
                format!("--duration={seconds}s"),
                "--latency".to_owned(),
                format!("--header={HEADER}"),
                format!("http://{}/", proxy.listener(LISTENER)?),
            ];
            let output = Tool::Wrk.run(&arguments).await?;
            seen.push(
                read(&output).with_context(|| format!("cannot read wrk's output:\n{output}"))?,
            );
        }
    }
    Ok(seen.iter().map(|rounds| figures(rounds)).collect())
}

fn figures(rounds: &[Round]) -> Figures {
    let middle = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let time = |figure| Duration::try_from_secs_f64(middle(figure)).unwrap_or_default();
    Figures {
        requests_per_s: middle(|round| round.requests_per_s),
        half_within: time(|round| round.half_within.as_secs_f64()),
        most_within: time(|round| round.most_within.as_secs_f64()),
    }
}

/// Reads wrk's report. None when a figure is missing, or when an answer was not a good one.
fn read(output: &str) -> Option<Round> {
    let value = |name: &str| {
        output
            .lines()
            .find_map(|line| line.trim().strip_prefix(name))
    };
    if value("Non-2xx or 3xx responses:").is_some() || value("Socket errors:").is_some() {
        return None;
    }
    Some(Round {
        requests_per_s: value("Requests/sec:")?.trim().parse().ok()?,
        half_within: duration(value("50%")?)?,
        most_within: duration(value("99%")?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Running 1s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Latency Distribution
     50%    1.25ms
     75%    2.00ms
     90%    3.00ms
     99%  910.00us
  1000 requests in 1.00s, 120.00KB read
Requests/sec:   1000.50
Transfer/sec:    120.00KB
";

    #[test]
    fn a_report_is_read() {
        let round = read(REPORT).unwrap();
        assert_eq!(round.half_within, Duration::from_micros(1_250));
        assert_eq!(round.most_within, Duration::from_micros(910));
        assert!(round.requests_per_s.total_cmp(&1000.5).is_eq());
    }

    #[test]
    fn a_round_with_bad_answers_does_not_count() {
        assert_eq!(
            read(&format!("{REPORT}  Non-2xx or 3xx responses: 3\n")),
            None
        );
        assert_eq!(
            read(&format!("{REPORT}  Socket errors: connect 0, read 1\n")),
            None
        );
    }
}
