//! What the demo saw, as a table, and whether it is what the rules promise.

use anyhow::bail;

use super::burst::Outcome;
use crate::load::Report;
use crate::table::{Align, Table, grouped};

/// The outcomes of all bursts.
#[derive(Debug, Default)]
pub(super) struct Verdict(Vec<Outcome>);

impl Verdict {
    /// Takes down one outcome.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }

    /// A line a path, and one for both together where both were used.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&[
            ("user", Align::Left),
            ("limit", Align::Left),
            ("path", Align::Left),
            ("sent", Align::Right),
            ("passed", Align::Right),
            ("limited", Align::Right),
            ("rules let pass", Align::Right),
            ("counted", Align::Right),
        ]);
        for outcome in &self.0 {
            let limit = format!("{}/{}", number(outcome.burst.limit), outcome.burst.unit);
            let mut lead = [outcome.user.clone(), limit];
            let sums = [number(outcome.promised()), grouped(outcome.counted)];
            let mut row = |path: &str, sent, report: &Report, sums: &[String]| {
                let head = std::mem::take(&mut lead)
                    .into_iter()
                    .chain([path.to_owned()]);
                let numbers = [sent, report.passed(), report.limited()].map(number);
                table.row(head.chain(numbers).chain(sums.iter().cloned()));
            };
            let both = outcome.paths.len() > 1;
            for (path, sent, report) in &outcome.paths {
                row(path, *sent, report, if both { &[] } else { &sums });
            }
            if both {
                row("both", outcome.sent(), &outcome.report(), &sums);
            }
        }
        table
    }

    /// Whether every number is right.
    ///
    /// # Errors
    ///
    /// One that lists the numbers that are not.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let wrong: Vec<String> = self.0.iter().flat_map(problems).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        bail!(
            "the numbers are not what the rules promise:\n  {}",
            wrong.join("\n  ")
        )
    }
}

fn problems(outcome: &Outcome) -> Vec<String> {
    let report = outcome.report();
    let (sent, promised) = (outcome.sent(), outcome.promised());
    let expectations = [
        ("passed", report.passed(), promised),
        ("were limited", report.limited(), sent - promised),
        (
            "got another answer or none",
            sent - report.passed() - report.limited(),
            0,
        ),
        ("reached the service", outcome.reached, promised),
        (
            "were counted in the region",
            usize::try_from(outcome.counted).unwrap_or(usize::MAX),
            sent,
        ),
    ];
    expectations
        .into_iter()
        .filter(|(_, seen, expected)| seen != expected)
        .map(|(what, seen, expected)| {
            format!(
                "{}: {} requests {what}, not {}",
                outcome.user,
                number(seen),
                number(expected)
            )
        })
        .collect()
}

fn number(number: usize) -> String {
    grouped(number as u64)
}
