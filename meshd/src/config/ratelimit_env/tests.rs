use super::super::{Config, Loaded, Sources, load};
use super::variables::tests::variables;
use super::*;
use std::path::PathBuf;
use std::time::Duration;

fn load_with(wanted: Option<bool>, pairs: &[(&str, &str)]) -> Result<Loaded, String> {
    let sources = Sources {
        file: PathBuf::from("/nonexistent/hivemind.yaml"),
        file_is_optional: true,
        environment: variables(pairs),
        flags: Vec::new(),
        ratelimit_env: wanted,
    };
    load(sources).map_err(|problems| problems.to_string())
}

fn config_of(pairs: &[(&str, &str)]) -> Config {
    load_with(Some(true), pairs)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

#[test]
fn every_key_of_the_tables_exists_and_no_variable_is_in_two_places() {
    let mut names: Vec<&str> = Vec::new();
    for (variable, key) in EQUALS
        .iter()
        .map(|equal| (equal.variable, equal.key))
        .chain(COMBINED)
    {
        assert!(schema::key(key).is_some(), "{variable} is {key}");
        names.push(variable);
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_specification_has_the_same_table() {
    let specification = include_str!("../../../../SPECIFICATION.md");
    let (_, section) = specification
        .split_once("\n### 11.1 Environment variables of envoyproxy/ratelimit\n")
        .expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    // Those without an equal are in a table of two columns.
    let documented: Vec<(&str, &str)> = rows
        .iter()
        .filter(|cells| cells.len() == 5)
        .map(|cells| (cells[1].trim_matches('`'), cells[2].trim_matches('`')))
        .collect();
    let mut known: Vec<(&str, &str)> = EQUALS
        .iter()
        .map(|equal| (equal.variable, equal.key))
        .chain(COMBINED)
        .collect();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    known.sort_unstable();
    assert_eq!(sorted, known);
    for name in WITHOUT_EQUAL.iter().flat_map(|group| group.names) {
        assert!(
            section.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
}

#[test]
fn the_variables_of_envoy_gateway_give_a_server_of_its_rules() {
    let loaded = load_with(
        None,
        &[
            ("RUNTIME_ROOT", "/data"),
            ("RUNTIME_SUBDIRECTORY", "ratelimit"),
            ("RUNTIME_IGNOREDOTFILES", "true"),
            ("RUNTIME_WATCH_ROOT", "false"),
            ("LOG_LEVEL", "info"),
            ("USE_STATSD", "false"),
            ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
            ("CONFIG_GRPC_XDS_SERVER_URL", "envoy-gateway:18001"),
            ("CONFIG_GRPC_XDS_NODE_ID", "envoy-ratelimit"),
            ("GRPC_SERVER_USE_TLS", "true"),
            ("GRPC_SERVER_TLS_CERT", "/certs/tls.crt"),
            ("GRPC_SERVER_TLS_KEY", "/certs/tls.key"),
            ("GRPC_SERVER_TLS_CA_CERT", "/certs/ca.crt"),
            ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
            ("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", "/certs/tls.crt"),
            ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", "/certs/tls.key"),
            ("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", "/certs/ca.crt"),
            ("FORCE_START_WITHOUT_INITIAL_CONFIG", "true"),
            ("REDIS_SOCKET_TYPE", "tcp"),
            ("REDIS_URL", "redis.redis.svc:6379"),
            ("REDIS_AUTH", "s3cret"),
            ("USE_PROMETHEUS", "true"),
            ("PROMETHEUS_ADDR", ":19001"),
            ("PROMETHEUS_MAPPER_YAML", "/etc/statsd-exporter/conf.yaml"),
        ],
    )
    .unwrap_or_else(|problems| panic!("{problems}"));

    let Config {
        server,
        xds,
        rate_limiting,
        metrics,
        ..
    } = &loaded.config;
    assert_eq!(rate_limiting.source.name(), "xds");
    assert!(!rate_limiting.require_initial_config);
    assert_eq!(
        xds.server.as_ref().unwrap().to_string(),
        "envoy-gateway:18001"
    );
    assert_eq!(xds.node_id, "envoy-ratelimit");
    assert!(xds.tls);
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(xds.tls_ca_file, path("/certs/ca.crt"));
    assert_eq!(server.tls_cert_file, path("/certs/tls.crt"));
    assert_eq!(server.tls_key_file, path("/certs/tls.key"));
    assert_eq!(server.tls_client_ca_file, None);
    assert!(metrics.ratelimit_compat);
    assert_eq!(metrics.bind.unwrap().to_string(), "0.0.0.0:19001");

    let warnings = loaded.warnings.join("\n");
    assert!(
        warnings.contains("REDIS_AUTH, REDIS_SOCKET_TYPE, REDIS_URL have no effect"),
        "{warnings}"
    );
    assert!(
        warnings.contains("GRPC_SERVER_TLS_CA_CERT has no effect"),
        "{warnings}"
    );
    assert!(
        warnings.contains("HIVEMIND_RATELIMIT_ENV=false"),
        "{warnings}"
    );
    assert!(!warnings.contains("s3cret"), "{warnings}");
}

#[test]
fn the_variables_of_the_compose_file_give_its_rules() {
    let loaded = load_with(
        None,
        &[
            ("USE_STATSD", "false"),
            ("LOG_LEVEL", "debug"),
            ("REDIS_SOCKET_TYPE", "tcp"),
            ("REDIS_URL", "redis:6379"),
            ("RUNTIME_ROOT", "/data"),
            ("RUNTIME_SUBDIRECTORY", "ratelimit"),
            ("MEMCACHE_HOST_PORT", "memcached:11211"),
        ],
    )
    .unwrap();
    let path = &loaded.config.rate_limiting.config_path;
    assert_eq!(path, &PathBuf::from("/data/ratelimit/config"));
    assert_eq!(loaded.config.log.level.name(), "debug");
    let path_key = schema::KEYS
        .iter()
        .position(|key| key.path() == "rate_limiting.config_path")
        .unwrap();
    let origin = loaded.origins[path_key].to_string();
    assert_eq!(origin, "RUNTIME_ROOT, RUNTIME_SUBDIRECTORY");
}

#[test]
fn values_are_taken_as_go_writes_them() {
    let config = config_of(&[
        ("HOST", "127.0.0.1"),
        ("PORT", "9080"),
        ("GRPC_HOST", "::1"),
        ("GRPC_PORT", "9081"),
        ("GRPC_UDS", "/run/ratelimit.sock"),
        ("DEBUG_HOST", "localhost"),
        ("DEBUG_PORT", "9070"),
        ("GRPC_MAX_CONNECTION_AGE", "1h30m"),
        ("SHADOW_MODE", "T"),
        ("LOG_FORMAT", "JSON"),
        ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "x-a:b,x-c:d"),
        ("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", "0"),
        ("LIMIT_LIMIT_HEADER", ""),
    ]);
    assert_eq!(config.server.http_bind().to_string(), "127.0.0.1:9080");
    assert_eq!(config.server.grpc_bind().to_string(), "[::1]:9081");
    assert_eq!(
        config.server.grpc_socket,
        Some(PathBuf::from("/run/ratelimit.sock"))
    );
    assert_eq!(
        (config.admin.address.to_string().as_str(), config.admin.port),
        ("127.0.0.1", 9070)
    );
    assert_eq!(config.server.max_connection_age, Duration::from_secs(5_400));
    assert!(config.rate_limiting.shadow_mode);
    assert_eq!(config.log.format.name(), "json");
    assert_eq!(
        config.xds.headers.iter().collect::<Vec<_>>(),
        [("x-a", "b"), ("x-c", "d")]
    );
    assert_eq!(config.xds.max_message_bytes, 4 << 20);
    assert_eq!(config.rate_limiting.limit_header, "RateLimit-Limit");
}

#[test]
fn rules_of_a_server_come_from_where_the_reference_looks_unless_it_is_said() {
    let server_of = |pairs: &[(&str, &str)]| {
        let server = load_with(None, pairs).map(|loaded| loaded.config.xds.server);
        server.map(|server| server.expect("a server").to_string())
    };
    const XDS: (&str, &str) = ("CONFIG_TYPE", "GRPC_XDS_SOTW");
    assert_eq!(server_of(&[XDS]).as_deref(), Ok("localhost:18000"));
    let ours = ("HIVEMIND_XDS_SERVER", "ours:1");
    assert_eq!(server_of(&[XDS, ours]).as_deref(), Ok("ours:1"));
    let target = ("CONFIG_GRPC_XDS_SERVER_URL", "dns:///gateway:18001");
    assert_eq!(server_of(&[XDS, target]).as_deref(), Ok("gateway:18001"));
    for other in ["unix:///run/xds.sock", "dns://10.0.0.1/a:1", "gateway"] {
        let error = server_of(&[XDS, ("CONFIG_GRPC_XDS_SERVER_URL", other)]).unwrap_err();
        assert!(
            error.contains("CONFIG_GRPC_XDS_SERVER_URL: xds.server: expected a host and port"),
            "{error}"
        );
    }
}

#[test]
fn a_service_file_wins_over_what_the_reference_takes_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hivemind.yaml");
    let text = "xds: {server: 'file:1'}\nmetrics: {bind: '127.0.0.1:2'}\n";
    std::fs::write(&file, text).unwrap();
    let loaded = load(Sources {
        file,
        environment: variables(&[("CONFIG_TYPE", "GRPC_XDS_SOTW"), ("USE_PROMETHEUS", "true")]),
        ..Sources::default()
    });
    let config = loaded.unwrap().config;
    assert_eq!(config.xds.server.unwrap().to_string(), "file:1");
    assert_eq!(config.metrics.bind.unwrap().to_string(), "127.0.0.1:2");
}

#[test]
fn variables_that_only_memcached_needs_are_a_sign_of_the_reference() {
    for sign in [
        ("BACKEND_TYPE", "memcache"),
        ("MEMCACHE_HOST_PORT", "memcached:11211"),
        ("MEMCACHE_SRV", "_memcache._tcp.cache"),
    ] {
        let loaded = load_with(None, &[sign, ("PORT", "1")]).unwrap();
        assert_eq!(loaded.config.server.http_port, 1, "{sign:?}");
    }
    let other = load_with(None, &[("BACKEND_TYPE", "s3"), ("PORT", "1")]).unwrap();
    assert_eq!(other.config.server.http_port, 8080);
}

#[test]
fn more_than_the_whole_limit_is_never_near_it() {
    let ratio_of = |ratio| {
        config_of(&[("NEAR_LIMIT_RATIO", ratio)])
            .metrics
            .near_limit_ratio
    };
    assert_eq!(ratio_of("1.5"), ratio_of("1"));
    assert!(load_with(Some(true), &[("NEAR_LIMIT_RATIO", "-1")]).is_err());
}

#[test]
fn variables_of_ours_win_over_those_of_the_reference() {
    let config = config_of(&[("GRPC_PORT", "1"), ("HIVEMIND_SERVER_GRPC_PORT", "2")]);
    assert_eq!(config.server.grpc_port, 2);
}

#[test]
fn names_that_others_use_too_are_no_sign_of_the_reference() {
    let shared_names = [
        ("PORT", "5000"),
        ("HOST", "nowhere"),
        ("LOG_LEVEL", "chatty"),
        ("GRPC_PORT", "tcp://10.0.0.1:80"),
        ("REDIS_URL", "redis://:s3cret@redis"),
        ("CONFIG_TYPE", "yaml"),
    ];
    let loaded = load_with(None, &shared_names).unwrap();
    assert_eq!(loaded.config.server.http_port, 8080);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}

#[test]
fn the_switch_turns_the_variables_on_and_off_and_the_flag_wins() {
    let port_of =
        |wanted, pairs: &[(&str, &str)]| load_with(wanted, pairs).unwrap().config.server.http_port;
    assert_eq!(port_of(None, &[(SWITCH, "true"), ("PORT", "1")]), 1);
    let off = [(SWITCH, "false"), ("RUNTIME_ROOT", "/data"), ("PORT", "1")];
    assert_eq!(port_of(None, &off), 8080);
    assert_eq!(port_of(Some(true), &off), 1);
    assert_eq!(
        port_of(Some(false), &[(SWITCH, "true"), ("PORT", "1")]),
        8080
    );
    let error = load_with(None, &[(SWITCH, "maybe")]).unwrap_err();
    assert!(
        error.contains("HIVEMIND_RATELIMIT_ENV: expected true or false"),
        "{error}"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let error = load_with(
        Some(true),
        &[
            ("GRPC_PORT", "many"),
            ("QUOTA_MODE", "yes"),
            ("CONFIG_TYPE", "ETCD"),
            ("GRPC_SERVER_USE_TLS", "on"),
            ("FORCE_START_WITHOUT_INITIAL_CONFIG", "perhaps"),
            ("GRPC_MAX_CONNECTION_AGE", "1d"),
            ("HIVEMIND_REGION_MAX_KEYS", "none"),
        ],
    )
    .unwrap_err();
    for part in [
        "GRPC_PORT: server.grpc_port: expected a number from 0 to 65535",
        "QUOTA_MODE: rate_limiting.quota_mode: expected true or false, not \"yes\"",
        "CONFIG_TYPE: rate_limiting.source: expected FILE or GRPC_XDS_SOTW",
        "GRPC_SERVER_USE_TLS: expected true or false",
        "FORCE_START_WITHOUT_INITIAL_CONFIG: expected true or false",
        "GRPC_MAX_CONNECTION_AGE: server.max_connection_age: expected a duration",
        "HIVEMIND_REGION_MAX_KEYS: region.max_keys",
    ] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
}

#[test]
fn values_that_are_not_utf_8_are_problems() {
    use std::os::unix::ffi::OsStringExt;

    for (name, also) in [
        ("GRPC_PORT", None),
        ("RUNTIME_ROOT", None),
        (SWITCH, Some("PORT")),
    ] {
        let mut environment = vec![(name.into(), OsString::from_vec(vec![0xff]))];
        environment.extend(also.map(|also| (also.into(), "1".into())));
        let wanted = (name != SWITCH).then_some(true);
        let layer = read(&environment, wanted);
        assert_eq!(layer.problems.len(), 1, "{name}");
        assert!(layer.assignments.is_empty(), "{name}");
    }
}

#[test]
fn files_for_tls_mean_nothing_while_it_is_off() {
    let loaded = load_with(
        Some(true),
        &[("GRPC_SERVER_TLS_CERT", "c"), ("GRPC_SERVER_TLS_KEY", "k")],
    )
    .unwrap();
    assert_eq!(loaded.config.server.tls_cert_file, None);
    let warnings = loaded.warnings.join("\n");
    assert!(
        warnings.contains("GRPC_SERVER_TLS_CERT has no effect: GRPC_SERVER_USE_TLS is not true"),
        "{warnings}"
    );
}
