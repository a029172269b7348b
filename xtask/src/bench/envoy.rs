//! `cargo xtask bench envoy`.

use std::io::Write as _;

use anyhow::bail;

use super::instructions;
use super::scenario::{self, Scenario};
use super::throughput::{self, Figures};
use super::tool::{self, Tool};
use crate::artifacts::{self, Profile};
use crate::say;
use crate::site::{Site, Tools};
use crate::table::{Align, Table, grouped};

/// What our filter may cost above an empty module, for one descriptor.
const TARGET_ABOVE_EMPTY: i64 = 1_000;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only the filters whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Leave out the instruction counts, which take a few minutes a filter.
    #[arg(long)]
    no_instructions: bool,
    /// How many rounds of wrk a filter gets; 0 leaves throughput out.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// How long a round is.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seconds: usize,
}

/// Measures and prints.
///
/// # Errors
///
/// When a program is missing, does not start, or gives answers that spoil the measurement.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    tool::require(&[Tool::H2load, Tool::Valgrind, Tool::Wrk])?;
    let wanted = |it: &Scenario| {
        options
            .only
            .as_ref()
            .is_none_or(|only| it.name().contains(only))
    };
    let scenarios: Vec<Scenario> = Scenario::all().into_iter().filter(wanted).collect();
    if scenarios.is_empty() {
        bail!("no filter has that in its name");
    }
    say!("building meshd and the modules with optimisations");
    let (tools, empty_module_dir) = tokio::task::spawn_blocking(|| -> anyhow::Result<_> {
        let tools = Tools::prepare(Profile::Release)?;
        Ok((tools, artifacts::empty_module_dir(Profile::Release)?))
    })
    .await??;
    let site = Site::start(&tools, &scenario::rules()).await?;

    if !options.no_instructions {
        let mut counts = Vec::with_capacity(scenarios.len());
        for scenario in &scenarios {
            say!("counting instructions: {}", scenario.name());
            let count = instructions::a_request(*scenario, &site, &empty_module_dir).await?;
            counts.push((*scenario, i64::try_from(count)?));
        }
        let mut out = std::io::stdout().lock();
        write!(
            out,
            "\n{}\n{}",
            instruction_table(&counts),
            verdicts(&counts)
        )?;
        out.flush()?;
    }
    if options.rounds > 0 {
        let (rounds, seconds) = (options.rounds, options.seconds.max(1));
        let figures =
            throughput::measure(&scenarios, &site, &empty_module_dir, rounds, seconds).await?;
        let mut out = std::io::stdout().lock();
        write!(out, "\n{}", throughput_table(&scenarios, &figures))?;
        out.flush()?;
    }
    Ok(())
}

type Counts = [(Scenario, i64)];

const BY_HEADER: Scenario = Scenario::ModuleByHeader {
    descriptors: 1,
    answer_headers: false,
};

fn count_of(counts: &Counts, wanted: Scenario) -> Option<i64> {
    counts
        .iter()
        .find(|(scenario, _)| *scenario == wanted)
        .map(|(_, count)| *count)
}

/// What one scenario takes above another, if both were measured.
fn above(counts: &Counts, scenario: Scenario, base: Scenario) -> Option<i64> {
    Some(count_of(counts, scenario)? - count_of(counts, base)?)
}

/// A line a filter: instructions, what is above no filter and above an empty module, and how that
/// compares with Envoy's own filter, given a descriptor of the client's address.
fn instruction_table(counts: &Counts) -> Table {
    let mut table = Table::new(&[
        ("Envoy with", Align::Left),
        ("instructions a request", Align::Right),
        ("above no filter", Align::Right),
        ("above an empty module", Align::Right),
        ("of local_ratelimit's, address", Align::Right),
    ]);
    let yardstick = above(counts, Scenario::LocalByAddress, Scenario::NoFilter);
    for (scenario, count) in counts {
        let above = |base| above(counts, *scenario, base);
        let shown = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), signed);
        let share = match (above(Scenario::NoFilter), yardstick) {
            (Some(above), Some(yardstick)) if yardstick > 0 => ratio(above, yardstick),
            _ => "-".to_owned(),
        };
        table.row([
            scenario.name(),
            signed(*count),
            shown(above(Scenario::NoFilter)),
            shown(above(Scenario::EmptyModule).filter(|_| scenario.is_our_module())),
            share,
        ]);
    }
    table
}

/// Whether the targets are met, a line each; nothing about what was not measured.
fn verdicts(counts: &Counts) -> String {
    let none = Scenario::NoFilter;
    let targets = [
        (
            "one header, above an empty module",
            above(counts, BY_HEADER, Scenario::EmptyModule),
            Some(TARGET_ABOVE_EMPTY),
        ),
        (
            "one header, against local_ratelimit with one",
            above(counts, BY_HEADER, none),
            above(counts, Scenario::LocalByHeader, none),
        ),
        (
            "the address, against local_ratelimit with it",
            above(counts, Scenario::ModuleByAddress, none),
            above(counts, Scenario::LocalByAddress, none),
        ),
    ];
    let line = |(what, value, limit): (&str, Option<i64>, Option<i64>)| {
        let (value, limit) = (value?, limit?);
        let outcome = if value <= limit {
            format!("met, with {} to spare", signed(limit - value))
        } else {
            format!("missed by {}", signed(value - limit))
        };
        Some(format!(
            "{what}: {} of at most {}: {outcome}\n",
            signed(value),
            signed(limit)
        ))
    };
    targets.into_iter().filter_map(line).collect()
}

fn throughput_table(scenarios: &[Scenario], figures: &[Figures]) -> Table {
    let mut table = Table::new(&[
        ("Envoy with", Align::Left),
        ("requests/s", Align::Right),
        ("half within", Align::Right),
        ("99 % within", Align::Right),
    ]);
    for (scenario, figures) in scenarios.iter().zip(figures) {
        table.row([
            scenario.name(),
            format!("{:.0}", figures.requests_per_s),
            format!("{:.0} µs", figures.half_within.as_secs_f64() * 1e6),
            format!("{:.0} µs", figures.most_within.as_secs_f64() * 1e6),
        ]);
    }
    table
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

fn ratio(part: i64, whole: i64) -> String {
    // Instruction counts are far below 2^52, so nothing is lost.
    #[allow(clippy::cast_precision_loss)]
    let ratio = part as f64 / whole as f64;
    format!("{ratio:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [(Scenario, i64); 4] = [
        (Scenario::NoFilter, 242_900),
        (Scenario::EmptyModule, 247_550),
        (BY_HEADER, 248_450),
        (Scenario::LocalByAddress, 248_900),
    ];

    #[test]
    fn differences_and_ratios_stand_beside_the_counts() {
        let table = instruction_table(&COUNTS).to_string();
        let line = table
            .lines()
            .find(|line| line.starts_with("hivemind"))
            .unwrap();
        let cells: Vec<&str> = line
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            cells,
            ["hivemind, header", "248,450", "5,550", "900", "0.93"]
        );
    }

    #[test]
    fn targets_are_judged_as_far_as_they_were_measured() {
        assert_eq!(
            verdicts(&COUNTS),
            "one header, above an empty module: 900 of at most 1,000: met, with 100 to spare\n"
        );
        let slow = [(Scenario::EmptyModule, 100), (BY_HEADER, 1_200)];
        assert!(verdicts(&slow).contains("1,100 of at most 1,000: missed by 100"));
        assert_eq!(verdicts(&[]), "");
    }
}
