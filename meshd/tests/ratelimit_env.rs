//! Started in the place of envoyproxy/ratelimit, with its environment and nothing else.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

#[path = "support/control_plane.rs"]
mod control_plane;
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use self::control_plane::{ControlPlane, per_user};
use self::support::certificates::Authority;
use self::support::{Client, RULES, Site, admitted, ask, descriptor, eventually, request};

/// meshd without a service file, in the site's directory, with these variables and a region and ports of
/// the site's own.
fn in_place_of_the_reference(site: &Site, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshd"));
    command
        .current_dir(site.path(""))
        .env("HIVEMIND_REGION_PATH", site.path("region"))
        .env("HIVEMIND_REGION_MAX_KEYS", "1024")
        .envs([("PORT", "0"), ("GRPC_PORT", "0"), ("DEBUG_PORT", "0")])
        .envs([("HOST", "127.0.0.1"), ("GRPC_HOST", "127.0.0.1")])
        .envs(variables.iter().copied());
    command
}

fn text_of(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_compose_file_of_the_reference_starts_meshd_with_its_rules() {
    let site = Site::new("no rules");
    fs::create_dir_all(site.path("ratelimit/config")).expect("a directory");
    site.write("ratelimit/config/test.yaml", RULES);
    let root = text_of(site.path(""));
    let meshd = site.start_command(in_place_of_the_reference(
        &site,
        &[
            ("USE_STATSD", "false"),
            ("LOG_LEVEL", "debug"),
            ("REDIS_SOCKET_TYPE", "tcp"),
            ("REDIS_URL", "redis:6379"),
            ("REDIS_AUTH", "s3cret"),
            ("MEMCACHE_HOST_PORT", "memcached:11211"),
            ("RUNTIME_ROOT", &root),
            ("RUNTIME_SUBDIRECTORY", "ratelimit"),
        ],
    ));
    assert_eq!(admitted(&mut meshd.client().await, "ann", 5).await, 3);

    let log = meshd.log();
    let line = "MEMCACHE_HOST_PORT, REDIS_AUTH, REDIS_SOCKET_TYPE, REDIS_URL have no effect";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(!log.contains("s3cret"), "{log}");

    // Its files are watched as well.
    site.write(
        "ratelimit/config/test.yaml",
        &RULES.replace("requests_per_unit: 3", "requests_per_unit: 7"),
    );
    eventually("the edit is in force", || {
        meshd.admin("/rules").1.contains("7 per year").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_deployment_of_envoy_gateway_starts_meshd_with_the_rules_it_serves() {
    let authority = Authority::new("Envoy Gateway");
    let (gateway, own) = (
        authority.issue("localhost"),
        authority.issue("envoy-ratelimit"),
    );
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&gateway.cert, &gateway.key))
        .client_ca_root(Certificate::from_pem(&authority.pem));
    let server = ControlPlane::start_at(0, Some(tls));

    let site = Site::new("no rules");
    site.write("ca.crt", &authority.pem);
    site.write("tls.crt", &own.cert);
    site.write("tls.key", &own.key);
    let file = |name: &str| text_of(site.path(name));
    let (ca, cert, key) = (file("ca.crt"), file("tls.crt"), file("tls.key"));
    let url = format!("localhost:{}", server.address.port());
    let meshd = site.start_command(in_place_of_the_reference(
        &site,
        &[
            ("RUNTIME_ROOT", "/data"),
            ("RUNTIME_SUBDIRECTORY", "ratelimit"),
            ("RUNTIME_IGNOREDOTFILES", "true"),
            ("RUNTIME_WATCH_ROOT", "false"),
            ("LOG_LEVEL", "info"),
            ("USE_STATSD", "false"),
            ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
            ("CONFIG_GRPC_XDS_SERVER_URL", &url),
            ("CONFIG_GRPC_XDS_NODE_ID", "envoy-ratelimit"),
            ("GRPC_SERVER_USE_TLS", "true"),
            ("GRPC_SERVER_TLS_CERT", &cert),
            ("GRPC_SERVER_TLS_KEY", &key),
            ("GRPC_SERVER_TLS_CA_CERT", &ca),
            ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
            ("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", &cert),
            ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", &key),
            ("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", &ca),
            ("FORCE_START_WITHOUT_INITIAL_CONFIG", "true"),
            ("REDIS_SOCKET_TYPE", "tcp"),
            ("REDIS_URL", "redis.redis.svc:6379"),
            ("USE_PROMETHEUS", "true"),
            ("PROMETHEUS_ADDR", ":0"),
            ("PROMETHEUS_MAPPER_YAML", "/etc/statsd-exporter/conf.yaml"),
        ],
    ));
    // As the Deployment's probes ask: before there are any rules.
    assert_eq!(meshd.http("/healthcheck").0, 200);
    let first = server.heard("the first request", |_| true);
    assert_eq!(first.request.node.expect("the node").id, "envoy-ratelimit");
    server.set("1", &[per_user(3)]);
    server.acknowledged("1");

    // As the gateway's Envoys call.
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&authority.pem))
        .domain_name("envoy-ratelimit");
    let channel = Endpoint::from_shared(format!("https://127.0.0.1:{}", meshd.ports.grpc))
        .expect("an endpoint")
        .tls_config(tls)
        .expect("good TLS")
        .connect()
        .await
        .expect("meshd accepts connections");
    assert_eq!(admitted(&mut Client::new(channel), "ann", 5).await, 3);
    let scraped = meshd.metrics("/metrics").1;
    assert!(
        scraped.contains("ratelimit_service_rate_limit_over_limit"),
        "{scraped}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rules_of_a_management_server_do_not_count_what_is_refused_where_the_variable_says_so() {
    for (stops, left) in [("true", 3), ("false", 1)] {
        let server = ControlPlane::start_at(0, None);
        server.set("1", &[per_user(3)]);
        let url = format!("127.0.0.1:{}", server.address.port());
        let site = Site::new("no rules");
        let meshd = site.start_command(in_place_of_the_reference(
            &site,
            &[
                ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
                ("CONFIG_GRPC_XDS_SERVER_URL", &url),
                ("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", stops),
            ],
        ));
        server.acknowledged("1");
        let mut client = meshd.client().await;
        assert_eq!(admitted(&mut client, "bob", 5).await, 3);
        let both = || {
            ["ann", "bob"]
                .map(|user| descriptor(&[("user", user)]))
                .to_vec()
        };
        for _ in 0..2 {
            let answer = ask(&mut client, request(both())).await;
            assert_eq!(answer.overall_code(), Code::OverLimit);
        }
        let mut look = request(vec![descriptor(&[("user", "ann")])]);
        look.descriptors[0].hits_addend = Some(0);
        let answer = ask(&mut client, look).await;
        assert_eq!(answer.statuses[0].limit_remaining, left, "{stops}");
    }
}

#[test]
fn a_wrong_variable_is_status_64_beside_every_other_problem() {
    let site = Site::new(RULES);
    let output = site
        .command(&["--ratelimit-env", "--region-mode", "0"])
        .env("GRPC_PORT", "many")
        .env("SHADOW_MODE", "yes")
        .output()
        .expect("meshd can be run");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in [
        "GRPC_PORT: server.grpc_port: expected a number",
        "SHADOW_MODE: rate_limiting.shadow_mode: expected true or false, not \"yes\"",
        "--region-mode: region.mode: expected",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }

    let printed = site
        .command(&["--print-config", "--ratelimit-env=false"])
        .env("GRPC_PORT", "many")
        .output()
        .expect("meshd can be run");
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
}
