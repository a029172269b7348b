//! What came of a run.

use std::fmt;

use crate::bound::Overshoot;
use crate::failure::Failure;
use crate::network::Quality;
use crate::time::MILLISECOND_US;

/// Traffic of a node in a second, on average over nodes and seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Bytes sent, without IP and UDP headers.
    pub bytes: f64,
    /// Bytes sent, with them.
    pub bytes_with_headers: f64,
    /// Datagrams sent.
    pub datagrams: f64,
}

/// The result of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The scenario's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// The command that runs exactly this again.
    pub replay: String,
    /// Its nodes.
    pub nodes: usize,
    /// Its network, before anything went wrong.
    pub quality: Quality,
    /// Requests that were counted.
    pub requests: u64,
    /// The window that went furthest over its limit, by share of the limit, held against the staleness
    /// its decisions suffered from; all zero when none was ever counted in.
    pub overshoot: Overshoot,
    /// How long hits that mattered took to another node: median, microseconds.
    pub staleness_p50_us: u64,
    /// The same, 99th percentile.
    pub staleness_p99_us: u64,
    /// The longest.
    pub staleness_most_us: u64,
    /// Traffic while requests came.
    pub busy: Rate,
    /// Traffic once everything was quiet and all counts agreed.
    pub idle: Rate,
    /// How long it took from then on until all counts agreed, microseconds; `None` if it did not come
    /// to that.
    pub converged_us: Option<u64>,
    /// The fingerprint of everything that happened.
    pub trace: u64,
    /// Promises that were not kept.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    /// What the columns of [`Self::cells`] are.
    pub const COLUMNS: [&'static str; 10] = [
        "nodes",
        "delay ms",
        "loss %",
        "overshoot",
        "bound",
        "stale p50 ms",
        "p99 ms",
        "kB/s a node",
        "datagrams/s",
        "converged ms",
    ];

    /// The run as a row of a table.
    pub fn cells(&self) -> [String; 10] {
        [
            self.nodes.to_string(),
            format!("{:.2}", ms(self.quality.delay_us)),
            format!("{:.1}", self.quality.loss * 100.0),
            self.overshoot.beyond().to_string(),
            self.overshoot.bound.to_string(),
            format!("{:.1}", ms(self.staleness_p50_us)),
            format!("{:.1}", ms(self.staleness_p99_us)),
            format!("{:.1}", self.busy.bytes / 1_000.0),
            format!("{:.0}", self.busy.datagrams),
            self.converged_us
                .map_or_else(|| "-".to_owned(), |us| format!("{:.0}", ms(us))),
        ]
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / MILLISECOND_US as f64
}

impl fmt::Display for Report {
    /// One line, and below it each failure with the command that shows it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_good() { "ok  " } else { "FAIL" };
        write!(
            f,
            "{verdict} {} seed {}: {} nodes, {} requests, overshoot {} of {} (bound {}), \
             stale {:.1}/{:.1}/{:.1} ms (p50/p99/most), ",
            self.name,
            self.seed,
            self.nodes,
            self.requests,
            self.overshoot.beyond(),
            self.overshoot.limit,
            self.overshoot.bound,
            ms(self.staleness_p50_us),
            ms(self.staleness_p99_us),
            ms(self.staleness_most_us),
        )?;
        write!(
            f,
            "{:.0} B/s ({:.0} with headers) and {:.0} datagrams/s a node, idle {:.0} B/s, ",
            self.busy.bytes, self.busy.bytes_with_headers, self.busy.datagrams, self.idle.bytes,
        )?;
        match self.converged_us {
            Some(us) => write!(f, "converged in {:.0} ms", ms(us))?,
            None => write!(f, "did not converge")?,
        }
        if !self.is_good() {
            write!(f, "\n  again: {}", self.replay)?;
        }
        for failure in &self.failures {
            write!(f, "\n  {}", failure.to_string().replace('\n', "\n  "))?;
        }
        Ok(())
    }
}
