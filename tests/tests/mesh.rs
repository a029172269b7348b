//! Hosts that share their counts, on a network that does what networks do.

use hivemind_tests::cluster::{
    NO_LIMIT, agree_for_good_on, agree_on, all_ready, all_see_all, cluster, count_everywhere,
    counted_here, drops, hosts, in_lab, key_files, member, peers_until, sees, start_together,
    stop_counting, user, write_keys,
};
use serde_json::json;
use xtask::lab::{Counts, Impairment};

#[test]
fn hosts_find_each_other_by_one_address_and_see_each_others_hits() -> anyhow::Result<()> {
    let name = "hosts_find_each_other_by_one_address_and_see_each_others_hits";
    in_lab(name, async || {
        let lab = cluster(3, NO_LIMIT).await?;
        let key = user("alice");
        assert!(lab.nodes[0].worker().hit(&key)?);
        agree_for_good_on(&lab.nodes, &key, 1).await?;
        let counts = |local, remote| Counts { local, remote };
        assert_eq!(lab.nodes[0].worker().counts(&key)?, counts(1, 0));
        assert_eq!(lab.nodes[1].worker().counts(&key)?, counts(0, 1));
        assert_eq!(lab.nodes[2].worker().counts(&key)?, counts(0, 1));
        Ok(())
    })
}

#[test]
fn hits_in_turn_on_all_hosts_admit_exactly_the_limit() -> anyhow::Result<()> {
    const LIMIT: u32 = 9;
    in_lab(
        "hits_in_turn_on_all_hosts_admit_exactly_the_limit",
        async || {
            let lab = cluster(3, LIMIT).await?;
            let key = user("bob");
            for (hits, node) in (1..=15).zip(lab.nodes.iter().cycle()) {
                assert_eq!(
                    node.worker().hit(&key)?,
                    hits <= u64::from(LIMIT),
                    "hit {hits}"
                );
                agree_on(&lab.nodes, &key, hits).await?;
            }
            Ok(())
        },
    )
}

#[test]
fn counts_agree_exactly_over_a_network_that_loses_doubles_and_mixes_up() -> anyhow::Result<()> {
    let name = "counts_agree_exactly_over_a_network_that_loses_doubles_and_mixes_up";
    in_lab(name, async || {
        let lab = cluster(3, NO_LIMIT).await?;
        lab.wire.set_all(Impairment {
            loss: 0.3,
            duplicate: 0.2,
            reorder: 0.2,
            reorder_us: 20_000,
            delay_us: 500,
            jitter_us: 5_000,
            ..Impairment::NONE
        });
        let key = user("carol");
        let counting = count_everywhere(&lab.nodes, &key)?;
        for node in &lab.nodes {
            counted_here(node, &key, 1_000).await?;
        }
        agree_for_good_on(&lab.nodes, &key, stop_counting(counting)).await?;
        let counters = lab.wire.counters(0, 1);
        assert!(counters.lost > 0 && counters.doubled > 0, "{counters:?}");
        Ok(())
    })
}

#[test]
fn both_sides_of_a_partition_go_on_and_agree_exactly_afterwards() -> anyhow::Result<()> {
    let name = "both_sides_of_a_partition_go_on_and_agree_exactly_afterwards";
    in_lab(name, async || {
        let lab = cluster(3, NO_LIMIT).await?;
        let key = user("dave");
        lab.nodes[1].worker().hits(&key, 10)?;
        agree_on(&lab.nodes, &key, 10).await?;
        lab.wire.partition(&[0], &[1, 2]);
        sees(&lab.nodes[0], 0).await?;
        sees(&lab.nodes[1], 1).await?;
        sees(&lab.nodes[2], 1).await?;
        all_ready(&lab.nodes).await?;
        for (node, hits) in lab.nodes.iter().zip([100, 50, 25]) {
            assert_eq!(node.worker().hits(&key, hits)?, hits);
        }
        agree_on(&lab.nodes[..1], &key, 110).await?;
        agree_on(&lab.nodes[1..], &key, 85).await?;
        all_ready(&lab.nodes).await?;
        lab.wire.heal();
        all_see_all(&lab.nodes).await?;
        agree_for_good_on(&lab.nodes, &key, 185).await
    })
}

#[test]
fn a_link_that_is_dead_in_one_direction_disturbs_no_third_host() -> anyhow::Result<()> {
    let name = "a_link_that_is_dead_in_one_direction_disturbs_no_third_host";
    in_lab(name, async || {
        let lab = cluster(3, NO_LIMIT).await?;
        let key = user("erin");
        let dead = Impairment {
            loss: 1.0,
            ..Impairment::NONE
        };
        lab.wire.set(0, 1, dead);
        let counting = count_everywhere(&lab.nodes, &key)?;
        for node in &lab.nodes {
            counted_here(node, &key, 500).await?;
        }
        let hits = stop_counting(counting);
        // It hears everybody.
        agree_on(&lab.nodes[2..], &key, hits).await?;
        all_ready(&lab.nodes).await?;
        assert!(lab.wire.counters(0, 1).lost > 0, "{:?}", lab.wire);
        lab.wire.set(0, 1, Impairment::NONE);
        agree_for_good_on(&lab.nodes, &key, hits).await
    })
}

#[test]
fn clusters_with_different_names_and_the_same_key_stay_apart() -> anyhow::Result<()> {
    let name = "clusters_with_different_names_and_the_same_key_stay_apart";
    in_lab(name, async || {
        let lab = hosts(4, NO_LIMIT).await?;
        let addresses = [&lab.nodes[0], &lab.nodes[2]].map(|node| node.mesh_address());
        let [keys, ..] = key_files()?;
        for (index, node) in lab.nodes.iter().enumerate() {
            let cluster = if index < 2 { "one" } else { "other" };
            let mut section = member(&lab, cluster, &write_keys(node, &keys)?);
            // A mistake an operator can make: the addresses of both.
            section["bootstrap_peers"] = json!(addresses);
            node.set_mesh(section).await;
        }
        let (one, other) = lab.nodes.split_at(2);
        start_together(one).await?;
        start_together(other).await?;
        all_see_all(one).await?;
        all_see_all(other).await?;

        let key = user("frank");
        one[0].worker().hits(&key, 10)?;
        other[0].worker().hits(&key, 5)?;
        // Who starts now, with counts about, says hello to both.
        for (node, comer) in [(&one[0], &other[1]), (&other[0], &one[1])] {
            let before = drops(&node.peers().await?, "other_cluster");
            comer.kill().await?;
            comer.start().await?;
            let what = "more datagrams of the other cluster";
            peers_until(node, what, |it| drops(it, "other_cluster") > before).await?;
        }
        agree_on(one, &key, 10).await?;
        agree_on(other, &key, 5).await?;
        all_see_all(one).await?;
        all_see_all(other).await
    })
}
