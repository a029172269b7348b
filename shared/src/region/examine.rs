//! What a start would meet at the path of a region, found out without changing anything.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use rustix::io::Errno;

use super::error::{OwnError, PublishError};
use super::layout::{Layout, STATS_CELLS};
use super::lock::owner_pid;
use super::mapping::Mapping;
use super::owner::{check_same, lay_out, refuse_foreign};
use super::view::RegionView;
use super::{RegionOptions, place, rules_area};
use crate::rules::{RuleSet, assign_stats, encode};

/// Says how many bytes rules take in a new region, which have to fit into its `rules_bytes`. In a region that goes on,
/// places of statistics may be other numbers, which makes 128 bytes more or less.
///
/// # Errors
/// [`PublishError`]: they do not.
pub fn check_rules_fit(rules: &RuleSet, rules_bytes: u64) -> Result<u64, PublishError> {
    let mut rules = rules.clone();
    assign_stats(
        &mut rules,
        None,
        u32::try_from(STATS_CELLS).unwrap_or(u32::MAX),
    );
    let bytes = encode(&rules).len() as u64;
    rules_area::fit(bytes, rules_bytes).map(|()| bytes)
}

/// Looks whether a daemon could own the region at `path`, as [`super::OwnedRegion::open`] would. Nothing is made or
/// changed. Whether memory that a file system promises is there is not known before it is asked for.
///
/// # Errors
/// [`OwnError`], as it would be. [`OwnError::Owned`] comes last: where that daemon hands over, all else is well.
pub fn examine(path: &Path, options: &RegionOptions) -> Result<(), OwnError> {
    let layout = lay_out(options)?;
    let directory = place::examine_directory(path)?;
    let file = place::open_own(path)?;
    let owned = match &file {
        Some(file) => owner(file, path)?,
        None => None,
    };
    if !file.is_some_and(|file| is_resumed(&file, path, options, &layout)) {
        // A new one is made beside it, which takes its place.
        accessat(
            CWD,
            directory,
            Access::WRITE_OK | Access::EXEC_OK,
            AtFlags::EACCESS,
        )
        .map_err(|error| failed(path, "create")(error.into()))?;
        check_room(path, directory, layout.size_bytes)?;
    }
    owned.map_or(Ok(()), Err)
}

/// The daemon that owns the region in this file, as the error it would be.
fn owner(file: &File, path: &Path) -> Result<Option<OwnError>, OwnError> {
    let owned = match file.try_lock_shared() {
        Ok(()) => {
            file.unlock().map_err(failed(path, "unlock"))?;
            None
        }
        Err(TryLockError::WouldBlock) => Some(OwnError::Owned {
            path: path.to_owned(),
            pid: owner_pid(file, path),
        }),
        Err(TryLockError::Error(source)) => return Err(failed(path, "lock")(source)),
    };
    let length = file.metadata().map_err(failed(path, "examine"))?.len();
    if length > 0 {
        refuse_foreign(file, path)?;
    }
    Ok(owned)
}

/// Whether the region in this file goes on.
fn is_resumed(file: &File, path: &Path, options: &RegionOptions, layout: &Layout) -> bool {
    RegionView::of_file(file, path, Mapping::read_only)
        .is_ok_and(|view| check_same(&view, options, layout).is_ok())
}

fn check_room(path: &Path, directory: &Path, bytes: u64) -> Result<(), OwnError> {
    let system = statvfs(directory)
        .map_err(|error| failed(path, "examine the directory of")(error.into()))?;
    // Without a number of blocks there is no bound.
    if system.f_blocks == 0 || system.f_bavail.saturating_mul(system.f_frsize) >= bytes {
        return Ok(());
    }
    Err(OwnError::NoRoom {
        path: path.to_owned(),
        bytes,
        source: Errno::NOSPC.into(),
    })
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> OwnError {
    move |source| OwnError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
