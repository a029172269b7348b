use super::*;
use crate::reload::LastReload;
use crate::server::connections::Limits;
use crate::value_series::{Name, Series};
use hivemind_mesh::status::{
    CauseCount, KindTraffic, PeerState, PeerStatus, ProbeStatus, RuleOvershoot,
};
use hivemind_shared::region::RegionOptions;
use hivemind_shared::region::RuleStats;
use std::collections::BTreeSet;

fn peer(number: u16, state: PeerState) -> PeerStatus {
    PeerStatus {
        actor: format!("{number:016x}"),
        name: format!("edge-{number}"),
        address: ([192, 0, 2, 1], number).into(),
        state,
        rules: None,
        last_heard_ms: Some(1_500),
        round_trip_us: Some(250),
        loss: 0.25,
        skew_ms: Some(-20),
        staleness_p50_us: Some(5_000),
        staleness_p99_us: None,
        sent_datagrams: 1,
        sent_bytes: 2,
        received_datagrams: 3,
        received_bytes: 4,
        backlog: 7,
        in_sync: false,
    }
}

fn status(peers: Vec<PeerStatus>) -> Status {
    Status {
        actor: "00000000000000aa".to_owned(),
        name: "here".to_owned(),
        address: ([192, 0, 2, 9], 1).into(),
        cluster: "hivemind".to_owned(),
        sealed: true,
        rules: None,
        alone: None,
        joined: true,
        keys: 12,
        actors: 3,
        peers,
        traffic: vec![KindTraffic {
            kind: "counts".to_owned(),
            sent_datagrams: 10,
            sent_bytes: 1_000,
            received_datagrams: 20,
            received_bytes: 2_000,
        }],
        drops: vec![CauseCount {
            cause: "replayed".to_owned(),
            count: 5,
        }],
        probe: ProbeStatus {
            sent: 9,
            last_us: Some(1),
            p50_us: Some(4_000),
            p99_us: None,
        },
        overshoot: vec![
            RuleOvershoot { rule: 0, hits: 6 },
            RuleOvershoot {
                rule: 4_000,
                hits: 1,
            },
        ],
    }
}

fn rendered(status: Option<Status>, as_open_metrics: bool) -> String {
    render(scrape(status), as_open_metrics).unwrap()
}

#[test]
fn a_rule_has_its_sums_under_our_names_and_where_asked_for_under_those_of_the_reference() {
    use hivemind_shared::clock::ManualClock;
    use hivemind_shared::decision::{Decision, Limiter};
    use hivemind_shared::descriptor::{Descriptor, Entry};
    let mut scrape = scrape(None);
    let limiter = Limiter::new(Arc::clone(&scrape.region), ManualClock::at(1_800_000_000));
    let entries = [Entry::new("user", "ada")];
    let mut decision = Decision::new();
    let descriptors = [Descriptor::new(&entries)];
    limiter
        .decide(b"a.b", &descriptors, 5, &mut decision)
        .unwrap();
    let ours = "hivemind_rule_over_limit_total{domain=\"a.b\",rule=\"a.b.user\"} 2\n";
    let theirs = "\nratelimit_service_rate_limit_over_limit{domain=\"a.b\",key1=\"user\"} 2\n";
    let quiet = "hivemind_rule_hits_total{domain=\"a.b\",rule=\"a.b.quiet\"} 0\n";
    scrape.ratelimit_compat = true;
    let text = render(scrape, false).unwrap();
    assert!(text.contains(quiet), "{text}");
    assert!(text.contains(ours), "{text}");
    assert!(text.contains(theirs), "{text}");
    assert!(
        text.contains("\nratelimit_service_config_load_success 1\n"),
        "{text}"
    );
    let text = rendered(None, false);
    assert!(!text.contains("ratelimit_service"), "{text}");
}

#[test]
fn series_by_value_that_look_alike_add_up() {
    let series = |levels: [&str; 2], hits| Series {
        name: Arc::new(Name {
            domain: "d".to_owned(),
            rule: "d.a.b".to_owned(),
            levels: levels.map(str::to_owned).to_vec(),
        }),
        stats: RuleStats {
            total_hits: hits,
            ..RuleStats::default()
        },
        has_refused: true,
    };
    let mut scrape = scrape(None);
    scrape.values = Some(Shown {
        series: vec![series(["a_1", "b_2.b_3"], 4), series(["a_1.b_2", "b_3"], 5)],
        ..Shown::default()
    });
    let text = render(scrape, false).unwrap();
    let name = "hivemind_rule_value_hits_total{";
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
    let labels = "domain=\"d\",rule=\"d.a.b\",descriptor=\"a_1.b_2.b_3\"";
    assert_eq!(lines, [format!("{name}{labels}}} 9")]);
}

fn connections() -> Arc<Connections> {
    let config = crate::config::Config::with_node_name("test".to_owned());
    Connections::new(Limits::new(&config.server, false, usize::MAX).0)
}

fn scrape(status: Option<Status>) -> Scrape {
    let options = RegionOptions {
        max_keys: 100,
        ..RegionOptions::default()
    };
    let mut owned = Region::anonymous(&options).unwrap();
    let text = "domain: a.b\ndescriptors:\n  - key: user\n    rate_limit: {unit: hour, requests_per_unit: 3}\n  - key: quiet\n    rate_limit: {unit: hour, requests_per_unit: 3}\n";
    let source = hivemind_shared::yaml::Source::new("rules.yaml", text);
    let options = hivemind_shared::rules::source::Options::default();
    let loaded = hivemind_shared::rules::source::parse(&[source], &options).unwrap();
    let published = owned.publish_rules(&loaded.rules).unwrap();
    Scrape {
        live_keys: Some(2),
        components: Health::starting().now(),
        reloads: LastReloads {
            rules: LastReload::loaded(),
            tls: None,
            key_file: None,
        },
        process: Process::read(),
        region: Arc::clone(owned.region()),
        rules: Arc::new(published.rules),
        values: None,
        rules_hash: RulesHash::of(&loaded.rules),
        loads: Loads {
            successful: 1,
            failed: 0,
            last: LastReload::loaded(),
        },
        ratelimit_compat: false,
        xds: None,
        mesh: status.map(Arc::new),
        calls: Arc::new(Calls::of_workers(2)),
        connections: connections(),
        tls: None,
    }
}

/// The names that are described.
fn names(text: &str) -> BTreeSet<&str> {
    let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    described
        .filter_map(|line| line.split(' ').next())
        .collect()
}

#[test]
fn every_metric_of_the_specification_is_there_with_help_and_type_and_no_other() {
    let specification = include_str!("../../../../SPECIFICATION.md");
    let catalogue: BTreeSet<&str> = specification
        .lines()
        .filter_map(|line| line.strip_prefix("| `hivemind_")?.split(['`', '{']).next())
        .collect();
    let text = rendered(None, false);
    let described: BTreeSet<&str> = names(&text)
        .into_iter()
        .filter_map(|name| name.strip_prefix("hivemind_"))
        .collect();
    assert_eq!(described, catalogue);
    for name in described {
        let help = format!("# HELP hivemind_{name} ");
        assert!(text.contains(&help), "no {help}");
    }
    assert!(text.contains("\nhivemind_region_max_keys 100\n"), "{text}");
    assert!(text.contains("\nhivemind_rules_generation 1\n"), "{text}");
}

#[test]
fn the_mesh_tells_of_itself_in_base_units() {
    let peers = vec![peer(1, PeerState::Alive), peer(2, PeerState::Down)];
    let text = rendered(Some(status(peers)), false);
    for line in [
        r#"hivemind_mesh_joined 1"#,
        r#"hivemind_mesh_members{state="alive"} 1"#,
        r#"hivemind_mesh_members{state="suspect"} 0"#,
        r#"hivemind_mesh_members{state="down"} 1"#,
        r#"hivemind_mesh_datagrams_sent_total{kind="counts"} 10"#,
        r#"hivemind_mesh_bytes_received_total{kind="counts"} 2000"#,
        r#"hivemind_mesh_dropped_total{cause="replayed"} 5"#,
        r#"hivemind_mesh_dropped_total{cause="unsent"} 0"#,
        r#"hivemind_mesh_peer_round_trip_seconds{peer="edge-1",address="192.0.2.1:1"} 0.00025"#,
        r#"hivemind_mesh_peer_skew_seconds{peer="edge-1",address="192.0.2.1:1"} -0.02"#,
        r#"hivemind_mesh_peer_last_heard_seconds{peer="edge-2",address="192.0.2.1:2"} 1.5"#,
        r#"hivemind_mesh_peer_staleness_seconds{peer="edge-1",address="192.0.2.1:1",quantile="0.5"} 0.005"#,
        r#"hivemind_mesh_probe_convergence_seconds{quantile="0.5"} 0.004"#,
        r#"hivemind_mesh_overshoot_hits{domain="a.b",rule="a.b.user"} 6"#,
    ] {
        assert!(
            text.contains(&format!("\n{line}\n")),
            "no {line} in\n{text}"
        );
    }
    assert!(
        !text.contains("quantile=\"0.99\""),
        "nothing is known of it"
    );
}

#[test]
fn open_metrics_ends_with_its_mark() {
    let text = rendered(Some(status(vec![peer(1, PeerState::Alive)])), true);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let sample = "hivemind_mesh_datagrams_sent_total{kind=\"counts\"} 10\n";
    assert!(text.contains(sample), "{text}");
    assert!(names(&text).contains("hivemind_mesh_datagrams_sent"));
}

#[test]
fn no_series_is_there_twice_and_too_many_peers_are_told_as_sums_alone() {
    let mut again = peer(1, PeerState::Down);
    again.actor = "another actor of the same host".to_owned();
    let text = rendered(Some(status(vec![peer(1, PeerState::Alive), again])), false);
    let samples: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series))
        .collect();
    let once: BTreeSet<&str> = samples.iter().copied().collect();
    assert_eq!(once.len(), samples.len(), "{text}");

    let many = (0..257)
        .map(|number| peer(number, PeerState::Alive))
        .collect();
    let text = rendered(Some(status(many)), false);
    assert!(text.contains("hivemind_mesh_members{state=\"alive\"} 257\n"));
    assert!(!text.contains("peer=\""), "{text}");
}
