//! Who may take part in a cluster, and how its keys are changed.

use std::pin::pin;
use std::time::Duration;

use hivemind_mesh::seal::KeyRing;
use hivemind_tests::cluster::{
    NO_LIMIT, agree_for_good_on, agree_on, all_ready, all_see_all, cluster, count_everywhere,
    counted_here, drops, hosts, in_lab, key_files, member, peers_until, start_members,
    stop_counting, user, write_keys,
};
use hivemind_tests::flood::{Forger, flood};
use serde_json::json;
use xtask::lab::{self, Counts, Node};
use xtask::wait::{PATIENCE, until_ok};

/// Waits until this host has read new keys this often.
async fn keys_reloaded(node: &Node, times: usize) -> anyhow::Result<()> {
    let look = async || match node.log().await {
        Ok(log) if log.matches("keys reloaded").count() == times => Ok(()),
        Ok(log) => Err(log),
        Err(error) => Err(error.to_string()),
    };
    Ok(until_ok(format!("keys to be read {times} times"), PATIENCE, look).await?)
}

#[test]
fn hosts_without_the_key_change_nothing_and_are_noticed() -> anyhow::Result<()> {
    in_lab(
        "hosts_without_the_key_change_nothing_and_are_noticed",
        async || {
            let lab = hosts(4, NO_LIMIT).await?;
            let (members, intruders) = lab.nodes.split_at(2);
            start_members(&lab, members).await?;
            let key = user("alice");
            for node in members {
                node.worker().hits(&key, 10)?;
            }
            agree_on(members, &key, 20).await?;

            let bootstrap = [members[0].mesh_address()];
            let without = json!({"cluster": "lab", "bootstrap_peers": bootstrap, "insecure": true});
            // It calls the counters the same.
            let [.., another] = key_files()?;
            let with_another = member(&lab, "lab", &write_keys(&intruders[1], &another)?);
            for (intruder, section) in intruders.iter().zip([without, with_another]) {
                let before = drops(&members[0].peers().await?, "unknown_key");
                intruder.set_mesh(section).await;
                intruder.start().await?;
                intruder.worker().hits(&key, 1_000)?;
                let what = "datagrams of an unknown key";
                peers_until(&members[0], what, |it| drops(it, "unknown_key") > before).await?;
            }
            for node in members {
                node.worker().hits(&key, 5)?;
            }
            agree_on(members, &key, 30).await?;
            all_see_all(members).await?;
            for intruder in intruders {
                let alone = Counts {
                    local: 1_000,
                    remote: 0,
                };
                assert_eq!(intruder.worker().counts(&key)?, alone);
            }
            Ok(())
        },
    )
}

#[test]
fn keys_are_changed_in_three_steps_without_losing_a_count() -> anyhow::Result<()> {
    in_lab(
        "keys_are_changed_in_three_steps_without_losing_a_count",
        async || {
            let lab = cluster(3, NO_LIMIT).await?;
            let key = user("bob");
            let counting = count_everywhere(&lab.nodes, &key)?;
            let [_, steps @ ..] = key_files()?;
            for (times, keys) in (1..).zip(steps) {
                for node in &lab.nodes {
                    write_keys(node, &keys)?;
                    node.reload().await?;
                    // Some have the new keys by now and some the old ones.
                    let counted = node.worker().counts(&key)?.local;
                    counted_here(node, &key, counted + 20).await?;
                }
                for node in &lab.nodes {
                    keys_reloaded(node, times).await?;
                }
            }
            let hits = stop_counting(counting);
            agree_for_good_on(&lab.nodes, &key, hits).await?;
            all_see_all(&lab.nodes).await
        },
    )
}

/// From a host without the keys, which knows what can be seen on the wire: addresses, the cluster's name,
/// actors and the names of keys.
#[test]
fn a_flood_of_garbage_and_forgeries_changes_no_count_and_gets_no_answer() -> anyhow::Result<()> {
    const FLOODER: usize = 2;
    const PER_S: u64 = 5_000;
    const DURATION: Duration = Duration::from_secs(3);
    let name = "a_flood_of_garbage_and_forgeries_changes_no_count_and_gets_no_answer";
    in_lab(name, async || {
        let lab = hosts(3, NO_LIMIT).await?;
        let members = &lab.nodes[..FLOODER];
        start_members(&lab, members).await?;
        let key = user("carol");
        let counting = count_everywhere(members, &key)?;

        let [keys, .., others] = key_files()?;
        let forger = Forger {
            cluster: "lab",
            keys: KeyRing::parse(&others)?,
            address: lab.nodes[FLOODER].mesh_address(),
        };
        let mut datagrams = Vec::new();
        for node in members {
            let actor = u64::from_str_radix(&node.peers().await?.actor, 16)?;
            let honest = KeyRing::parse(&keys)?;
            datagrams.extend(forger.datagrams(actor, &honest)?);
        }
        let targets: Vec<_> = members.iter().map(Node::mesh_address).collect();
        let host = lab.nodes[FLOODER].host();
        let mut flooding =
            pin!(host.run_async(async move || flood(&datagrams, &targets, PER_S, DURATION)));
        let sent = loop {
            tokio::select! {
                sent = &mut flooding => break sent?,
                ready = all_ready(members) => ready?,
            }
        };
        let hits = stop_counting(counting);
        let answers = || (0..FLOODER).map(|index| lab.wire.counters(index, FLOODER));
        let is_none = |it: lab::Counters| it == lab::Counters::default();
        assert!(answers().all(is_none), "{:?}", lab.wire);
        agree_for_good_on(members, &key, hits).await?;

        for (index, node) in members.iter().enumerate() {
            let arrived = lab.wire.counters(FLOODER, index).forwarded;
            assert!(arrived >= sent / 2, "{arrived} of {sent} arrived");
            for cause in ["malformed", "unknown_key", "unauthentic"] {
                let what = format!("drops that are {cause}");
                // Some are lost where the socket is full.
                let enough = |status: &_| drops(status, cause) >= sent / 10;
                peers_until(node, &what, enough).await?;
            }
        }
        all_see_all(members).await?;
        assert!(answers().all(is_none), "{:?}", lab.wire);
        Ok(())
    })
}
