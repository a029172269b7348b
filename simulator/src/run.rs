//! Running a scenario from its beginning to the verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hivemind_shared::window::Window;

use crate::bound::Overshoot;
use crate::checks;
use crate::failure::Failure;
use crate::keys::SimulatedKey;
use crate::report::{Rate, Report};
use crate::scenario::{Scenario, WARM_UP_US};
use crate::tally::Tally;
use crate::time::SECOND_US;
use crate::world::{World, WorldError};

/// Runs a scenario and checks what must be true of it. A panic is a failure like others.
///
/// # Errors
/// When the scenario itself is wrong, or there is no memory.
pub fn run(scenario: &Scenario) -> Result<Report, WorldError> {
    match unless_panic(|| go(scenario)) {
        Ok(finished) => finished,
        Err(failure) => Ok(Report {
            failures: vec![failure],
            ..blank(scenario)
        }),
    }
}

/// Does something and makes a panic in it a failure. Whatever it was about must not be used after one.
fn unless_panic<T>(act: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Failure::Panic {
            message: text.unwrap_or("without a message").to_owned(),
        }
    })
}

fn go(scenario: &Scenario) -> Result<Report, WorldError> {
    let mut world = World::new(scenario)?;
    world.run_until(scenario.quiet_from_us())?;
    let converged_us = world.converge(scenario.converge_within_us)?;
    let quiet_us = world.now_us();
    world.run_until(quiet_us + scenario.rest_us)?;
    let (ledger, settings) = (world.ledger(), &scenario.settings);
    let stale = &ledger.staleness;
    let mut failures = Vec::new();
    if converged_us.is_none() {
        failures.push(Failure::Slow {
            within_us: scenario.converge_within_us,
        });
    }
    failures.extend(checks::counts(&checks::agreements(&world)));
    let suffered = overshoots(&world, scenario, None);
    let worst = suffered.iter().map(|(_, overshoot)| *overshoot);
    let share =
        |overshoot: &Overshoot| overshoot.beyond() * 1_000_000 / u64::from(overshoot.limit.max(1));
    let worst = worst.max_by_key(share).unwrap_or_default();
    failures.extend(checks::overshoots(suffered));
    failures.extend(checks::early(tallies(&world)));
    if let Some(prompt_us) = scenario.prompt_us() {
        failures.extend(checks::overshoots(overshoots(
            &world,
            scenario,
            Some(prompt_us),
        )));
        let allowed_us = settings.max_staleness_us + scenario.stride_us() + prompt_us;
        failures.extend(checks::staleness(stale.most_us(), allowed_us));
    }
    failures.extend(checks::traffic(world.traffic(), settings));
    failures.extend(checks::uncounted(ledger.uncounted));
    // A panic here leaves the other findings to be read.
    match unless_panic(|| statuses(&world, scenario)) {
        Ok(found) => failures.extend(found),
        Err(failure) => failures.push(failure),
    }
    Ok(Report {
        requests: ledger.requests,
        overshoot: worst,
        staleness_p50_us: stale.quantile_us(0.5),
        staleness_p99_us: stale.quantile_us(0.99),
        staleness_most_us: stale.most_us(),
        busy: rate(&world, WARM_UP_US, scenario.traffic_until_us),
        idle: rate(&world, quiet_us, world.now_us()),
        converged_us,
        trace: world.trace().number(),
        failures,
        ..blank(scenario)
    })
}

/// Every window held against the formula, but for those whose counts began again, and those that a
/// clock far ahead began: what others have seen of them need not last until they get there.
fn overshoots(
    world: &World,
    scenario: &Scenario,
    staleness_us: Option<u64>,
) -> Vec<(String, Overshoot)> {
    let actors = world.ledger().actors();
    let windows = world.ledger().iter();
    windows
        .filter(|(_, _, window)| window.is_exact())
        .map(|(place, at, window)| {
            let key = world.keys().get(place);
            let epsilon = scenario.settings.epsilon;
            let overshoot = Overshoot::of(window, key.limit, actors, epsilon, staleness_us);
            (name_of(key, at), overshoot)
        })
        .collect()
}

/// What the real decisions let pass in every window, with the same exceptions.
fn tallies(world: &World) -> impl Iterator<Item = (String, Tally)> + '_ {
    let windows = world.ledger().iter();
    windows
        .filter(|(_, _, window)| window.is_exact())
        .map(|(place, at, window)| {
            let [real, ..] = window.tallies();
            (name_of(world.keys().get(place), at), real)
        })
}

/// A window of a key in words.
fn name_of(key: &SimulatedKey, at: Window) -> String {
    format!(
        "{}={}, {} {}",
        key.entry_key,
        key.entry_value,
        key.period,
        at.number()
    )
}

/// What every mesh that runs says about itself.
fn statuses(world: &World, scenario: &Scenario) -> Vec<Failure> {
    let actors = world.ledger().actors();
    let hosts = world.hosts().iter().enumerate();
    hosts
        .filter_map(|(node, host)| Some((node, host.status(world.now_us())?)))
        .flat_map(|(node, status)| checks::status(node, &status, &scenario.settings, actors))
        .collect()
}

fn rate(world: &World, from_us: u64, until_us: u64) -> Rate {
    let from_us = from_us.next_multiple_of(SECOND_US);
    let until_us = until_us / SECOND_US * SECOND_US;
    if from_us >= until_us {
        return Rate::default();
    }
    let sum = world.traffic().sum(from_us, until_us);
    let node_seconds = (world.hosts().len() as u64 * ((until_us - from_us) / SECOND_US)) as f64;
    Rate {
        bytes: sum.sent_bytes as f64 / node_seconds,
        bytes_with_headers: sum.sent_bytes_with_headers() as f64 / node_seconds,
        datagrams: sum.sent_datagrams as f64 / node_seconds,
    }
}

fn blank(scenario: &Scenario) -> Report {
    Report {
        name: scenario.name.clone(),
        seed: scenario.seed,
        replay: scenario.replay.clone(),
        nodes: scenario.nodes.len(),
        quality: scenario.quality,
        requests: 0,
        overshoot: Overshoot::default(),
        staleness_p50_us: 0,
        staleness_p99_us: 0,
        staleness_most_us: 0,
        busy: Rate::default(),
        idle: Rate::default(),
        converged_us: None,
        trace: 0,
        failures: Vec::new(),
    }
}
