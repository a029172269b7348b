//! Daemons of a cluster that are killed, frozen, or lose their region, while hits are counted.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hivemind_mesh::status::{PeerState, PeerStatus, Status};
use hivemind_tests::cluster::{
    NO_LIMIT, agree_for_good_on, agree_on, all_ready, all_see_all, cluster, count_everywhere,
    counted_here, in_lab, key_files, load_on, member, peers_until, present, sees, stop_counting,
    user, write_keys,
};
use serde_json::json;
use xtask::lab::Counts;
use xtask::load::Report;
use xtask::site::MODULE;
use xtask::wait::{PATIENCE, until_ok};

#[test]
fn no_count_is_lost_when_any_daemon_is_killed() -> anyhow::Result<()> {
    in_lab("no_count_is_lost_when_any_daemon_is_killed", async || {
        let lab = cluster(3, NO_LIMIT).await?;
        let key = user("alice");
        let counting = count_everywhere(&lab.nodes, &key)?;
        for victim in lab.nodes.iter().chain(&lab.nodes[..1]) {
            let counted = victim.worker().counts(&key)?.local;
            counted_here(victim, &key, counted + 50).await?;
            victim.kill().await?;
            let counted = victim.worker().counts(&key)?.local;
            counted_here(victim, &key, counted + 50).await?;
            victim.start().await?;
        }
        let hits = stop_counting(counting);
        agree_for_good_on(&lab.nodes, &key, hits).await
    })
}

#[test]
fn a_host_that_lost_its_region_gets_its_counts_back() -> anyhow::Result<()> {
    in_lab(
        "a_host_that_lost_its_region_gets_its_counts_back",
        async || {
            let lab = cluster(3, NO_LIMIT).await?;
            let key = user("bob");
            for node in &lab.nodes {
                node.worker().hits(&key, 10)?;
            }
            agree_on(&lab.nodes, &key, 30).await?;
            let unlucky = &lab.nodes[1];
            unlucky.kill().await?;
            std::fs::remove_file(unlucky.region())?;
            unlucky.start().await?;
            agree_for_good_on(&lab.nodes, &key, 30).await?;
            // What it counted before is somebody else's now: another actor's.
            let counts = unlucky.worker().counts(&key)?;
            assert_eq!(
                counts,
                Counts {
                    local: 0,
                    remote: 30
                }
            );
            unlucky.worker().hits(&key, 5)?;
            agree_for_good_on(&lab.nodes, &key, 35).await
        },
    )
}

#[test]
fn a_rolling_restart_loses_no_count_and_makes_no_other_host_unready() -> anyhow::Result<()> {
    let name = "a_rolling_restart_loses_no_count_and_makes_no_other_host_unready";
    in_lab(name, async || {
        let lab = cluster(3, NO_LIMIT).await?;
        let key = user("carol");
        let counting = count_everywhere(&lab.nodes, &key)?;
        for (index, node) in lab.nodes.iter().enumerate() {
            let others = || lab.nodes.iter().enumerate().filter(|it| it.0 != index);
            let mut restart = pin!(async {
                assert!(node.stop().await?.success());
                node.start().await?;
                sees(node, 2).await
            });
            loop {
                tokio::select! {
                    restarted = &mut restart => break drop(restarted?),
                    ready = all_ready(others().map(|it| it.1)) => ready?,
                }
            }
        }
        all_ready(&lab.nodes).await?;
        let hits = stop_counting(counting);
        agree_for_good_on(&lab.nodes, &key, hits).await
    })
}

#[test]
fn a_daemon_that_was_frozen_until_it_was_given_up_comes_back() -> anyhow::Result<()> {
    let name = "a_daemon_that_was_frozen_until_it_was_given_up_comes_back";
    in_lab(name, async || {
        let lab = cluster(3, NO_LIMIT).await?;
        let key = user("dave");
        let counting = count_everywhere(&lab.nodes, &key)?;
        lab.nodes[2].freeze().await?;
        sees(&lab.nodes[0], 1).await?;
        sees(&lab.nodes[1], 1).await?;
        all_ready(&lab.nodes[..2]).await?;
        lab.nodes[2].thaw().await?;
        all_see_all(&lab.nodes).await?;
        let hits = stop_counting(counting);
        agree_for_good_on(&lab.nodes, &key, hits).await
    })
}

#[test]
fn a_host_that_comes_back_at_another_address_is_found_there() -> anyhow::Result<()> {
    /// Longer than it takes the others to find out that nobody is at the old address any more.
    const LATE_NEWS: Duration = Duration::from_secs(5);
    let name = "a_host_that_comes_back_at_another_address_is_found_there";
    in_lab(name, async || {
        let lab = cluster(3, NO_LIMIT).await?;
        let key = user("frank");
        let counting = count_everywhere(&lab.nodes, &key)?;
        let [first, moving, third] = &lab.nodes[..] else {
            unreachable!("three hosts");
        };
        let actor = moving.peers().await?.actor;
        let mut moved = moving.mesh_address();
        let [keys, ..] = key_files()?;
        for is_killed in [true, false] {
            if is_killed {
                moving.kill().await?;
            } else {
                assert!(moving.stop().await?.success());
            }
            moved.set_port(moved.port() + 1);
            let mut section = member(&lab, "lab", &write_keys(moving, &keys)?);
            section["bind"] = json!(moved);
            moving.set_mesh(section).await;
            moving.start().await?;
            let is_there = |status: &Status| {
                let it = status.peers.iter().find(|it| it.actor == actor);
                present(status) == 2 && it.is_some_and(|it| it.address == moved)
            };
            for node in [first, third] {
                peers_until(node, "the host at its new address", is_there).await?;
            }
            let until = Instant::now() + LATE_NEWS;
            while Instant::now() < until {
                for node in [first, third] {
                    let status = node.peers().await?;
                    let down = |it: &PeerStatus| it.state == PeerState::Down;
                    ensure!(!status.peers.iter().any(down), "{status:?}");
                }
                all_ready(&lab.nodes).await?;
            }
        }
        let hits = stop_counting(counting);
        agree_for_good_on(&lab.nodes, &key, hits).await?;
        all_see_all(&lab.nodes).await
    })
}

/// Envoys on two of three hosts. An Envoy and the other host's meshd are killed under load, while the
/// limit is still far; when all is well again, the limit is run into at full speed.
#[test]
fn envoys_admit_no_more_than_limit_and_bound_whatever_was_killed_before() -> anyhow::Result<()> {
    const LIMIT: u32 = 10_000;
    const CONNECTIONS: usize = 4;
    /// How old news may be at the very most here, with all processes on two busy cores.
    const STALENESS: Duration = Duration::from_millis(500);
    let name = "envoys_admit_no_more_than_limit_and_bound_whatever_was_killed_before";
    in_lab(name, async || {
        let lab = cluster(3, LIMIT).await?;
        let key = user("erin");
        let mut first = lab.nodes[0].proxy("first", 1).await?;
        let second = lab.nodes[1].proxy("second", 1).await?;

        let load = load_on(&first, MODULE, "erin")?.connections(CONNECTIONS);
        let doomed = lab.nodes[0].load(load, 5_000).await;
        let load = load_on(&second, MODULE, "erin")?.connections(CONNECTIONS);
        let steady = lab.nodes[1].load(load.clone(), 2_000).await;
        let enough = async || match (doomed.answered(), steady.answered()) {
            (doomed, steady) if doomed >= 200 && steady >= 200 => Ok(()),
            seen => Err(format!("{seen:?}")),
        };
        until_ok("200 answers of each Envoy", PATIENCE, enough).await?;
        first.process().kill()?;
        lab.nodes[1].kill().await?;
        let (doomed, steady) = (doomed.stop().await, steady.finish().await);
        assert_eq!((steady.passed(), steady.failed), (2_000, 0));

        lab.nodes[1].start().await?;
        let local = |index: usize| lab.nodes[index].worker().counts(&key).map(|it| it.local);
        let counted = [local(0)?, local(1)?];
        assert_eq!(counted[1], 2_000);
        // A hit may be counted whose answer the killed Envoy did not send any more.
        let answered = doomed.answered() as u64;
        let unanswered = counted[0].checked_sub(answered);
        assert!(
            unanswered.is_some_and(|it| it <= CONNECTIONS as u64),
            "{counted:?}, {doomed:?}"
        );
        agree_for_good_on(&lab.nodes, &key, counted.iter().sum()).await?;

        let first = lab.nodes[0].proxy("first-again", 1).await?;
        let again = load_on(&first, MODULE, "erin")?.connections(CONNECTIONS);
        let rush = [
            lab.nodes[0].load(again, 8_000).await,
            lab.nodes[1].load(load, 8_000).await,
        ];
        let mut total = Report::default();
        for running in rush {
            total.add(&running.finish().await);
        }
        assert_eq!((total.answered(), total.failed), (16_000, 0));
        agree_for_good_on(&lab.nodes, &key, counted.iter().sum::<u64>() + 16_000).await?;

        let passed = (doomed.passed() + steady.passed() + total.passed()) as f64;
        let limit = f64::from(LIMIT);
        let rate = total.answered() as f64 / total.elapsed.as_secs_f64();
        // Two hosts count, so that half of what is on its way is unknown to each.
        let bound = rate * STALENESS.as_secs_f64() / 2.0 + 0.01 * limit;
        assert!(passed >= limit - CONNECTIONS as f64, "{passed} passed");
        assert!(
            passed <= limit + bound,
            "{passed} passed, the bound is {bound} more"
        );
        Ok(())
    })
}
