//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{BoolValueParser, PathBufValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::Sources;
use crate::config::schema::KEYS;

/// The service file when `--config` names none.
const DEFAULT_CONFIG: &str = "config/hivemind.yaml";

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
    /// Check configuration and rules, and touch nothing.
    Check,
    /// Print the configuration with the origin of each value.
    PrintConfig,
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
    Ok(Invocation {
        sources,
        action: action(&matches),
    })
}

fn action(matches: &ArgMatches) -> Action {
    if matches.get_flag("check") {
        Action::Check
    } else if matches.get_flag("print-config") {
        Action::PrintConfig
    } else {
        Action::Run {
            ports_file: matches.get_one("ports-file").cloned(),
        }
    }
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
             time; 71 a port or thread could not be had; 73 the region or ports file could not be made.",
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("PATH")
                .value_parser(PathBufValueParser::new())
                .help(format!("The service file [default: {DEFAULT_CONFIG}]")),
        )
        .arg(
            Arg::new("ports-file")
                .long("ports-file")
                .value_name("PATH")
                .value_parser(PathBufValueParser::new())
                .help("Write the ports that were chosen to this file, as JSON"),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Check the service file and the rules, then exit; nothing is opened"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .conflicts_with("check")
                .help("Print the settings in force and where each comes from, then exit"),
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
