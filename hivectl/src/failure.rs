//! Why hivectl did not do what it was asked to, and the exit status that says so.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use hivemind_shared::region::LoadRulesError;

use crate::admin::AdminError;
use crate::commands::keygen::KeygenError;
use crate::commands::log_level::RefusedLogLevel;
use crate::commands::reset::RefusedReset;
use crate::region::OpenRegionError;
use crate::rules::UnusableRules;

/// Exit status of `hivectl diff` when there are differences, as that of diff(1).
pub(crate) const STATUS_DIFFERS: u8 = 1;
/// Exit status of `hivectl reset` when nothing is counted that could be reset, as that of grep(1).
const STATUS_NOTHING: u8 = 1;
/// Exit status of wrong arguments, `EX_USAGE` of `sysexits.h` like the others here.
pub(crate) const STATUS_USAGE: u8 = 64;
const STATUS_RULES: u8 = 65;
const STATUS_FILE: u8 = 66;
const STATUS_MESHD: u8 = 69;
const STATUS_SYSTEM: u8 = 71;
const STATUS_OUTPUT: u8 = 74;
const STATUS_FORBIDDEN: u8 = 77;

/// Why hivectl did not do what it was asked to. It changes nothing by itself, and nothing has changed unless the
/// error says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments do not fit together.
    #[error("error: {0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// The rules cannot be used: whoever wrote them is told all of it.
    #[error("{0}")]
    Rules(#[from] UnusableRules),
    /// There is no region to look into.
    #[error("hivectl: {0}")]
    Region(#[from] OpenRegionError),
    /// There are no rules in the region.
    #[error("hivectl: no rules can be read from {path}: {source}", path = path.display())]
    Published {
        path: PathBuf,
        source: LoadRulesError,
    },
    /// There is no meshd to ask.
    #[error("hivectl: {0}")]
    Admin(#[from] AdminError),
    /// meshd did not reset what it was asked to.
    #[error("hivectl: {0}")]
    Reset(#[from] RefusedReset),
    /// meshd did not change its log level.
    #[error("hivectl: {0}")]
    LogLevel(#[from] RefusedLogLevel),
    /// There is no key file.
    #[error("hivectl: {0}")]
    Keygen(#[from] KeygenError),
    /// The result could not be written; a disk is full, or the reader has gone.
    #[error("hivectl: cannot write the result: {0}")]
    Output(#[from] io::Error),
}

impl UnusableRules {
    /// The exit status.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Wrong(_) => STATUS_RULES,
            Self::Unreadable(_) => STATUS_FILE,
        })
    }
}

impl Failure {
    /// Says what went wrong on the standard error.
    pub(crate) fn print(&self) {
        if !self.is_closed_pipe() {
            // There is nowhere left to say that this cannot be said.
            let _ = writeln!(io::stderr().lock(), "{self}");
        }
    }

    /// The exit status.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Output(_) if self.is_closed_pipe() => ExitCode::SUCCESS,
            Self::Usage(_) => ExitCode::from(STATUS_USAGE),
            Self::Rules(unusable) => unusable.exit_code(),
            Self::Region(_) | Self::Published { .. } => ExitCode::from(STATUS_FILE),
            Self::Admin(_) => ExitCode::from(STATUS_MESHD),
            Self::Reset(refused) => ExitCode::from(match refused {
                RefusedReset::Off { .. } => STATUS_FORBIDDEN,
                RefusedReset::NothingCounted { .. } => STATUS_NOTHING,
                RefusedReset::Other { .. } => STATUS_MESHD,
            }),
            Self::LogLevel(refused) => ExitCode::from(match refused {
                RefusedLogLevel::Off { .. } => STATUS_FORBIDDEN,
                RefusedLogLevel::Other { .. } => STATUS_MESHD,
            }),
            Self::Keygen(error) => ExitCode::from(match error {
                KeygenError::WrongFile { .. } | KeygenError::NotKeys { .. } => STATUS_RULES,
                KeygenError::Read { .. } => STATUS_FILE,
                KeygenError::Random(_) => STATUS_SYSTEM,
                KeygenError::Exists { .. } | KeygenError::Write { .. } => STATUS_OUTPUT,
            }),
            Self::Output(_) => ExitCode::from(STATUS_OUTPUT),
        }
    }

    /// Whether the reader has seen enough, which is no failure at all.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
