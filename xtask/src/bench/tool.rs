//! The programs we measure with: not ours, and not built by us.

use std::ffi::OsStr;

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// A program that has to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// An HTTP/1.1 and HTTP/2 client that sends an exact number of requests.
    H2load,
    /// Counts instructions.
    Valgrind,
    /// An HTTP/1.1 client that tells latencies.
    Wrk,
}

impl Tool {
    /// The program.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::H2load => "h2load",
            Self::Valgrind => "valgrind",
            Self::Wrk => "wrk",
        }
    }

    const fn debian_package(self) -> &'static str {
        match self {
            Self::H2load => "nghttp2-client",
            Self::Valgrind => "valgrind",
            Self::Wrk => "wrk",
        }
    }

    fn is_installed(self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(self.program()).is_file())
    }

    /// Runs it to its end and hands back what it wrote to standard output.
    pub(super) async fn run(
        self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<String> {
        let program = self.program();
        let output = Command::new(program)
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{program} ended with {}:\n{text}{errors}", output.status);
        }
        Ok(text)
    }
}

/// Checks that all of these are installed, before anything long begins.
pub(super) fn require(tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<Tool> = tools
        .iter()
        .copied()
        .filter(|tool| !tool.is_installed())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = |name: fn(Tool) -> &'static str, gap| {
        missing
            .iter()
            .map(|tool| name(*tool))
            .collect::<Vec<_>>()
            .join(gap)
    };
    bail!(
        "this is measured with {}, which is not installed; on Debian: apt-get install {}",
        list(Tool::program, " and "),
        list(Tool::debian_package, " ")
    )
}
