//! The right to own the region: a lock on its file, which the kernel takes back from a process that dies.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::OwnError;
use super::mapping::Mapping;
use super::place::{self, MadeDirectory};
use super::view::{FileIdentity, RegionView};
use crate::rules::RuleSet;

/// How often to start over when the file was replaced between opening and locking it.
const ATTEMPTS_MAX: u32 = 16;

/// The right to own the region at a path, as long as this lives. A file that was made for the lock alone, and never
/// became a region, goes with it.
#[derive(Debug)]
pub struct RegionLock {
    file: File,
    path: PathBuf,
    /// Whether another process has it too.
    is_shared: bool,
    /// Its directory, if that was made for it.
    made_directory: Option<MadeDirectory>,
}

impl RegionLock {
    /// Takes the right to the region at `path`. Where there is no file, an empty one of this `mode` is
    /// made, for the lock, and its directory where there is none.
    ///
    /// # Errors
    /// [`OwnError`]: owned by somebody else, no file, in reach of another user, or refused by the system.
    pub fn take(path: &Path, mode: u32) -> Result<Self, OwnError> {
        let failed = |action| failed(path, action);
        let mut made_directory = None;
        for _ in 0..ATTEMPTS_MAX {
            made_directory = place::prepare_directory(path, mode)?.or(made_directory);
            let file = match place::open_own(path)? {
                Some(file) => file,
                None => match place::create_new(path, mode) {
                    Ok(file) => file,
                    // Another process was quicker.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(failed("create")(error)),
                },
            };
            if let Some(lock) = Self::lock(file, path)? {
                return Ok(lock.with_directory(made_directory));
            }
        }
        Err(failed("lock")(io::Error::other(
            "the file is being replaced again and again",
        )))
    }

    /// The right to the region at `path` that another process shares by handing over `handle`, which
    /// comes from [`Self::share`]. `None` when it is about another file than the one there.
    ///
    /// # Errors
    /// [`OwnError`]: the handle has no lock and somebody else has, or refused by the system.
    pub fn of_shared(handle: OwnedFd, path: &Path) -> Result<Option<Self>, OwnError> {
        // Locking again what is locked through this very handle changes nothing.
        let lock = Self::lock(File::from(handle), path)?;
        Ok(lock.map(|mut lock| {
            lock.is_shared = true;
            lock
        }))
    }

    /// Of a file that was locked already.
    pub(super) fn held(file: File, path: &Path) -> Self {
        Self {
            file,
            path: path.to_owned(),
            is_shared: false,
            made_directory: None,
        }
    }

    fn with_directory(mut self, made: Option<MadeDirectory>) -> Self {
        self.made_directory = made;
        self
    }

    /// The directory that was made for the region, to be dropped when everything in it is gone again.
    pub const fn take_directory(&mut self) -> Option<MadeDirectory> {
        self.made_directory.take()
    }

    /// Locks an open file; `None` when it is not the one at `path` any more.
    fn lock(file: File, path: &Path) -> Result<Option<Self>, OwnError> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OwnError::Owned {
                    path: path.to_owned(),
                    pid: owner_pid(&file, path),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(path, "lock")(source)),
        }
        let metadata = file.metadata().map_err(failed(path, "examine"))?;
        let is_there = place::is_at(path, FileIdentity::of(&metadata));
        Ok(is_there.then(|| Self::held(file, path)))
    }

    /// A second handle on the same right, to hand to another process: it lasts until both are gone.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }

    /// Where the region is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rules that are in force in the region there, to put them in force in a new one in its place.
    /// `None` where there are none, and where the file is of another user, who may have written anything.
    pub fn rules(&self) -> Option<RuleSet> {
        let metadata = self.file.metadata().ok()?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return None;
        }
        let view = RegionView::of_file(&self.file, &self.path, Mapping::read_only).ok()?;
        view.load_rules().ok().map(|(_, rules)| rules)
    }

    /// Whether another process, which hands over, has the right too.
    pub(super) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Whether there is nothing in the file yet.
    pub(super) fn is_fresh(&self) -> Result<bool, OwnError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(failed(&self.path, "examine"))?.len() == 0)
    }
}

impl Drop for RegionLock {
    fn drop(&mut self) {
        // Nobody else removes or fills the file while it is locked.
        if let Ok(metadata) = self.file.metadata()
            && metadata.len() == 0
        {
            place::remove(&self.path, FileIdentity::of(&metadata));
        }
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> OwnError {
    move |source| OwnError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn owner_pid(file: &File, path: &Path) -> Option<u64> {
    let view = RegionView::of_file(file, path, Mapping::read_only).ok()?;
    Some(view.owner_pid()).filter(|&pid| pid != 0)
}
