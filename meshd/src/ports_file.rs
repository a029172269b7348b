//! The file that tells which ports were chosen.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

use crate::directory;

/// The ports meshd listens on, as the file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Ports {
    /// The Rate Limit Service.
    pub grpc: u16,
    /// `/healthcheck`, `/ready`, `/json` and `/metrics`.
    pub http: u16,
    /// For operators.
    pub admin: u16,
    /// `/metrics` alone; `null` when there is no such port.
    pub metrics: Option<u16>,
    /// UDP, for peers; `null` when the mesh is off.
    pub mesh: Option<u16>,
}

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the ports file {}: {source}", path.display())]
pub struct PortsFileError {
    path: PathBuf,
    source: io::Error,
}

impl Ports {
    /// Whether the file could be written, as far as that is known before.
    ///
    /// # Errors
    ///
    /// When the directory is missing or may not be written.
    pub fn examine(path: &Path) -> Result<(), PortsFileError> {
        directory::may_make(path).map_err(|source| PortsFileError {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the file in one step: whoever waits for it never sees half of it.
    ///
    /// # Errors
    ///
    /// When the directory is missing or may not be written. What was there stays then.
    pub fn write(&self, path: &Path) -> Result<(), PortsFileError> {
        let failed = |source| PortsFileError {
            path: path.to_owned(),
            source,
        };
        let mut json = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        json.push(b'\n');
        // A name that nobody can guess, and nothing that is there already: the directory may be open to all.
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())
            .map_err(|error| failed(error.into()))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.new", u64::from_le_bytes(random)));
        let fresh = path.with_file_name(name);
        let mut file = File::create_new(&fresh).map_err(failed)?;
        let written = file
            .write_all(&json)
            .and_then(|()| std::fs::rename(&fresh, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        written.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports {
        grpc: 1,
        http: 2,
        admin: 3,
        metrics: Some(5),
        mesh: Some(4),
    };

    #[test]
    fn the_file_holds_the_ports_as_json_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ports.json");
        std::fs::write(&path, "of an earlier run, and longer than what follows").unwrap();
        PORTS.write(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"grpc\":1,\"http\":2,\"admin\":3,\"metrics\":5,\"mesh\":4}\n"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_mesh_that_is_off_has_no_port() {
        let ports = Ports {
            mesh: None,
            ..PORTS
        };
        let json = serde_json::to_string(&ports).unwrap();
        assert!(json.ends_with("\"mesh\":null}"), "{json}");
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_file() {
        let error = PORTS
            .write(Path::new("/nonexistent/ports.json"))
            .unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/ports.json"),
            "{error}"
        );
    }
}
