//! Every scenario at its small size, and some made up ones, with fixed seeds. They need the real mesh.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use hivemind_simulator::draw::draw;
use hivemind_simulator::named::{self, Size, named};
use hivemind_simulator::report::Report;
use hivemind_simulator::run::run;
use hivemind_simulator::scenario::Scenario;

/// Runs a scenario; the test fails with everything the report says.
fn keeps_its_promises(scenario: &Scenario) -> Report {
    let report = run(scenario).expect("the scenario is valid");
    assert!(report.is_good(), "{report}");
    report
}

fn small(name: &str) -> Report {
    let mut last = None;
    for seed in [1, 2] {
        let scenario = named(name, seed, Size::Small).expect("there is such a scenario");
        last = Some(keeps_its_promises(&scenario));
    }
    last.expect("there was a run")
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]

            fn $name() {
                small(stringify!($name));
            }
        )*
    };
}

scenarios! {
    lossy wan partition asymmetric crashes lost_regions join_storm rolling_restart resets clock_skew
    clock_steps hundred_nodes
}

#[test]

fn lan() {
    let report = small("lan");
    assert!(report.requests > 10_000, "{report}");
    assert!(
        report.staleness_p50_us > 0,
        "nothing was measured: {report}"
    );
}

#[test]

fn idle_keys_cost_about_nothing() {
    let report = small("idle_keys");
    assert!(report.idle.bytes < 2_000.0, "{report}");
}

#[test]

fn whatever_a_seed_draws() {
    for seed in 1..=12 {
        keeps_its_promises(&draw(seed, 12));
    }
}

#[test]

fn the_table_of_the_documentation() {
    for scenario in named::table(1, Size::Small) {
        keeps_its_promises(&scenario);
    }
}

#[test]

fn the_same_seed_is_the_same_run_datagram_by_datagram() {
    let trace = |seed| {
        let scenario = named("crashes", seed, Size::Small).expect("there is such a scenario");
        keeps_its_promises(&scenario).trace
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
