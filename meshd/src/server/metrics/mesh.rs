//! Metrics of the mesh.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use hivemind_mesh::drops::DropCause;
use hivemind_mesh::status::{
    KindTraffic, PeerState, PeerStatus, ProbeStatus, RuleOvershoot, Status,
};
use hivemind_shared::rules::RuleSet;

use super::families::{Families, UNLABELLED, seconds};

/// Peers that are told apart; with more, there are only sums.
const PEERS_MAX: usize = 256;

/// Without a status every metric is described and has no sample.
pub(super) fn encode(
    status: Option<&Status>,
    rules: &RuleSet,
    families: &mut Families<'_>,
) -> fmt::Result {
    families.gauge(
        "hivemind_mesh_joined",
        "1 once the counts of peers have arrived or are not waited for any longer.",
        status.map(|status| (UNLABELLED, u32::from(status.joined))),
    )?;
    families.gauge(
        "hivemind_mesh_alone",
        "1 while no peer is there though some should be.",
        status.map(|status| (UNLABELLED, u32::from(status.alone.is_some()))),
    )?;
    families.gauge(
        "hivemind_mesh_keys",
        "Keys with live counts, here or at peers.",
        status.map(|status| (UNLABELLED, status.keys)),
    )?;
    families.gauge(
        "hivemind_mesh_actors",
        "Actors with live counts, gone ones included.",
        status.map(|status| (UNLABELLED, status.actors)),
    )?;
    members(status, families)?;
    traffic(status.map_or(&[], |status| &status.traffic), families)?;
    dropped(status, families)?;
    peers(status.map_or(&[], |status| &status.peers), families)?;
    probe(status.map(|status| &status.probe), families)?;
    overshoot(
        status.map_or(&[], |status| &status.overshoot),
        rules,
        families,
    )
}

fn members(status: Option<&Status>, families: &mut Families<'_>) -> fmt::Result {
    let states = [
        (PeerState::Alive, "alive"),
        (PeerState::Suspect, "suspect"),
        (PeerState::Down, "down"),
    ];
    let counts = status.into_iter().flat_map(|status| {
        states.map(|(state, word)| {
            let count = status
                .peers
                .iter()
                .filter(|peer| peer.state == state)
                .count();
            ([("state", word)], count)
        })
    });
    families.gauge("hivemind_mesh_members", "Peers, by how they are.", counts)
}

fn traffic(traffic: &[KindTraffic], families: &mut Families<'_>) -> fmt::Result {
    type Sum = fn(&KindTraffic) -> u64;
    let sums: [(&str, &str, Sum); 4] = [
        (
            "hivemind_mesh_datagrams_sent",
            "Datagrams sent, by what for.",
            |kind| kind.sent_datagrams,
        ),
        (
            "hivemind_mesh_bytes_sent",
            "Bytes sent in datagrams, by what for.",
            |kind| kind.sent_bytes,
        ),
        (
            "hivemind_mesh_datagrams_received",
            "Datagrams received and opened, by what for.",
            |kind| kind.received_datagrams,
        ),
        (
            "hivemind_mesh_bytes_received",
            "Bytes of datagrams received and opened, by what for.",
            |kind| kind.received_bytes,
        ),
    ];
    for (name, help, sum) in sums {
        let samples = traffic
            .iter()
            .map(|kind| ([("kind", kind.kind.as_str())], sum(kind)));
        families.counter(name, help, samples)?;
    }
    Ok(())
}

fn dropped(status: Option<&Status>, families: &mut Families<'_>) -> fmt::Result {
    // Also those never met, so that the first one is seen as an increase.
    let causes = status.into_iter().flat_map(|status| {
        DropCause::ALL.map(|cause| {
            let counted = status.drops.iter().find(|drop| drop.cause == cause.name());
            (
                [("cause", cause.name())],
                counted.map_or(0, |drop| drop.count),
            )
        })
    });
    families.counter(
        "hivemind_mesh_dropped",
        "Datagrams, or counts in them, that were not used or not sent, by why.",
        causes,
    )
}

fn peers(peers: &[PeerStatus], families: &mut Families<'_>) -> fmt::Result {
    let mut seen: HashSet<(&str, SocketAddr)> = HashSet::new();
    // The actor of an earlier region of a host has its name and address; present ones come first.
    let mut peers: Vec<&PeerStatus> = peers
        .iter()
        .filter(|peer| seen.insert((&peer.name, peer.address)))
        .collect();
    if peers.len() > PEERS_MAX {
        peers.clear();
    }
    let labels = |peer: &PeerStatus| {
        [
            ("peer", peer.name.clone()),
            ("address", peer.address.to_string()),
        ]
    };

    type Number = fn(&PeerStatus) -> Option<f64>;
    let numbers: [(&str, &str, Number); 6] = [
        (
            "hivemind_mesh_peer_round_trip_seconds",
            "Smoothed round trip to a peer.",
            |peer| peer.round_trip_us.map(seconds),
        ),
        (
            "hivemind_mesh_peer_loss_ratio",
            "Share of datagrams to a peer that were not acknowledged, over the last seconds.",
            |peer| Some(peer.loss),
        ),
        (
            "hivemind_mesh_peer_skew_seconds",
            "A peer's wall clock minus ours.",
            |peer| peer.skew_ms.map(|ms| ms as f64 / 1e3),
        ),
        (
            "hivemind_mesh_peer_last_heard_seconds",
            "Time since anything was heard from a peer.",
            |peer| peer.last_heard_ms.map(|ms| ms as f64 / 1e3),
        ),
        (
            "hivemind_mesh_peer_backlog",
            "Counts that wait to be sent to a peer alone.",
            |peer| Some(peer.backlog as f64),
        ),
        (
            "hivemind_mesh_peer_in_sync",
            "1 when a peer has all that was counted here, but for what is on its way.",
            |peer| Some(f64::from(u8::from(peer.in_sync))),
        ),
    ];
    for (name, help, number) in numbers {
        let samples = peers
            .iter()
            .filter_map(|peer| Some((labels(peer), number(peer)?)));
        families.gauge(name, help, samples)?;
    }

    let staleness = peers.iter().flat_map(|peer| {
        let quantiles = [
            ("0.5", peer.staleness_p50_us),
            ("0.99", peer.staleness_p99_us),
        ];
        quantiles.into_iter().filter_map(|(quantile, us)| {
            let [name, address] = labels(peer);
            Some((
                [name, address, ("quantile", quantile.to_owned())],
                seconds(us?),
            ))
        })
    });
    families.gauge(
        "hivemind_mesh_peer_staleness_seconds",
        "How old a peer's hits are when they arrive here.",
        staleness,
    )
}

fn probe(probe: Option<&ProbeStatus>, families: &mut Families<'_>) -> fmt::Result {
    families.counter(
        "hivemind_mesh_probes_sent",
        "Probes sent: counts that are changed to see how long they take to all peers.",
        probe.map(|probe| (UNLABELLED, probe.sent)),
    )?;
    let quantiles = probe.into_iter().flat_map(|probe| {
        let quantiles = [("0.5", probe.p50_us), ("0.99", probe.p99_us)];
        quantiles
            .into_iter()
            .filter_map(|(quantile, us)| Some(([("quantile", quantile)], seconds(us?))))
    });
    families.gauge(
        "hivemind_mesh_probe_convergence_seconds",
        "How long a change took until every present peer had it.",
        quantiles,
    )
}

fn overshoot(
    overshoot: &[RuleOvershoot],
    rules: &RuleSet,
    families: &mut Families<'_>,
) -> fmt::Result {
    let names = if overshoot.is_empty() {
        HashMap::new()
    } else {
        rule_names(rules)
    };
    let samples = overshoot.iter().filter_map(|estimate| {
        let (domain, rule) = names.get(&estimate.rule)?;
        let labels = [("domain", domain.as_str()), ("rule", rule.as_str())];
        Some((labels, estimate.hits))
    });
    families.gauge(
        "hivemind_mesh_overshoot_hits",
        "Hits that may at most have passed beyond the limit of one of a rule's keys, because news is \
         on its way.",
        samples,
    )
}

/// Domain and path of rules by their place in the statistics; the first one's where several share it.
fn rule_names(rules: &RuleSet) -> HashMap<u32, (String, String)> {
    let mut names = HashMap::new();
    for (id, rule) in rules.rules() {
        names.entry(rule.stats_index).or_insert_with(|| {
            let path = rules.path(id);
            let domain = path.domain().unwrap_or_default();
            (domain.to_owned(), path.to_string())
        });
    }
    names
}
