//! Why meshd ends other than by being asked to, and the exit status that says so.

use std::io;
use std::process::ExitCode;

use hivemind_shared::region::OwnError;
use hivemind_shared::yaml::Problems;

use crate::handover::predecessor::TakeoverError;
use crate::healthcheck::HealthcheckError;
use crate::ports_file::PortsFileError;
use crate::region_owner::OpenError;
use crate::server::listen::ListenError;

/// Why meshd ends other than by being asked to. Exit statuses follow `sysexits.h`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The service file, the environment, the flags, the key file or the files of TLS are wrong: status 64. Nothing was
    /// touched.
    #[error("{0}meshd: {count} in the configuration, nothing was started", count = count(.0))]
    Config(Problems),
    /// The rules are wrong: status 65. Nothing was touched.
    #[error("{0}meshd: {count} in the rules, nothing was started", count = count(.0))]
    Rules(Problems),
    /// The region: status 69 when another meshd owns it, 65 when the rules do not fit in it, else 73.
    #[error("meshd: {0}")]
    Region(#[from] OpenError),
    /// The meshd that owns the region did not hand over: status 69.
    #[error("meshd: {0}")]
    Takeover(#[from] TakeoverError),
    /// A socket: status 71.
    #[error("meshd: {0}")]
    Listen(#[from] ListenError),
    /// The ports file: status 73.
    #[error("meshd: {0}")]
    PortsFile(#[from] PortsFileError),
    /// `meshd healthcheck`: status 1 when meshd is not ready, 69 when it does not answer, 64 for arguments.
    #[error("meshd: {0}")]
    Healthcheck(#[from] HealthcheckError),
    /// Threads, signals or file descriptors: status 71.
    #[error("meshd: the operating system refused {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl Failure {
    /// Turns an I/O error into a failure that says what was asked for.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit status.
    pub fn exit_code(&self) -> ExitCode {
        let status = match self {
            Self::Config(_) => 64,
            Self::Healthcheck(error) => error.status(),
            Self::Rules(_) | Self::Region(OpenError::Publish(_)) => 65,
            Self::Region(OpenError::Own(OwnError::Owned { .. })) | Self::Takeover(_) => 69,
            Self::Listen(_) | Self::System { .. } => 71,
            Self::Region(OpenError::Own(_)) | Self::PortsFile(_) => 73,
        };
        ExitCode::from(status)
    }
}

/// "1 problem", "2 problems".
fn count(problems: &Problems) -> String {
    let plural = if problems.len() == 1 { "" } else { "s" };
    format!("{} problem{plural}", problems.len())
}
