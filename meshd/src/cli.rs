//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolValueParser, PathBufValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::schema::KEYS;
use crate::config::{self, Sources};
use crate::healthcheck::{Asked, Healthcheck};

/// The service file when `--config` names none.
const DEFAULT_CONFIG: &str = "config/hivemind.yaml";

/// How long an answer of a running meshd may take when `--timeout` does not say: as long as probes of Kubernetes.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// What meshd was called for.
#[derive(Debug)]
pub struct Invocation {
    /// Where the configuration comes from.
    pub sources: Sources,
    /// What to do with it.
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the daemon.
    Run {
        /// Where to write the ports that were chosen.
        ports_file: Option<PathBuf>,
    },
    /// Say what a start would say, and change nothing.
    Check {
        /// Where a start would write the ports that were chosen.
        ports_file: Option<PathBuf>,
    },
    /// Print the configuration with the origin of each value.
    PrintConfig,
    /// Ask the meshd that runs how it is.
    Healthcheck(Healthcheck),
}

/// Reads the command line.
///
/// # Errors
///
/// clap's own: what is wrong with the arguments, or the text of `--help` and `--version`.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let (matches, action) = match matches.subcommand() {
        Some((_, of_healthcheck)) => {
            let healthcheck = healthcheck(of_healthcheck);
            (of_healthcheck, Action::Healthcheck(healthcheck))
        }
        None => (&matches, action(&matches)),
    };
    let flags = KEYS.iter().filter_map(|key| {
        let text = matches.get_one::<String>(&key.path())?;
        Some((key, text.clone()))
    });
    let named = matches.get_one::<PathBuf>("config").cloned();
    let sources = Sources {
        file_is_optional: named.is_none(),
        file: named.unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG)),
        environment: environment.into_iter().collect(),
        flags: flags.collect(),
        ratelimit_env: matches.get_one("ratelimit-env").copied(),
    };
    Ok(Invocation { sources, action })
}

fn action(matches: &ArgMatches) -> Action {
    let ports_file = matches.get_one("ports-file").cloned();
    if matches.get_flag("check") {
        Action::Check { ports_file }
    } else if matches.get_flag("print-config") {
        Action::PrintConfig
    } else {
        Action::Run { ports_file }
    }
}

fn healthcheck(matches: &ArgMatches) -> Healthcheck {
    let asked = if matches.get_flag("live") {
        Asked::Live
    } else {
        Asked::Ready
    };
    let timeout = matches.get_one("timeout").copied();
    Healthcheck {
        asked,
        timeout: timeout.unwrap_or(HEALTHCHECK_TIMEOUT),
        ports_file: matches.get_one("ports-file").cloned(),
    }
}

/// What is asked of a running meshd, for probes in images without a shell.
fn healthcheck_command() -> Command {
    let command = Command::new("healthcheck")
        .about("Asks the meshd that runs on this host whether it is ready")
        .long_about(
            "Asks the meshd that runs on this host whether it is ready, on its HTTP port (/ready): for probes in \
             images without a shell.\n\n\
             Address and port are found as meshd found them: service file, variables and flags are those it was \
             started with. Settings that are wrong by now are passed over, as meshd has read them long ago.",
        )
        .after_help(
            "Exit status: 0 ready, or with --live running; 1 not ready, and why is on the standard error; 64 wrong \
             arguments; 69 nobody answers in time.",
        )
        .arg(
            Arg::new("live")
                .long("live")
                .action(ArgAction::SetTrue)
                .help("Ask whether it runs and answers (/live), ready or not"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .value_parser(duration)
                .help("How long the answer may take [default: 1s]"),
        )
        .arg(ports_file("The ports file of meshd, where its HTTP port is 0"));
    with_sources(command)
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "expected 500ms or 2s, for example".to_owned())
}

fn ports_file(help: &'static str) -> Arg {
    Arg::new("ports-file")
        .long("ports-file")
        .value_name("PATH")
        .value_parser(PathBufValueParser::new())
        .help(help)
}

fn command() -> Command {
    let command = Command::new("meshd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The Hivemind daemon: owns the region and serves the Rate Limit Service")
        .after_help(
            "Every setting is also a key of the service file and an environment variable \
             HIVEMIND_<SECTION>_<KEY>; a flag wins over the variable, the variable over the file. \
             Between the last two are the variables of envoyproxy/ratelimit, if they are read.\n\n\
             Started beside a running meshd with the same region, it takes over from it, and no client \
             notices.\n\n\
             Exit status: 0 stopped as asked, or handed over; 64 wrong arguments, service file, key file \
             or TLS files; 65 wrong rules; 69 another meshd owns the region and has not handed over in \
             time; 71 a port or thread could not be had; 73 the region or ports file could not be made. Those of \
             `meshd healthcheck` are in its own help.",
        )
        .subcommand(healthcheck_command())
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .arg(ports_file("Write the ports that were chosen to this file, as JSON"))
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Say what a start would say, of settings, files, rules, region, ports and sockets, then exit; nothing is changed"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .conflicts_with("check")
                .help("Print the settings in force and where each comes from, then exit"),
        );
    with_sources(command)
}

/// The command with everything that a configuration comes from.
fn with_sources(command: Command) -> Command {
    let command = command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("PATH")
                .value_parser(PathBufValueParser::new())
                .help(format!("The service file [default: {DEFAULT_CONFIG}]")),
        )
        .arg(
            Arg::new("ratelimit-env")
                .long("ratelimit-env")
                .value_name("BOOLEAN")
                .value_parser(BoolValueParser::new())
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .help(
                    "Read the environment variables of envoyproxy/ratelimit as well; without this, that \
                     is done when there are any that nobody else has",
                ),
        )
        .next_help_heading("Settings");
    command.args(KEYS.iter().map(|key| {
        Arg::new(key.path())
            .long(key.flag())
            .value_name(key.value_name)
            .help(key.help)
            // `--mesh-tick -5ms` is a wrong value, for the configuration to explain.
            .allow_hyphen_values(true)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Invocation, clap::Error> {
        parse(line.split(' ').map(OsString::from), [])
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_key_is_a_flag() {
        let invocation =
            parse_line("meshd --region-max-keys 5 --mesh-bootstrap-peers=a,b --log-level debug")
                .unwrap();
        let flags: Vec<(String, &str)> = invocation
            .sources
            .flags
            .iter()
            .map(|(key, text)| (key.path(), text.as_str()))
            .collect();
        let expected = [
            ("region.max_keys", "5"),
            ("mesh.bootstrap_peers", "a,b"),
            ("log.level", "debug"),
        ];
        assert_eq!(flags, expected.map(|(path, text)| (path.to_owned(), text)));
    }

    #[test]
    fn the_service_file_may_be_missing_only_by_default() {
        assert!(parse_line("meshd").unwrap().sources.file_is_optional);
        let named = parse_line("meshd --config config/hivemind.yaml")
            .unwrap()
            .sources;
        assert!(!named.file_is_optional);
    }

    #[test]
    fn an_unknown_flag_is_an_error_with_a_suggestion() {
        let error = parse_line("meshd --region-max-kesy 5")
            .unwrap_err()
            .to_string();
        assert!(error.contains("--region-max-keys"), "{error}");
    }
}
