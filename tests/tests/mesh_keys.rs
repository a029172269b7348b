//! Who may take part in a cluster, and how its keys are changed.

use hivemind_tests::cluster::{
    KEY_A, KEY_B, NO_LIMIT, agree_for_good_on, agree_on, all_see_all, cluster, count_everywhere,
    counted_here, drops, hosts, in_lab, key_file, member, peers_until, stop_counting, user,
};
use serde_json::json;
use xtask::lab::{Counts, Node};
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
            for node in members {
                let section = member(&lab, "lab", &key_file(node, &[KEY_A])?);
                node.set_mesh(section).await;
                node.start().await?;
            }
            all_see_all(members).await?;
            let key = user("alice");
            for node in members {
                node.worker().hits(&key, 10)?;
            }
            agree_on(members, &key, 20).await?;

            let bootstrap = [members[0].mesh_address()];
            let without = json!({"cluster": "lab", "bootstrap_peers": bootstrap, "insecure": true});
            let with_another = member(&lab, "lab", &key_file(&intruders[1], &[KEY_B])?);
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
            let steps: [&[&str]; 3] = [&[KEY_A, KEY_B], &[KEY_B, KEY_A], &[KEY_B]];
            for (times, ring) in (1..).zip(steps) {
                for node in &lab.nodes {
                    key_file(node, ring)?;
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
            agree_for_good_on(&lab, &key, hits).await?;
            all_see_all(&lab.nodes).await
        },
    )
}
