//! Finding and opening the region.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hivemind_shared::region::{AttachError, DEFAULT_PATH, RegionView};

/// Names the region when `--region` does not; meshd reads the same variable.
pub(crate) const PATH_VARIABLE: &str = "HIVEMIND_REGION_PATH";

/// Where the region is, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegionPlace {
    path: PathBuf,
    origin: PathOrigin,
}

/// Where a region's path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathOrigin {
    Flag,
    Environment,
    Default,
}

impl fmt::Display for PathOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("from --region"),
            Self::Environment => write!(f, "from {PATH_VARIABLE}"),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// Why a region could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "{cause}\n  looked at {path} ({origin}); --region PATH or {PATH_VARIABLE} names another{instead}", path = path.display()
)]
pub(crate) struct OpenRegionError {
    path: PathBuf,
    origin: PathOrigin,
    cause: Cause,
    /// What else could have been asked for, as the end of the sentence.
    instead: &'static str,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Opening a named pipe would wait for a writer, and nothing but a file can be mapped.
    #[error("a region is an ordinary file, and this is {0}")]
    NotAFile(&'static str),
}

impl RegionPlace {
    /// The flag wins over the variable, the variable over the default; an empty variable is none.
    pub(crate) fn find(flag: Option<PathBuf>, variable: Option<OsString>) -> Self {
        let variable = variable.filter(|value| !value.is_empty());
        let (path, origin) = match (flag, variable) {
            (Some(path), _) => (path, PathOrigin::Flag),
            (None, Some(path)) => (path.into(), PathOrigin::Environment),
            (None, None) => (DEFAULT_PATH.into(), PathOrigin::Default),
        };
        Self { path, origin }
    }

    /// Whether `--region` names it.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.origin == PathOrigin::Flag
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the region for reading.
    pub(crate) fn open(&self) -> Result<RegionView, OpenRegionError> {
        open(&self.path).map_err(|cause| OpenRegionError {
            path: self.path.clone(),
            origin: self.origin,
            cause,
            instead: "",
        })
    }
}

impl OpenRegionError {
    /// The same, with what else could have been asked for.
    pub(crate) fn or(self, instead: &'static str) -> Self {
        Self { instead, ..self }
    }
}

impl fmt::Display for RegionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.origin)
    }
}

fn open(path: &Path) -> Result<RegionView, Cause> {
    // What cannot be examined cannot be opened either, which says why.
    if let Ok(Some(kind)) = kind_of_no_file(path) {
        return Err(Cause::NotAFile(kind));
    }
    Ok(RegionView::open(path)?)
}

/// What is at `path` if it is no ordinary file.
fn kind_of_no_file(path: &Path) -> io::Result<Option<&'static str>> {
    let kind = std::fs::symlink_metadata(path)?.file_type();
    Ok(if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("a symbolic link, which is not followed")
    } else if kind.is_dir() {
        Some("a directory")
    } else {
        Some("a device, pipe or socket")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flag: Option<&str>, variable: Option<&str>) -> (PathBuf, PathOrigin) {
        let place = RegionPlace::find(flag.map(PathBuf::from), variable.map(OsString::from));
        (place.path, place.origin)
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_the_variable_over_the_default() {
        let flag = ("/flag".into(), PathOrigin::Flag);
        assert_eq!(found(Some("/flag"), Some("/variable")), flag);
        let variable = ("/variable".into(), PathOrigin::Environment);
        assert_eq!(found(None, Some("/variable")), variable);
        let default = (DEFAULT_PATH.into(), PathOrigin::Default);
        assert_eq!(found(None, None), default);
        assert_eq!(found(None, Some("")), default);
    }
}
