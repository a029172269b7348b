//! Building the binaries that the demo, the benchmarks and the tests start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;

use crate::workspace;

/// Which of cargo's profiles to build with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build, slow to run.
    Dev,
    /// What users run, and what is measured.
    Release,
}

impl Profile {
    /// The name cargo knows the profile by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }
}

/// What a run needs, built and current.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The daemon.
    pub meshd: PathBuf,
    /// The inspection tool.
    pub hivectl: PathBuf,
    /// The directory `libhivemind.so` is in, for `ENVOY_DYNAMIC_MODULES_SEARCH_PATH`.
    pub module_dir: PathBuf,
}

/// Why there is nothing to start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `cargo` itself did not start.
    #[error("cannot run {cargo}: {source}; is Rust installed?")]
    NoCargo {
        /// The program that was tried.
        cargo: String,
        /// What the system said.
        source: io::Error,
    },
    /// The compiler found an error; it is on standard error, above.
    #[error("cargo build ended with {0}; its errors are above")]
    Failed(ExitStatus),
    /// The build went well without the file we wanted: a target was renamed.
    #[error("cargo build made no `{0}`; this is a bug in xtask")]
    Missing(String),
}

/// Builds meshd, hivectl and the module.
///
/// # Errors
///
/// [`BuildError`]; the compiler's own errors go to standard error.
pub fn binaries(profile: Profile) -> Result<Binaries, BuildError> {
    let built = build(
        profile,
        &["-p", "meshd", "-p", "hivectl", "-p", "hivemind-module"],
    )?;
    Ok(Binaries {
        meshd: built.file("meshd")?,
        hivectl: built.file("hivectl")?,
        module_dir: parent(&built.file("hivemind")?),
    })
}

/// Builds the SDK's example of a module that does nothing, and hands back the directory of
/// `libempty.so`: what it costs is what Envoy itself takes to run any module.
///
/// # Errors
///
/// [`BuildError`].
pub fn empty_module_dir(profile: Profile) -> Result<PathBuf, BuildError> {
    let arguments = [
        "-p",
        "envoy-proxy-dynamic-modules-rust-sdk",
        "--example",
        "empty",
    ];
    Ok(parent(&build(profile, &arguments)?.file("empty")?))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// What a build made: a file a target, by the target's name.
struct Built(BTreeMap<String, PathBuf>);

impl Built {
    fn file(&self, target: &str) -> Result<PathBuf, BuildError> {
        self.0
            .get(target)
            .cloned()
            .ok_or_else(|| BuildError::Missing(target.to_owned()))
    }
}

fn build(profile: Profile, arguments: &[&str]) -> Result<Built, BuildError> {
    // Under `cargo run` and `cargo test` this is the very cargo that runs us.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(&cargo)
        .current_dir(workspace::root())
        .args([
            "build",
            "--message-format=json-render-diagnostics",
            "--profile",
            profile.name(),
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| BuildError::NoCargo {
            cargo: cargo.to_string_lossy().into_owned(),
            source,
        })?;
    if !output.status.success() {
        return Err(BuildError::Failed(output.status));
    }
    Ok(Built(artifacts(&String::from_utf8_lossy(&output.stdout))))
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

/// The files of binaries and shared libraries in cargo's messages, a JSON object a line.
fn artifacts(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| Some((message.target?, message.filenames.into_iter().next()?)))
        .filter(|(target, _)| {
            target
                .crate_types
                .iter()
                .any(|it| it == "bin" || it == "cdylib")
        })
        .map(|(target, file)| (target.name, file))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_and_shared_libraries_are_found_in_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"serde","crate_types":["lib"]},"filenames":["/t/libserde.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"meshd","crate_types":["bin"]},"filenames":["/t/meshd"]}"#,
            "\nnot a message\n",
            r#"{"reason":"compiler-artifact","target":{"name":"hivemind","crate_types":["cdylib"]},"filenames":["/t/libhivemind.so"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = artifacts(messages);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["hivemind", "meshd"]);
        assert_eq!(found["hivemind"], Path::new("/t/libhivemind.so"));
    }
}
