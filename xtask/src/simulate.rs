//! `cargo xtask simulate`: many meshes on a network that misbehaves, in virtual time.

use std::io::Write;
use std::time::Instant;

use anyhow::{bail, ensure};
use hivemind_simulator::aged::{self, Weighed};
use hivemind_simulator::draw::{self, draw};
use hivemind_simulator::named::{self, NAMES, Size, named};
use hivemind_simulator::report::Report;
use hivemind_simulator::run::run as simulate;
use hivemind_simulator::scenario::Scenario;

use crate::table::{Align, Table};

/// The scenario that is a table of many.
const TABLE: &str = "table";

/// The word for every scenario with a name.
const ALL: &str = "all";

/// What to simulate.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Which scenario: one of those that --list prints, `random`, `all`, `table` for the numbers in the
    /// documentation, or `aged` for what ageing the view of the others would do.
    #[arg(long, value_name = "NAME", default_value = draw::NAME)]
    pub scenario: String,
    /// The seed of everything random. The same seed is the same run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many runs, each with the next seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub runs: u64,
    /// The most nodes a random scenario has.
    #[arg(long, value_name = "N", default_value_t = draw::NODES_MAX)]
    pub nodes: usize,
    /// Few nodes and little traffic, as the tests have it.
    #[arg(long)]
    pub small: bool,
    /// Print the names of the scenarios.
    #[arg(long)]
    pub list: bool,
}

impl Options {
    fn size(&self) -> Size {
        if self.small { Size::Small } else { Size::Full }
    }

    /// The scenarios of one seed.
    fn scenarios(&self, seed: u64) -> anyhow::Result<Vec<Scenario>> {
        let size = self.size();
        Ok(match self.scenario.as_str() {
            TABLE => named::table(seed, size),
            ALL => NAMES
                .iter()
                .filter_map(|name| named(name, seed, size))
                .collect(),
            draw::NAME => vec![draw(seed, self.nodes)],
            name => match named(name, seed, size) {
                Some(scenario) => vec![scenario],
                None => bail!("there is no scenario `{name}`; --list prints those there are"),
            },
        })
    }
}

/// Runs scenarios and prints a line for each.
///
/// # Errors
///
/// When a run does not keep a promise, and when there is no such scenario.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.nodes >= 2, "--nodes must be 2 at least");
    let mut out = std::io::stdout().lock();
    if options.list {
        for name in NAMES.iter().chain(&[draw::NAME, ALL, TABLE, aged::NAME]) {
            writeln!(out, "{name}")?;
        }
        return Ok(());
    }
    if options.scenario == aged::NAME {
        return run_aged(options, &mut out);
    }
    let mut table = Table::new(&Report::COLUMNS.map(|name| (name, Align::Right)));
    let (mut runs, mut failed) = (0_u64, 0_u64);
    for number in 0..options.runs {
        for scenario in options.scenarios(options.seed.wrapping_add(number))? {
            let begin = Instant::now();
            let report = simulate(&scenario)?;
            writeln!(out, "{report} [{:.1} s]", begin.elapsed().as_secs_f64())?;
            table.row(report.cells());
            runs += 1;
            failed += u64::from(!report.is_good());
        }
    }
    if options.scenario == TABLE {
        writeln!(out, "\n{table}")?;
    }
    out.flush()?;
    ensure!(failed == 0, "{failed} of {runs} runs broke a promise");
    Ok(())
}

/// Weighs aged views against the real decisions and prints a table.
fn run_aged(options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut early = 0;
    for number in 0..options.runs {
        let seed = options.seed.wrapping_add(number);
        let mut columns = Weighed::COLUMNS.map(|name| (name, Align::Right));
        columns[0].1 = Align::Left;
        let mut table = Table::new(&columns);
        for case in aged::cases(seed, options.size()) {
            let weighed = aged::weigh(case)?;
            early += weighed.outcomes[0].early.sum;
            table.row(weighed.cells());
        }
        writeln!(out, "Seed {seed}; hits of a window, mean / most\n\n{table}")?;
    }
    writeln!(out, "[{:.1} s]", begin.elapsed().as_secs_f64())?;
    out.flush()?;
    ensure!(early == 0, "{early} hits were really refused too early");
    Ok(())
}
