//! What single settings cannot know: whether they go together.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use hivemind_shared::region::layout::{MAX_KEYS_MAX, RULES_BYTES_RANGE};

use super::{Config, Mesh, MeshMode, RateLimiting, RulesSource, Server};

/// Largest `metrics.max_series`: more than a scraper takes.
const SERIES_MAX: u64 = 1_000_000;

/// Longest `mesh.cluster`.
const CLUSTER_CHARACTERS_MAX: usize = 63;

/// Longest `mesh.snapshot_timeout`: a node that waits longer for its peers is of no use.
const SNAPSHOT_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// How long rules may differ from a peer's.
const RULES_GRACE_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);

/// Longest time span of a gRPC connection's life: a year.
const CONNECTION_SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Longest `server.shutdown_delay`: whoever is told to stop is killed long before.
const SHUTDOWN_DELAY_MAX: Duration = Duration::from_secs(3_600);

/// Most connections of a port: the kernel has no more descriptors for a process.
const CONNECTIONS_MAX: u32 = 1 << 20;

/// Least `server.max_connection_bytes`: all calls that a connection may have in flight, none of them large.
const CONNECTION_BYTES_MIN: u64 = 8 << 20;

/// What the buffers of the UDP socket may be asked to be.
const BUFFER_BYTES_RANGE: RangeInclusive<u64> = 65_536..=1 << 30;

/// Everything about a configuration that contradicts itself: the key to change, and why.
pub(super) fn contradictions(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let Config {
        region,
        server,
        admin,
        mesh,
        ..
    } = config;

    if region.max_keys.get() > MAX_KEYS_MAX {
        found.push(("region.max_keys", format!("at most {MAX_KEYS_MAX}")));
    }
    let region_sizes = hivemind_shared::region::RegionOptions::from(region);
    if !RULES_BYTES_RANGE.contains(&region_sizes.rules_bytes)
        || !region_sizes.rules_bytes.is_multiple_of(4_096)
    {
        found.push((
            "region.rules_bytes",
            "a multiple of 4096, from 4096 to 67108864".to_owned(),
        ));
    }
    if !(64..=1_024).contains(&region_sizes.label_bytes)
        || !region_sizes.label_bytes.is_multiple_of(64)
    {
        found.push((
            "region.label_bytes",
            "a multiple of 64, from 64 to 1024".to_owned(),
        ));
    }

    let (grpc, http) = (server.grpc_bind(), server.http_bind());
    let admin = SocketAddr::new(admin.address, admin.port);
    if collide(grpc, http) {
        found.push((
            "server.http_port",
            format!("{http} is the address of server.grpc_port as well"),
        ));
    }
    for (taken, key) in [(grpc, "server.grpc_port"), (http, "server.http_port")] {
        if collide(admin, taken) {
            found.push((
                "admin.port",
                format!("{admin} cannot be listened on beside {key}, {taken}"),
            ));
        }
    }

    if let Some(metrics) = config.metrics.bind {
        let others = [
            (grpc, "server.grpc_port"),
            (http, "server.http_port"),
            (admin, "admin.port"),
        ];
        for (taken, key) in others {
            if collide(metrics, taken) {
                let message = format!("{metrics} cannot be listened on beside {key}, {taken}");
                found.push(("metrics.bind", message));
            }
        }
    }
    if config.metrics.max_series > SERIES_MAX {
        found.push(("metrics.max_series", format!("at most {SERIES_MAX}")));
    }

    found.extend(of_headers(&config.rate_limiting));
    found.extend(of_xds(config));
    found.extend(of_tls(server));
    found.extend(of_connections(server));
    found.extend(of_mesh(mesh));
    found
}

/// What is wrong with the names of response headers.
fn of_headers(rules: &RateLimiting) -> Vec<(&'static str, String)> {
    let names = [
        ("rate_limiting.limit_header", &rules.limit_header),
        ("rate_limiting.remaining_header", &rules.remaining_header),
        ("rate_limiting.reset_header", &rules.reset_header),
    ];
    let is_wrong = |name: &str| http::HeaderName::from_bytes(name.as_bytes()).is_err();
    names
        .into_iter()
        .filter(|(_, name)| is_wrong(name))
        .map(|(key, _)| {
            let expected = "the name of a header: letters, digits and dashes";
            (key, expected.to_owned())
        })
        .collect()
}

/// What contradicts itself in `xds`.
fn of_xds(config: &Config) -> Vec<(&'static str, String)> {
    let xds = &config.xds;
    let mut found = Vec::new();
    let mut check = |is_right: bool, key, message: &str| {
        if !is_right {
            found.push((key, message.to_owned()));
        }
    };
    check(
        config.rate_limiting.source == RulesSource::File || xds.server.is_some(),
        "xds.server",
        "rate_limiting.source is xds, so the management server has to be named, host:port",
    );
    let files = [&xds.tls_ca_file, &xds.tls_cert_file, &xds.tls_key_file];
    check(
        xds.tls || files.iter().all(|file| file.is_none()) && xds.tls_server_name.is_none(),
        "xds.tls",
        "files or a name for TLS are given, but TLS is off: set xds.tls: true, or leave them out",
    );
    check(
        xds.tls_cert_file.is_some() == xds.tls_key_file.is_some(),
        if xds.tls_cert_file.is_some() {
            "xds.tls_key_file"
        } else {
            "xds.tls_cert_file"
        },
        "a certificate and its key go together",
    );
    check(
        (Duration::from_millis(100)..=Duration::from_secs(300)).contains(&xds.connect_timeout),
        "xds.connect_timeout",
        "100ms to 5m",
    );
    check(
        (Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&xds.keepalive_interval),
        "xds.keepalive_interval",
        "1s to 1h",
    );
    check(
        (Duration::from_millis(10)..=xds.backoff_max).contains(&xds.backoff_initial),
        "xds.backoff_initial",
        "10ms to xds.backoff_max",
    );
    check(
        xds.backoff_max <= Duration::from_secs(3_600),
        "xds.backoff_max",
        "at most 1h",
    );
    check(
        (1_024..=1 << 30).contains(&xds.max_message_bytes),
        "xds.max_message_bytes",
        "1024 to 1073741824",
    );
    found
}

/// What is missing for TLS on the gRPC port.
fn of_tls(server: &Server) -> Vec<(&'static str, String)> {
    let needs = |key, is_set: bool, other: &str, other_is_set: bool| {
        (is_set && !other_is_set).then(|| (key, format!("needs {other} beside it")))
    };
    let (cert, key) = (
        server.tls_cert_file.is_some(),
        server.tls_key_file.is_some(),
    );
    let (ca, san) = (
        server.tls_client_ca_file.is_some(),
        server.tls_client_san.is_some(),
    );
    let found = [
        needs("server.tls_cert_file", cert, "server.tls_key_file", key),
        needs("server.tls_key_file", key, "server.tls_cert_file", cert),
        needs(
            "server.tls_client_ca_file",
            ca,
            "server.tls_cert_file",
            cert,
        ),
        needs(
            "server.tls_client_san",
            san,
            "server.tls_client_ca_file",
            ca,
        ),
    ];
    found.into_iter().flatten().collect()
}

/// What is out of range for connections and their end.
fn of_connections(server: &Server) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (span, key) in [
        (server.max_connection_age, "server.max_connection_age"),
        (
            server.max_connection_age_grace,
            "server.max_connection_age_grace",
        ),
    ] {
        if span > CONNECTION_SPAN_MAX {
            found.push((key, "at most 8760h".to_owned()));
        }
    }
    // TCP counts in seconds.
    let spans = Duration::from_secs(1)..=Duration::from_secs(3_600 * 9);
    if !server.keepalive_interval.is_zero() && !spans.contains(&server.keepalive_interval) {
        let message = "0s for never, or 1s to 9h".to_owned();
        found.push(("server.keepalive_interval", message));
    }
    if !spans.contains(&server.keepalive_timeout) {
        found.push(("server.keepalive_timeout", "1s to 9h".to_owned()));
    }
    let waits = Duration::from_millis(100)..=Duration::from_secs(3_600);
    for (wait, key) in [
        (server.header_timeout, "server.header_timeout"),
        (server.body_timeout, "server.body_timeout"),
        (server.write_timeout, "server.write_timeout"),
    ] {
        if !waits.contains(&wait) {
            found.push((key, "100ms to 1h".to_owned()));
        }
    }
    if server.shutdown_delay > SHUTDOWN_DELAY_MAX {
        found.push(("server.shutdown_delay", "at most 1h".to_owned()));
    }
    for (connections, key) in [
        (server.max_connections, "server.max_connections"),
        (server.max_http_connections, "server.max_http_connections"),
    ] {
        if connections.get() > CONNECTIONS_MAX {
            found.push((key, format!("at most {CONNECTIONS_MAX}")));
        }
    }
    if server.max_connection_bytes < CONNECTION_BYTES_MIN {
        let message = format!("at least {CONNECTION_BYTES_MIN}");
        found.push(("server.max_connection_bytes", message));
    }
    if server.max_buffered_bytes < server.max_connection_bytes {
        let message = "at least server.max_connection_bytes".to_owned();
        found.push(("server.max_buffered_bytes", message));
    }
    found
}

/// What contradicts itself in `mesh`.
fn of_mesh(mesh: &Mesh) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut check = |is_right: bool, key, message: &str| {
        if !is_right {
            found.push((key, message.to_owned()));
        }
    };
    check(
        (1..=CLUSTER_CHARACTERS_MAX).contains(&mesh.cluster.chars().count()),
        "mesh.cluster",
        "1 to 63 characters",
    );
    let ticks = Duration::from_millis(1)..=Duration::from_secs(1);
    check(ticks.contains(&mesh.tick), "mesh.tick", "1ms to 1s");
    check(
        mesh.max_staleness >= mesh.tick,
        "mesh.max_staleness",
        "at least as long as mesh.tick",
    );
    check(
        mesh.advertise
            .is_none_or(|address| !address.ip().is_unspecified() && address.port() != 0),
        "mesh.advertise",
        "an address and port peers can send to, neither unspecified nor port 0",
    );
    check(
        (512..=8_900).contains(&mesh.max_datagram_bytes),
        "mesh.max_datagram_bytes",
        "512 to 8900",
    );
    check(
        mesh.max_send_bytes_per_s >= 65_536,
        "mesh.max_send_bytes_per_s",
        "at least 65536",
    );
    check(
        mesh.snapshot_timeout <= SNAPSHOT_TIMEOUT_MAX,
        "mesh.snapshot_timeout",
        "at most 10m",
    );
    check(
        RULES_GRACE_RANGE.contains(&mesh.rules_grace),
        "mesh.rules_grace",
        "1s to 24h",
    );
    for (bytes, key) in [
        (mesh.receive_buffer_bytes, "mesh.receive_buffer_bytes"),
        (mesh.send_buffer_bytes, "mesh.send_buffer_bytes"),
    ] {
        check(
            BUFFER_BYTES_RANGE.contains(&bytes),
            key,
            "65536 to 1073741824",
        );
    }
    check(
        mesh.mode() != MeshMode::Refused,
        "mesh.bootstrap_peers",
        "counts would be exchanged unsealed, and anybody on the network could change them: name the \
         cluster's keys in mesh.key_file (`hivectl keygen` makes one), or bind mesh.bind to loopback, \
         or, on a network you trust as a whole, set mesh.insecure: true",
    );
    found
}

/// Whether two sockets of the same kind cannot be open side by side.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = |a: IpAddr, b: IpAddr| {
        a == b || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())
    };
    one.port() == other.port() && one.port() != 0 && overlap(one.ip(), other.ip())
}

#[cfg(test)]
mod tests {
    use super::super::Peer;
    use super::super::setting::FromText;
    use super::*;

    fn keys_of_contradictions(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        let mut config = Config::with_node_name("node".to_owned());
        change(&mut config);
        contradictions(&config)
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }

    #[test]
    fn the_defaults_hold_together() {
        assert!(keys_of_contradictions(|_| {}).is_empty());
    }

    #[test]
    fn every_contradiction_names_a_key_that_exists() {
        let found = keys_of_contradictions(|config| {
            config.region.max_keys = std::num::NonZeroU32::MAX;
            config.region.rules_bytes = 5;
            config.region.label_bytes = 5;
            config.metrics.max_series = 1_000_001;
            config.server.http_port = config.server.grpc_port;
            config.admin.port = config.server.grpc_port;
            config.metrics.bind = Some(config.server.grpc_bind());
            config.server.max_connection_age = Duration::MAX;
            config.server.max_connection_age_grace = Duration::MAX;
            config.server.keepalive_interval = Duration::from_millis(1);
            config.server.keepalive_timeout = Duration::ZERO;
            config.server.header_timeout = Duration::ZERO;
            config.server.body_timeout = Duration::from_secs(3_601);
            config.server.write_timeout = Duration::ZERO;
            config.server.max_connections = std::num::NonZeroU32::MAX;
            config.server.max_http_connections = std::num::NonZeroU32::MAX;
            config.server.max_connection_bytes = 1;
            config.server.max_buffered_bytes = 0;
            config.mesh.tick = Duration::ZERO;
            config.mesh.advertise = Some(([0, 0, 0, 0], 1).into());
            config.mesh.cluster = "x".repeat(64);
            config.mesh.max_datagram_bytes = 511;
            config.mesh.max_send_bytes_per_s = 65_535;
            config.mesh.snapshot_timeout = Duration::from_secs(601);
            config.mesh.rules_grace = Duration::ZERO;
            config.mesh.receive_buffer_bytes = 1;
            config.mesh.send_buffer_bytes = 1 << 31;
            config.mesh.bootstrap_peers = vec![Peer::from_text("peer").unwrap()];
            config.rate_limiting.source = RulesSource::Xds;
            config.xds.tls_cert_file = Some("cert.pem".into());
            config.xds.connect_timeout = Duration::ZERO;
            config.xds.keepalive_interval = Duration::ZERO;
            config.xds.backoff_max = Duration::from_secs(3_601);
            config.xds.backoff_initial = Duration::ZERO;
            config.xds.max_message_bytes = 0;
        });
        assert_eq!(found.len(), 39, "{found:?}");
        assert!(
            found
                .iter()
                .all(|path| super::super::schema::key(path).is_some()),
            "{found:?}"
        );
    }

    #[test]
    fn tls_needs_a_certificate_and_its_key_and_a_name_needs_an_authority() {
        let path = || Some(std::path::PathBuf::from("file"));
        let found = keys_of_contradictions(|config| config.server.tls_cert_file = path());
        assert_eq!(found, ["server.tls_cert_file"]);
        let found = keys_of_contradictions(|config| config.server.tls_key_file = path());
        assert_eq!(found, ["server.tls_key_file"]);
        let found = keys_of_contradictions(|config| config.server.tls_client_ca_file = path());
        assert_eq!(found, ["server.tls_client_ca_file"]);
        let found = keys_of_contradictions(|config| {
            config.server.tls_client_san = Some("envoy".to_owned());
        });
        assert_eq!(found, ["server.tls_client_san"]);
    }

    #[test]
    fn free_ports_never_collide() {
        assert!(
            keys_of_contradictions(|config| {
                config.server.grpc_port = 0;
                config.server.http_port = 0;
                config.admin.port = 0;
            })
            .is_empty()
        );
    }

    #[test]
    fn what_waits_longer_than_it_may_is_a_contradiction() {
        let found = keys_of_contradictions(|config| config.mesh.tick = Duration::from_secs(1));
        assert_eq!(found, ["mesh.max_staleness"]);
        let equal = keys_of_contradictions(|config| config.mesh.max_staleness = config.mesh.tick);
        assert!(equal.is_empty(), "{equal:?}");
    }

    #[test]
    fn peers_without_keys_are_refused_unless_that_was_asked_for() {
        let peers = || vec![Peer::from_text("peer").unwrap()];
        let found = keys_of_contradictions(|config| config.mesh.bootstrap_peers = peers());
        assert_eq!(found, ["mesh.bootstrap_peers"]);
        let found = keys_of_contradictions(|config| {
            config.mesh.bootstrap_peers = peers();
            config.mesh.insecure = true;
        });
        assert!(found.is_empty(), "{found:?}");
    }
}
