//! What must be true after a run.

use std::collections::BTreeMap;

use hivemind_mesh::drops::DropCause;
use hivemind_mesh::settings::Settings;
use hivemind_mesh::status::Status;

use crate::bound::Overshoot;
use crate::failure::{Difference, Failure};
use crate::host::Host;
use crate::tally::Tally;
use crate::time::SECOND_US;
use crate::traffic::Traffic;
use crate::world::World;

/// Bytes in any second that a node may send beyond its budget, because membership and the like are not
/// held back by it.
pub const CONTROL_BYTES: u64 = 64 << 10;

/// Bytes of acknowledgement that a node may send for each datagram it received in a second, beyond its
/// budget.
pub const ACKNOWLEDGEMENT_BYTES: u64 = 128;

/// Differences that are shown; of the rest only the number.
const SHOWN: usize = 8;

/// One key in one window, as it is and as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Whose key.
    pub key: String,
    /// The window's number.
    pub window: u32,
    /// Hits counted by actors that are there: every node must know of all of them.
    pub alive: u64,
    /// Hits counted by actors that are gone: nodes may know of any number of them, but of the same.
    pub gone: u64,
    /// Whether nodes can be held to the exact counts; otherwise they may have less.
    pub is_exact: bool,
    /// Whether hits were forgiven, so that nodes may have less, but all the same.
    pub is_reset: bool,
    /// What each node that runs, and is in this window, has in its region.
    pub readings: Vec<Reading>,
}

/// What a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which node.
    pub node: usize,
    /// Its own hits as its region has them.
    pub local: u64,
    /// The others' hits as its region has them, less those that were forgiven.
    pub remote: i64,
    /// Its own hits as they were counted.
    pub counted: u64,
}

/// Reads all regions and sets them beside the truth, for every window that is live at a node that runs.
pub fn agreements(world: &World) -> Vec<Agreement> {
    let (hosts, ledger, now_us) = (world.hosts(), world.ledger(), world.now_us());
    let mut regions = BTreeMap::new();
    for (node, host) in hosts
        .iter()
        .enumerate()
        .filter(|(_, host)| host.is_running())
    {
        for counter in host.region().counters(host.clock.now(now_us).unix_s()) {
            if let Some(key) = world.keys().find(counter.fingerprint) {
                let place = (key, counter.window.number(), node);
                regions.insert(place, (counter.local, counter.remote));
            }
        }
    }
    let clocks = hosts.iter().filter(|host| host.is_running());
    let fastest_us = clocks.map(|host| host.clock.now(now_us).unix_us).max();
    // To a clock that is a whole window behind another, what that one counts is of a window not near yet.
    let is_far_behind = |host: &Host, unit_s: u32| {
        let behind_us = fastest_us.unwrap_or(0) - host.clock.now(now_us).unix_us;
        behind_us >= u64::from(unit_s) * SECOND_US
    };
    let agreement = |(key, at, window): (usize, _, &crate::window_ledger::WindowLedger)| {
        let simulated = world.keys().get(key);
        let running = || {
            hosts
                .iter()
                .enumerate()
                .filter(|(_, host)| host.is_running())
        };
        let counted = |node| window.counted(ledger.actor_of(node));
        let alive = running().map(|(node, _)| counted(node)).sum();
        let reading = |(node, _)| {
            let place = (key, hivemind_shared::window::Window::number(at), node);
            let (local, remote) = regions.get(&place).copied().unwrap_or((0, 0));
            Reading {
                node,
                local,
                remote,
                counted: counted(node),
            }
        };
        Agreement {
            key: format!("{}={}", simulated.entry_key, simulated.entry_value),
            window: at.number(),
            alive,
            gone: window.total() - alive,
            is_exact: window.is_exact(),
            is_reset: window.is_reset && !window.is_restarted && !window.is_early,
            readings: running()
                .filter(|(_, host)| host.window(now_us, simulated) == at)
                .filter(|(_, host)| !is_far_behind(host, at.period().seconds()))
                .map(reading)
                .collect(),
        }
    };
    ledger.iter().map(agreement).collect()
}

/// Every live count of every node is the truth.
pub fn counts(agreements: &[Agreement]) -> Option<Failure> {
    let mut first = Vec::new();
    let mut count = 0;
    for agreement in agreements {
        for difference in differences(agreement) {
            count += 1;
            if first.len() < SHOWN {
                first.push(difference);
            }
        }
    }
    (count > 0).then_some(Failure::Counts { first, count })
}

fn differences(agreement: &Agreement) -> impl Iterator<Item = Difference> + '_ {
    let &Agreement {
        alive,
        gone,
        is_exact,
        is_reset,
        ..
    } = agreement;
    let all = alive + gone;
    let total_of = |reading: &Reading| reading.local.saturating_add_signed(reading.remote);
    let totals = if is_exact || is_reset {
        // What is known of actors that are gone, or was forgiven, is the same everywhere: what most nodes have
        // is right.
        let least = if is_reset { 0 } else { alive };
        let agreed = most_common(agreement.readings.iter().map(total_of)).clamp(least, all);
        agreed..=agreed
    } else {
        0..=all
    };
    agreement.readings.iter().flat_map(move |reading| {
        let least = if is_exact { reading.counted } else { 0 };
        let locals = least..=reading.counted;
        let checks = [
            ("local", reading.local, locals),
            ("total", total_of(reading), totals.clone()),
        ];
        checks
            .into_iter()
            .filter(|(_, has, should)| !should.contains(has))
            .map(|(what, has, should)| Difference {
                node: reading.node,
                key: agreement.key.clone(),
                window: agreement.window,
                what,
                has,
                should,
            })
    })
}

/// The number that comes most often, the largest of those that do; 0 without any.
fn most_common(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut times = BTreeMap::new();
    for number in numbers {
        *times.entry(number).or_insert(0) += 1;
    }
    let most = times
        .into_iter()
        .max_by_key(|&(number, times)| (times, number));
    most.map_or(0, |(number, _)| number)
}

/// Nothing went further over its limit than the formula allows. Of many failures the worst is reported.
pub fn overshoots(overshoots: impl IntoIterator<Item = (String, Overshoot)>) -> Option<Failure> {
    overshoots
        .into_iter()
        .filter(|(_, overshoot)| overshoot.is_broken())
        .max_by_key(|(_, overshoot)| overshoot.beyond() - overshoot.bound)
        .map(|(place, overshoot)| Failure::Overshoot { place, overshoot })
}

/// Nobody was refused while all nodes together were within the limit. Of many failures the worst is
/// reported.
pub fn early(windows: impl IntoIterator<Item = (String, Tally)>) -> Option<Failure> {
    let worst = windows.into_iter().max_by_key(|(_, tally)| tally.early);
    worst
        .filter(|(_, tally)| tally.early > 0)
        .map(|(place, tally)| Failure::Early {
            place,
            hits: tally.early,
        })
}

/// The longest way of a hit that mattered stays within what is allowed.
pub fn staleness(longest_us: u64, allowed_us: u64) -> Option<Failure> {
    (longest_us > allowed_us).then_some(Failure::Stale {
        longest_us,
        allowed_us,
    })
}

/// Nobody sent more than the budget, or larger datagrams than allowed, or to nobody. Of many failures
/// of one kind the first is reported.
pub fn traffic(traffic: &Traffic, settings: &Settings) -> impl Iterator<Item = Failure> {
    let budget = settings.send_bytes_per_s;
    // A node's own seconds begin when they like: what it saved up in the one before may come on top.
    let burst = budget / 8;
    let over = traffic.seconds().find_map(|(node, second, sent)| {
        let acknowledgements = sent.received_datagrams * ACKNOWLEDGEMENT_BYTES;
        let allowed_bytes = budget + burst + CONTROL_BYTES + acknowledgements;
        (sent.sent_bytes > allowed_bytes).then_some(Failure::Traffic {
            node,
            second,
            sent_bytes: sent.sent_bytes,
            allowed_bytes,
        })
    });
    let allowed_bytes = settings.datagram_bytes_max;
    let large = (traffic.largest_bytes() > allowed_bytes).then_some(Failure::Large {
        bytes: traffic.largest_bytes(),
        allowed_bytes,
    });
    let nowhere = (traffic.nowhere() > 0).then_some(Failure::Nowhere {
        datagrams: traffic.nowhere(),
    });
    over.into_iter().chain(large).chain(nowhere)
}

/// Every request found room to be counted in.
pub fn uncounted(requests: u64) -> Option<Failure> {
    (requests > 0).then_some(Failure::Uncounted { requests })
}

/// Causes of drops that a network like this one and peers like these can be to blame for: copies, and
/// clocks that differ.
const HARMLESS_DROPS: [DropCause; 2] = [DropCause::Replayed, DropCause::OutsideWindows];

/// What a mesh keeps is bounded by its settings and by how many `actors` there were, and it dropped
/// nothing that an honest peer sent.
pub fn status(node: usize, status: &Status, settings: &Settings, actors: u32) -> Vec<Failure> {
    let actors = actors as usize;
    let kept = [
        ("keys", status.keys, settings.keys_max),
        ("actors", status.actors, actors),
        ("peers", status.peers.len(), actors),
    ];
    let memory = kept
        .into_iter()
        .filter(|(_, has, allowed)| has > allowed)
        .map(|(what, has, allowed)| Failure::Memory {
            node,
            what,
            has,
            allowed,
        });
    let is_harmless = |cause: &str| {
        HARMLESS_DROPS
            .iter()
            .any(|harmless| harmless.name() == cause)
    };
    let drops = status
        .drops
        .iter()
        .filter(|drop| drop.count > 0 && !is_harmless(&drop.cause))
        .map(|drop| Failure::Dropped {
            node,
            cause: drop.cause.clone(),
            count: drop.count,
        });
    memory.chain(drops).collect()
}
