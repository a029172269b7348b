//! The command line. What a command alone can be asked for is declared in the command's own file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{check, diff, explain, keygen, log_level, ls, peers, reset, stat};

const EXIT_STATUS: &str = "\
Exit status:
  0   done
  1   `diff` found differences; `reset` found nothing that is counted
  64  wrong arguments
  65  wrong rules, or a wrong key file
  66  the region or another file cannot be opened
  69  meshd cannot be reached, or cannot do it now
  71  the system gives no random numbers
  74  the result cannot be written
  77  meshd is not set to allow it
A reader that stops listening (`| head`) ends hivectl quietly with 0.

Results go to the standard output, everything else to the standard error.";

/// Looks into a Hivemind region, live or copied, has counters reset, checks rules before they are deployed,
/// and makes keys.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    /// The region's file [default: $HIVEMIND_REGION_PATH, else /dev/shm/hivemind/region]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) region: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Stat(stat::Options),
    Ls(ls::Options),
    Peers(peers::Options),
    Reset(reset::Options),
    LogLevel(log_level::Options),
    Check(check::Options),
    Explain(explain::Options),
    Diff(diff::Options),
    Keygen(keygen::Options),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_documented_default_path_is_the_one_that_is_used() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains(hivemind_shared::region::DEFAULT_PATH));
        assert!(help.contains(crate::region::PATH_VARIABLE));
    }
}
