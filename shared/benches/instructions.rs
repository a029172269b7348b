//! What a decision costs in instructions, which does not depend on the machine's mood:
//! `cargo bench -p hivemind-shared --bench instructions`.
//!
//! The benchmark runs itself under valgrind twice for each scenario, with different numbers of
//! decisions, and divides the difference: setting the scenario up costs the same both times.

mod scenarios;

use std::io::Write;
use std::process::{Command, ExitCode};

use hivemind_shared::descriptor::Entry;
use scenarios::{Asker, Growth, address, full_region, new_values, region, region_of_rules};

const SHORT: u64 = 1_000;
const LONG: u64 = 11_000;

/// A scenario's name and what it does so many times.
type Scenario = (&'static str, fn(u64));

const SCENARIOS: [Scenario; 20] = [
    ("one descriptor, hot", |times| {
        let owned = region(1_000, 1);
        let mut asker = Asker::new(&owned);
        let value = address(0);
        for _ in 0..times {
            let _ = std::hint::black_box(asker.ask(&value));
        }
    }),
    ("four descriptors, hot", |times| {
        let owned = region(1_000, 4);
        let mut asker = Asker::new(&owned);
        let values = [0, 1, 2, 3].map(address);
        for _ in 0..times {
            let _ = std::hint::black_box(asker.ask_four(&values));
        }
    }),
    ("one descriptor, 100000 live keys", |times| {
        let owned = region(100_000, 100_000);
        let mut asker = Asker::new(&owned);
        let values: Vec<String> = (0..100_000)
            .map(|at| address((at * 7_919 + 13) % 100_000))
            .collect();
        for value in values
            .iter()
            .cycle()
            .take(usize::try_from(times).unwrap_or(0))
        {
            let _ = std::hint::black_box(asker.ask(value));
        }
    }),
    ("no rule matches", |times| {
        let owned = region(1_000, 1);
        let mut asker = Asker::new(&owned);
        let value = address(0);
        for _ in 0..times {
            let _ = std::hint::black_box(asker.ask_key("other", &value));
        }
    }),
    ("a new key in a full table", |times| {
        let owned = full_region();
        let mut asker = Asker::new(&owned);
        let values = new_values();
        for value in values
            .iter()
            .cycle()
            .take(usize::try_from(times).unwrap_or(0))
        {
            let _ = std::hint::black_box(asker.ask_key("full", value));
        }
    }),
    ("10 rules: values of a key", |times| {
        many_rules(Growth::Values, 10, times);
    }),
    ("1,000 rules: values of a key", |times| {
        many_rules(Growth::Values, 1_000, times);
    }),
    ("100,000 rules: values of a key", |times| {
        many_rules(Growth::Values, 100_000, times);
    }),
    ("10 rules: keys", |times| {
        many_rules(Growth::Keys, 10, times);
    }),
    ("1,000 rules: keys", |times| {
        many_rules(Growth::Keys, 1_000, times);
    }),
    ("100,000 rules: keys", |times| {
        many_rules(Growth::Keys, 100_000, times);
    }),
    ("10 rules: two levels", |times| {
        many_rules(Growth::Nested, 10, times);
    }),
    ("1,000 rules: two levels", |times| {
        many_rules(Growth::Nested, 1_000, times);
    }),
    ("100,000 rules: two levels", |times| {
        many_rules(Growth::Nested, 100_000, times);
    }),
    ("10 rules: patterns with a prefix", |times| {
        many_rules(Growth::Prefixes, 10, times);
    }),
    ("100 rules: patterns with a prefix", |times| {
        many_rules(Growth::Prefixes, 100, times);
    }),
    ("1,000 rules: patterns with a prefix", |times| {
        many_rules(Growth::Prefixes, 1_000, times);
    }),
    ("10 rules: patterns with a suffix", |times| {
        many_rules(Growth::Suffixes, 10, times);
    }),
    ("100 rules: patterns with a suffix", |times| {
        many_rules(Growth::Suffixes, 100, times);
    }),
    ("1,000 rules: patterns with a suffix", |times| {
        many_rules(Growth::Suffixes, 1_000, times);
    }),
];

/// Asks for the last of so many rules.
fn many_rules(growth: Growth, rules: u32, times: u64) {
    let (owned, asked) = region_of_rules(growth, rules);
    let entries: Vec<_> = asked
        .iter()
        .map(|(key, value)| Entry::new(key, value))
        .collect();
    let mut asker = Asker::new(&owned);
    for _ in 0..times {
        let _ = std::hint::black_box(asker.ask_entries(&entries));
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, scenario, times] = arguments.as_slice()
        && flag == "--run"
    {
        let found = scenario
            .parse()
            .ok()
            .and_then(|at: usize| SCENARIOS.get(at));
        if let (Some((_, run)), Ok(times)) = (found, times.parse()) {
            run(times);
            return ExitCode::SUCCESS;
        }
        return ExitCode::FAILURE;
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(
        out,
        "\ninstructions a decision (valgrind, {SHORT} and {LONG} decisions)\n"
    );
    for (at, (name, _)) in SCENARIOS.iter().enumerate() {
        match (instructions(at, SHORT), instructions(at, LONG)) {
            (Ok(short), Ok(long)) => {
                let each = long.saturating_sub(short) / (LONG - SHORT);
                let _ = writeln!(out, "{name:<40} {each:>7}");
            }
            (Err(problem), _) | (_, Err(problem)) => {
                let _ = writeln!(out, "{name:<40} failed: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Instructions this program executes for a scenario.
fn instructions(scenario: usize, times: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(program)
        .args(["--run", &scenario.to_string(), &times.to_string()])
        .output()
        .map_err(|error| {
            format!("cannot run valgrind ({error}); install it with your package manager")
        })?;
    let report = String::from_utf8_lossy(&output.stderr);
    report
        .lines()
        .find_map(|line| {
            line.split_once("I   refs:")
                .or_else(|| line.split_once("I refs:"))
        })
        .and_then(|(_, count)| count.trim().replace(',', "").parse().ok())
        .ok_or_else(|| format!("valgrind printed no instruction count:\n{report}"))
}
