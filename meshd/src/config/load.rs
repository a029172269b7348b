//! Puts the layers together: a flag wins over the environment, the environment over the variables of
//! envoyproxy/ratelimit where those are read, they over the service file, and the file over the defaults. All problems of all layers are found in one go.

use std::ffi::OsString;
use std::path::PathBuf;

use hivemind_shared::yaml::{Problem, Problems, Span};

use super::file::FileLayer;
use super::log_filter::LogFilter;
use super::origin::Origin;
use super::schema::{KEYS, Key};
use super::setting::Value;
use super::{Config, checks, environment, ratelimit_env};

/// Where a configuration comes from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The service file.
    pub file: PathBuf,
    /// Whether the file may be missing, because nobody named it.
    pub file_is_optional: bool,
    /// The environment of the process.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags that were given, with their values.
    pub flags: Vec<(&'static Key, String)>,
    /// Whether the environment variables of envoyproxy/ratelimit are read; when it is not said, the
    /// environment decides.
    pub ratelimit_env: Option<bool>,
}

/// A configuration that holds together, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each setting came from, in the order of [`KEYS`].
    pub origins: Vec<Origin>,
    /// What is odd but harmless; to be logged.
    pub warnings: Vec<String>,
    /// What `RUST_LOG` says beside `log.level`; none where a flag sets that.
    pub log_filter: Option<LogFilter>,
}

/// One setting of some layer.
struct Assignment {
    key: &'static Key,
    value: Value,
    origin: Origin,
    /// Where in the file it stands.
    span: Option<Span>,
}

/// Loads the configuration.
///
/// # Errors
///
/// Every problem there is, with file, line and column where it has them. Nothing else was touched.
pub fn load(sources: Sources) -> Result<Loaded, Problems> {
    let (loaded, problems) = load_what_is_right(sources);
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(loaded)
}

/// The configuration without the settings that are wrong, and every problem there is.
pub fn load_what_is_right(sources: Sources) -> (Loaded, Problems) {
    let mut problems = Problems::default();
    let mut warnings = Vec::new();

    let file = if sources.file_is_optional && !sources.file.exists() {
        let path = sources.file.display();
        warnings.push(format!(
            "no service file at {path}: defaults and the environment apply"
        ));
        None
    } else {
        Some(FileLayer::read(&sources.file, &mut problems))
    };
    let layers = [
        ratelimit_env::read(&sources.environment, sources.ratelimit_env),
        environment::read(&sources.environment),
    ];

    let from_file = file.iter().flat_map(|layer| {
        layer.assignments.iter().map(|assignment| Assignment {
            key: assignment.key,
            value: assignment.value.clone(),
            origin: layer.origin(assignment.span),
            span: Some(assignment.span),
        })
    });
    let mut from_environment = Vec::new();
    let mut defaults = Vec::new();
    for layer in layers {
        warnings.extend(layer.warnings);
        problems.extend(layer.problems);
        let without_place = |(key, value, origin)| Assignment {
            key,
            value,
            origin,
            span: None,
        };
        from_environment.extend(layer.assignments.into_iter().map(without_place));
        defaults.extend(layer.defaults.into_iter().map(without_place));
    }
    let is_level = |(key, _): &(&Key, String)| key.path() == "log.level";
    let log_filter = if sources.flags.iter().any(is_level) {
        None
    } else {
        LogFilter::read(&sources.environment).unwrap_or_else(|warning| {
            warnings.push(warning);
            None
        })
    };
    let from_flags = sources.flags.into_iter().map(|(key, text)| Assignment {
        key,
        value: Value::Text(text),
        origin: Origin::Flag(format!("--{}", key.flag())),
        span: None,
    });

    let mut config = Config::with_node_name(host_name());
    let mut places: Vec<(Origin, Option<Span>)> = vec![(Origin::Default, None); KEYS.len()];
    let problem_at = |(origin, span): &(Origin, Option<Span>), message: String| match (&file, span)
    {
        (Some(file), Some(span)) => file.problem(*span, message),
        _ => Problem::with_file(origin.to_string(), message),
    };
    let assignments = defaults
        .into_iter()
        .chain(from_file)
        .chain(from_environment)
        .chain(from_flags);
    for assignment in assignments {
        let Assignment {
            key,
            value,
            origin,
            span,
        } = assignment;
        let place = (origin, span);
        match (key.set)(&mut config, &value) {
            Ok(()) => {
                if let Some(slot) = KEYS
                    .iter()
                    .position(|candidate| std::ptr::eq(candidate, key))
                {
                    places[slot] = place;
                }
            }
            Err(expected) => {
                problems.push(problem_at(&place, format!("{}: {expected}", key.path())));
            }
        }
    }
    // What belongs together is only known to be wrong once the parts are right.
    for (path, message) in checks::contradictions(&config) {
        let place = KEYS
            .iter()
            .position(|key| key.path() == path)
            .map(|slot| &places[slot]);
        let place = place.cloned().unwrap_or((Origin::Default, None));
        problems.push(problem_at(&place, format!("{path}: {message}")));
    }

    let origins = places.into_iter().map(|(origin, _)| origin).collect();
    let loaded = Loaded {
        config,
        origins,
        warnings,
        log_filter,
    };
    (loaded, problems)
}

/// The name of this host, as the kernel has it.
fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// Loads a service file of this text.
    fn load_text(
        text: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Loaded, Problems> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hivemind.yaml");
        std::fs::write(&file, text).unwrap();
        load(Sources {
            file,
            file_is_optional: false,
            environment: environment
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            flags: flags
                .iter()
                .map(|(path, value)| {
                    (
                        super::super::schema::key(path).unwrap(),
                        (*value).to_owned(),
                    )
                })
                .collect(),
            ratelimit_env: None,
        })
    }

    /// The problems of a service file as `line:column message`.
    fn problems_of(text: &str) -> Vec<String> {
        let problems = load_text(text, &[], &[]).expect_err("there are problems");
        problems
            .iter()
            .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
            .collect()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        for text in [
            "",
            "# nothing\n",
            "region:\n# all commented out\n",
            "node: {name: }\n",
        ] {
            let loaded = load_text(text, &[], &[]).unwrap();
            assert_eq!(
                loaded.config,
                Config::with_node_name(host_name()),
                "{text:?}"
            );
            assert!(
                loaded
                    .origins
                    .iter()
                    .all(|origin| *origin == Origin::Default)
            );
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let file = "server:\n  address: 127.0.0.1\n  grpc_port: 1\n  http_port: 2\n";
        let environment = [
            ("HIVEMIND_SERVER_GRPC_PORT", "3"),
            ("HIVEMIND_SERVER_HTTP_PORT", "4"),
        ];
        let flags = [("server.http_port", "5")];
        let loaded = load_text(file, &environment, &flags).unwrap();

        let server = &loaded.config.server;
        assert_eq!(server.address, Ipv4Addr::LOCALHOST);
        assert_eq!((server.grpc_port, server.http_port), (3, 5));
        let origin_of = |path: &str| {
            let mut origins = KEYS.iter().zip(&loaded.origins);
            let found = origins.find(|(key, _)| key.path() == path);
            found.map(|(_, origin)| origin.to_string()).unwrap()
        };
        let origins = ["address", "grpc_port", "grpc_socket", "http_port"]
            .map(|name| origin_of(&format!("server.{name}")));
        assert!(origins[0].ends_with("hivemind.yaml:2"), "{origins:?}");
        assert_eq!(
            origins[1..],
            ["HIVEMIND_SERVER_GRPC_PORT", "default", "--server-http-port"].map(str::to_owned)
        );
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_place() {
        let problems = problems_of(
            "region:\n  max_key: 5\n  mode: 0999\nserver:\n  grpc_port: 70000\n  address: [1, 2]\n\
             admn: {}\nmesh:\n  tick: 5\n  bootstrap_peers: [a, {b: 1}]\n",
        );
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert_eq!(problems[0], "2:3 unknown key in region: 'max_key'");
        assert!(problems[1].starts_with("3:9 region.mode: expected read and write permissions"));
        assert!(
            problems[2].starts_with("5:14 server.grpc_port: expected a number from 0 to 65535")
        );
        assert!(problems[3].starts_with("6:12 server.address: expected an IP address"));
        assert_eq!(problems[4], "7:1 unknown section: 'admn'");
        assert!(problems[5].starts_with("9:9 mesh.tick: expected a whole number with a unit"));
        assert!(problems[6].starts_with("10:"), "{problems:#?}");
    }

    #[test]
    fn a_problem_shows_the_line_and_what_was_probably_meant() {
        let problems = load_text("region:\n  max_kesy: 5\n", &[], &[])
            .unwrap_err()
            .to_string();
        assert!(problems.contains("2 |   max_kesy: 5\n"), "{problems}");
        assert!(problems.contains("did you mean 'max_keys'?"), "{problems}");
    }

    #[test]
    fn problems_of_the_environment_and_of_flags_name_their_source() {
        let environment = [("HIVEMIND_SERVER_GRPC_PORT", "many")];
        let flags = [("region.max_keys", "0")];
        let problems = load_text("", &environment, &flags).unwrap_err().to_string();
        assert!(
            problems.contains("HIVEMIND_SERVER_GRPC_PORT: server.grpc_port: expected"),
            "{problems}"
        );
        assert!(
            problems.contains("--region-max-keys: region.max_keys: expected"),
            "{problems}"
        );
    }

    #[test]
    fn a_wrong_value_is_a_problem_even_where_a_higher_layer_wins() {
        let environment = [("HIVEMIND_SERVER_GRPC_PORT", "1")];
        assert!(load_text("server: {grpc_port: many}\n", &environment, &[]).is_err());
    }

    #[test]
    fn a_key_given_twice_and_a_second_document_are_problems() {
        let problems = problems_of("admin: {port: 1, port: 2}\n---\nadmin: {port: 3}\n");
        assert_eq!(problems.len(), 2, "{problems:#?}");
        assert!(
            problems[0].starts_with("1:18 'port' is given a second time"),
            "{problems:#?}"
        );
    }

    #[test]
    fn shapes_that_make_no_sense_are_problems_not_panics() {
        for text in [
            "[]",
            "5",
            "region: []",
            "region: 5",
            "[a]: 5",
            "region: {[a]: 5}",
            "region: {path: {}}",
            "{",
            "a: b: c",
        ] {
            assert!(!problems_of(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn contradictions_point_at_the_setting_that_was_made() {
        let problems = problems_of("server:\n  http_port: 8081\n");
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("2:14 server.http_port: "),
            "{problems:#?}"
        );
    }

    #[test]
    fn a_missing_file_is_a_problem_only_when_it_was_asked_for() {
        let sources = |file_is_optional| Sources {
            file: PathBuf::from("/nonexistent/hivemind.yaml"),
            file_is_optional,
            ..Sources::default()
        };
        let problems = load(sources(false)).unwrap_err().to_string();
        assert!(
            problems.contains("/nonexistent/hivemind.yaml: cannot read"),
            "{problems}"
        );
        let loaded = load(sources(true)).unwrap();
        assert_eq!(loaded.warnings.len(), 1);
    }

    #[test]
    fn the_service_file_that_is_shipped_holds_the_defaults() {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/hivemind.yaml");
        let sources = Sources {
            file: PathBuf::from(shipped),
            ..Sources::default()
        };
        let loaded = load(sources).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.config, Config::with_node_name(host_name()));
    }

    #[test]
    fn the_printed_configuration_loads_as_the_same_configuration() {
        let file = "node: {name: \"yes: #1\"}\nmesh: {bootstrap_peers: [a, '[::1]:5', _h._udp.b], epsilon: 0.5, insecure: true, preset: wan}\n\
                    region: {mode: 0660}\nlog: {format: json}\nserver: {address: '::'}\n";
        let first = load_text(file, &[], &[]).unwrap();
        let printed = super::super::print(&first);
        let second = load_text(&printed, &[], &[]).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(first.config, second.config, "{printed}");
    }
}
