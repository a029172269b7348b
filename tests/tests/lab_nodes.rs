//! meshd and Envoy on the hosts of a lab.

use std::time::Duration;

use hivemind_tests::cluster::{NO_LIMIT, all_ready, hosts, in_lab, load_on, user};
use xtask::lab::{Counts, Port};
use xtask::site::{MODULE, RLS};
use xtask::wait::{PATIENCE, until_ok};

#[test]
fn a_daemon_answers_on_its_own_host_and_its_region_outlives_it() -> anyhow::Result<()> {
    let name = "a_daemon_answers_on_its_own_host_and_its_region_outlives_it";
    in_lab(name, async || {
        let lab = hosts(2, NO_LIMIT).await?;
        for node in &lab.nodes {
            node.start().await?;
        }
        all_ready(&lab.nodes).await?;
        let node = &lab.nodes[0];
        let key = user("alice");
        let mut worker = node.worker();
        assert_eq!(worker.hits(&key, 3)?, 3);
        node.kill().await?;
        assert!(node.is_ready().await.is_err());
        assert_eq!(worker.hits(&key, 2)?, 2);
        node.start().await?;
        let counted = |local| Counts { local, remote: 0 };
        assert_eq!(worker.counts(&key)?, counted(5));
        assert_eq!(lab.nodes[1].worker().counts(&key)?, counted(0));
        assert!(node.stop().await?.success());
        Ok(())
    })
}

#[test]
fn a_daemon_can_be_frozen_while_hits_are_counted() -> anyhow::Result<()> {
    in_lab(
        "a_daemon_can_be_frozen_while_hits_are_counted",
        async || {
            let lab = hosts(1, NO_LIMIT).await?;
            let node = &lab.nodes[0];
            node.start().await?;
            node.freeze().await?;
            let key = user("bob");
            let counting = node.worker().start(key.clone(), Duration::from_millis(1))?;
            let mut worker = node.worker();
            let enough = async || match worker.counts(&key) {
                Ok(counts) if counts.local >= 20 => Ok(()),
                other => Err(format!("{other:?}")),
            };
            until_ok("20 hits", PATIENCE, enough).await?;
            let counted = counting.stop();
            assert_eq!(node.worker().counts(&key)?.local, counted);
            node.thaw().await?;
            assert!(node.get(Port::Http, "/ready").await?.status.is_success());
            Ok(())
        },
    )
}

#[test]
fn an_envoy_limits_on_the_host_it_is_on() -> anyhow::Result<()> {
    in_lab("an_envoy_limits_on_the_host_it_is_on", async || {
        let lab = hosts(2, 5).await?;
        let node = &lab.nodes[1];
        node.start().await?;
        let proxy = node.proxy("envoy", 1).await?;
        let load = load_on(&proxy, MODULE, "carol")?;
        let report = node.load(load, 4).await.finish().await;
        assert_eq!((report.passed(), report.failed), (4, 0));
        let load = load_on(&proxy, RLS, "carol")?;
        let report = node.load(load.clone(), 3).await.finish().await;
        assert_eq!((report.passed(), report.limited()), (1, 2));
        assert_eq!(node.worker().counts(&user("carol"))?.local, 7);
        // The same address on another host is another one's, and nobody's.
        let report = lab.nodes[0].load(load, 1).await.finish().await;
        assert_eq!((report.answered(), report.failed), (0, 1));
        Ok(())
    })
}
