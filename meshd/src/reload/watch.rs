//! Noticing that files have changed, by looking at them.
//!
//! Looking works where notifications do not: on network file systems, in containers that share a
//! volume, and when a symbolic link anywhere on the way is swapped. A look costs a few system calls.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hivemind_shared::bounded_file::FileKind;
use hivemind_shared::rules::files::{self, Found};

/// How often the files are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How long a change has to stand still before it counts: a file is not read in the middle of being
/// written, nor a directory in the middle of being filled.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);

/// What the files look like from the outside; different whenever their content may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Signature {
    /// Nothing was looked at yet.
    None,
    /// The path could not be looked into, for this reason.
    Unreadable(std::io::ErrorKind),
    /// The files, links followed, and what is there beside them.
    Files {
        files: Vec<(PathBuf, Option<FileSignature>)>,
        skipped: Vec<(PathBuf, FileKind)>,
    },
}

/// One file from the outside: which one it is, and when it was changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileSignature {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn of(path: &Path) -> Self {
        match files::find(path) {
            Ok(Found { files, skipped }) => Self::Files {
                files: files
                    .into_iter()
                    .map(|file| {
                        let signature = fs::metadata(&file).ok().map(|metadata| FileSignature {
                            device: metadata.dev(),
                            inode: metadata.ino(),
                            size_bytes: metadata.len(),
                            modified: (metadata.mtime(), metadata.mtime_nsec()),
                            changed: (metadata.ctime(), metadata.ctime_nsec()),
                        });
                        (file, signature)
                    })
                    .collect(),
                skipped,
            },
            Err(error) => Self::Unreadable(error.kind()),
        }
    }
}

/// Looks at files and says when they have changed and come to rest.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    /// What was there when a change was last reported.
    reported: Signature,
    /// A change that was seen once and has to be seen again.
    unsettled: Option<Signature>,
}

impl Watch {
    /// A watch of this path that reports what it finds first as a change: that way nothing written
    /// between an earlier reading and the first look goes unnoticed.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            reported: Signature::None,
            unsettled: None,
        }
    }

    /// Looks once; true when the files differ from those of the last report and have settled.
    pub(super) fn look(&mut self) -> bool {
        let now = Signature::of(&self.path);
        if now == self.reported {
            self.unsettled = None;
            return false;
        }
        if self.unsettled.as_ref() != Some(&now) {
            self.unsettled = Some(now);
            return false;
        }
        self.unsettled = None;
        self.reported = now;
        true
    }

    /// How long to wait before the next look.
    pub(super) fn interval(&self) -> Duration {
        if self.unsettled.is_some() {
            SETTLE_INTERVAL
        } else {
            POLL_INTERVAL
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A watch that has reported what there is.
    fn settled_watch(path: &Path) -> Watch {
        let mut watch = Watch::new(path.to_owned());
        assert!(!watch.look(), "a change has to be seen twice");
        assert!(watch.look(), "what is there first is a change");
        assert!(!watch.look(), "and then no more");
        watch
    }

    /// Whether the watch reports a change that stands still.
    fn reports_change(watch: &mut Watch) -> bool {
        !watch.look() && watch.look() && !watch.look()
    }

    #[test]
    fn nothing_is_reported_while_nothing_changes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "one").unwrap();
        let mut watch = settled_watch(dir.path());
        fs::write(dir.path().join("README"), "not a rules file").unwrap();
        assert!(!watch.look() && !watch.look());
    }

    #[test]
    fn files_that_are_written_added_replaced_or_removed_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "one").unwrap();
        let mut watch = settled_watch(dir.path());

        fs::write(&path, "three").unwrap();
        assert!(reports_change(&mut watch), "written");
        fs::write(dir.path().join("b.yml"), "two").unwrap();
        assert!(reports_change(&mut watch), "added");
        let fresh = dir.path().join("fresh");
        fs::write(&fresh, "three").unwrap();
        fs::rename(&fresh, &path).unwrap();
        assert!(
            reports_change(&mut watch),
            "replaced by a file of the same size"
        );
        fs::remove_file(&path).unwrap();
        assert!(reports_change(&mut watch), "removed");
    }

    #[test]
    fn a_swapped_link_is_a_change_though_no_file_was_written() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["..one", "..two"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("rules.yaml"), "same").unwrap();
        }
        symlink("..one", dir.path().join("..data")).unwrap();
        symlink("..data/rules.yaml", dir.path().join("rules.yaml")).unwrap();
        let mut watch = settled_watch(dir.path());

        symlink("..two", dir.path().join("..fresh")).unwrap();
        fs::rename(dir.path().join("..fresh"), dir.path().join("..data")).unwrap();
        assert!(reports_change(&mut watch));
    }

    #[test]
    fn a_path_that_disappears_and_comes_back_is_two_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.yaml");
        fs::write(&path, "one").unwrap();
        let mut watch = settled_watch(&path);
        fs::remove_file(&path).unwrap();
        assert!(reports_change(&mut watch));
        fs::write(&path, "one").unwrap();
        assert!(reports_change(&mut watch));
    }

    #[test]
    fn a_change_that_goes_on_is_not_reported_before_it_rests() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.yaml");
        fs::write(&path, "").unwrap();
        let mut watch = settled_watch(&path);
        for length in 1..10 {
            fs::write(&path, "x".repeat(length)).unwrap();
            assert!(!watch.look());
            assert_eq!(watch.interval(), SETTLE_INTERVAL);
        }
        assert!(watch.look());
        assert_eq!(watch.interval(), POLL_INTERVAL);
    }
}
