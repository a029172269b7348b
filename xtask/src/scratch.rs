//! A directory for the files of one run, gone when the run is over.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where shared memory is on Linux.
const SHARED_MEMORY: &str = "/dev/shm";

/// A directory for configuration, sockets and logs, and one on a tmpfs for the region.
#[derive(Debug)]
pub struct Scratch {
    files: TempDir,
    memory: TempDir,
}

impl Scratch {
    /// Makes both directories. Without a usable `/dev/shm` the region goes where the files go.
    ///
    /// # Errors
    ///
    /// When the system's directory for temporary files takes none.
    pub fn new() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("hivemind-");
        let files = builder.tempdir()?;
        let memory = builder
            .tempdir_in(SHARED_MEMORY)
            .or_else(|_| builder.tempdir())?;
        Ok(Self { files, memory })
    }

    /// The directory for ordinary files.
    pub fn dir(&self) -> &Path {
        self.files.path()
    }

    /// The path of a file in [`Self::dir`].
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Where the region belongs.
    pub fn region(&self) -> PathBuf {
        self.memory.path().join("hivemind.region")
    }
}
