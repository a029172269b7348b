//! The keys of the cluster: read before anything is opened, and read again when their file changes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hivemind_mesh::seal::{KEY_FILE_BYTES_MAX, KeyFileError, KeyRing};
use hivemind_shared::bounded_file::{self, Bounds, Deadline};
use hivemind_shared::yaml::{Problem, Problems};
use tracing::{error, info, warn};

use super::handle::{Command, MeshHandle};
use crate::config::{self, MeshMode};
use crate::panics::PanicNotice;
use crate::reload::{LastGood, Outcome, READ_TIME_MAX, ReloadStatus};
use crate::secret_file::{self, Readers};

/// The keys of a mesh that runs.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What datagrams are sealed and opened with.
    pub ring: KeyRing,
    /// What is odd about the file but no reason to stop.
    pub warning: Option<String>,
    /// Digest of the file's text; 0 when there is no file.
    digest: u64,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("cannot read: {0}")]
    Read(#[from] bounded_file::ReadError),
    #[error("not text")]
    NotText,
    #[error(transparent)]
    Content(#[from] KeyFileError),
}

impl ReadError {
    /// Whether the same file may be usable soon, without being changed.
    const fn is_transient(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_transient())
    }
}

/// Reads the keys; `None` when the mesh does not run and needs none.
///
/// # Errors
///
/// What is wrong with the file, with its name and line. It is the operator's to mend.
pub fn load(mesh: &config::Mesh) -> Result<Option<Keys>, Problems> {
    if mesh.mode() != MeshMode::On {
        return Ok(None);
    }
    let Some(path) = &mesh.key_file else {
        return Ok(Some(Keys {
            ring: KeyRing::open(&mesh.cluster),
            warning: None,
            digest: 0,
        }));
    };
    match read(path) {
        Ok(keys) => Ok(Some(keys)),
        Err(error) => {
            let problem = Problem::with_file(path.to_string_lossy(), error.to_string()).with_hint(
                "mesh.key_file names this file; every host of the cluster has the same one",
            );
            Err(problem.into())
        }
    }
}

fn read(path: &Path) -> Result<Keys, ReadError> {
    let bounds = Bounds {
        bytes_max: KEY_FILE_BYTES_MAX,
        deadline: Deadline::after(READ_TIME_MAX),
        streams: false,
    };
    let (bytes, metadata) = bounded_file::read(path, bounds)?;
    let text = String::from_utf8(bytes).map_err(|_| ReadError::NotText)?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Ok(Keys {
        ring: KeyRing::parse(&text)?,
        warning: secret_file::warning(path, &metadata, Readers::OwnerAlone, "the cluster's keys"),
        digest: hasher.finish(),
    })
}

/// Brings keys into force that were read again, and keeps those in force when the file is broken.
#[derive(Debug)]
pub(super) struct KeyReloader {
    path: PathBuf,
    mesh: MeshHandle,
    in_force: Keys,
    status: Arc<ReloadStatus>,
    /// What was wrong the last time, so that it is logged once.
    rejected: Option<String>,
}

impl KeyReloader {
    pub(super) fn new(path: PathBuf, in_force: Keys, mesh: MeshHandle) -> Self {
        Self {
            path,
            mesh,
            in_force,
            status: Arc::new(ReloadStatus::loaded()),
            rejected: None,
        }
    }

    /// How its reloads go.
    pub(super) fn status(&self) -> Arc<ReloadStatus> {
        Arc::clone(&self.status)
    }

    /// Brings keys into force if they are others.
    fn bring_into_force(&mut self, keys: Keys) -> Outcome {
        if keys.ring.hash_key() != self.in_force.ring.hash_key() {
            self.reject(
                "the hash key differs from the one in force: with another one all counters start \
                 anew, so it changes only with a restart of meshd; put the old `hash` line back, or \
                 restart"
                    .to_owned(),
            );
            return Outcome::Rejected;
        }
        self.status.succeeded();
        if self.rejected.take().is_some() {
            self.mesh.tell(Command::KeyFile(None));
            info!(path = %self.path.display(), "the key file is good again");
        }
        if keys.digest == self.in_force.digest {
            return Outcome::Unchanged;
        }
        if let Some(warning) = &keys.warning {
            warn!("{warning}");
        }
        self.mesh.tell(Command::ReplaceKeys(keys.ring.clone()));
        self.in_force = keys;
        info!(path = %self.path.display(), "keys reloaded");
        Outcome::Published
    }

    fn reject(&mut self, problem: String) {
        self.status.failed();
        if self.rejected.as_ref() == Some(&problem) {
            return;
        }
        let path = self.path.display();
        error!(%path, problem, "key file rejected, the keys from before stay in force");
        let detail =
            format!("the key file {path} is rejected, the keys from before stay: {problem}");
        self.mesh.tell(Command::KeyFile(Some(detail)));
        self.rejected = Some(problem);
    }
}

impl LastGood for KeyReloader {
    type Read = Result<Keys, ReadError>;
    const NAME: &'static str = "mesh-keys";

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reading(&self) -> Box<dyn FnOnce() -> Self::Read + Send> {
        let path = self.path.clone();
        Box::new(move || read(&path))
    }

    fn apply(&mut self, read: Self::Read) -> Outcome {
        match read {
            Ok(keys) => self.bring_into_force(keys),
            Err(error) => {
                self.reject(error.to_string());
                if error.is_transient() {
                    Outcome::Unreadable
                } else {
                    Outcome::Rejected
                }
            }
        }
    }

    fn is_overdue(&mut self, problem: &str) {
        self.reject(problem.to_owned());
    }

    fn report(&self, _: Outcome) {
        let path = self.path.display();
        // That it is broken may have been said long ago.
        match &self.rejected {
            Some(problem) => warn!(%path, problem, "key file read again as asked: it is broken"),
            None => info!(%path, "key file read again as asked"),
        }
    }

    fn death_notice(&self) -> PanicNotice {
        death_notice(self.mesh.clone())
    }
}

/// Says in health, by way of the mesh, when the thread dies. The keys in force stay.
fn death_notice(mesh: MeshHandle) -> PanicNotice {
    PanicNotice::new(move || {
        let detail = "the thread that reads the key file again died: restart meshd".to_owned();
        mesh.tell(Command::KeyFile(Some(detail)));
    })
}

#[cfg(test)]
mod tests {
    use super::super::handle::Inbox;
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    const HASH: &str = "hash 00112233445566778899aabbccddeeff\n";
    const OTHER_HASH: &str = "hash ff112233445566778899aabbccddeeff\n";

    fn seal(digit: char) -> String {
        format!("seal {}\n", digit.to_string().repeat(64))
    }

    /// A directory with a key file.
    fn key_file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.keys");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        (dir, path)
    }

    fn load_file(path: &Path) -> Result<Keys, String> {
        let mesh = config::Mesh {
            key_file: Some(path.to_owned()),
            ..config::Mesh::default()
        };
        let loaded = load(&mesh).map_err(|problems| problems.to_string())?;
        Ok(loaded.expect("the mesh is on"))
    }

    #[test]
    fn a_mesh_that_is_off_needs_no_keys_and_one_without_a_file_has_open_ones() {
        assert!(load(&config::Mesh::default()).unwrap().is_none());
        let mesh = config::Mesh {
            insecure: true,
            ..config::Mesh::default()
        };
        assert!(!load(&mesh).unwrap().unwrap().ring.is_secret());
    }

    #[test]
    fn a_wrong_file_is_a_problem_that_names_it_and_the_line() {
        let (_dir, path) = key_file(&format!("# ours\n{HASH}nonsense\n"));
        let problem = load_file(&path).unwrap_err();
        let name = path.to_str().unwrap();
        assert!(
            problem.contains(name) && problem.contains("line 3"),
            "{problem}"
        );
        assert!(problem.contains("mesh.key_file"), "{problem}");

        for (content, expected) in [(vec![0xff], "not text"), (vec![b'#'; 65_537], "larger")] {
            fs::write(&path, content).unwrap();
            let problem = load_file(&path).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        fs::remove_file(&path).unwrap();
        assert!(load_file(&path).unwrap_err().contains("cannot read"));
        let problem = load_file(path.parent().unwrap()).unwrap_err();
        assert!(problem.contains("not a file"), "{problem}");
    }

    #[test]
    fn a_file_others_may_read_is_warned_about() {
        let (_dir, path) = key_file(&format!("{HASH}{}", seal('a')));
        assert_eq!(load_file(&path).unwrap().warning, None);
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let warning = load_file(&path).unwrap().warning.unwrap();
            assert!(warning.contains(&format!("{mode:04o}")), "{warning}");
        }
    }

    /// What was told since the last call.
    fn told(inbox: &Inbox) -> Vec<Command> {
        std::iter::from_fn(|| inbox.next()).collect()
    }

    #[test]
    fn a_thread_that_dies_degrades_the_mesh() {
        let (mesh, inbox) = MeshHandle::new().unwrap();
        crate::panics::die_with(death_notice(mesh.clone()));
        assert!(matches!(&*told(&inbox), [Command::KeyFile(Some(_))]));
        // Until here: without anybody to tell it something, the inbox says for ever that this is the end.
        drop(mesh);
    }

    #[test]
    fn a_changed_file_comes_into_force_and_a_broken_one_does_not() {
        let (_dir, path) = key_file(&format!("{HASH}{}", seal('a')));
        let (mesh, inbox) = MeshHandle::new().unwrap();
        let mut reloader = KeyReloader::new(path.clone(), load_file(&path).unwrap(), mesh);
        let reload = |reloader: &mut KeyReloader| {
            let read = reloader.reading()();
            reloader.apply(read)
        };
        assert_eq!(reload(&mut reloader), Outcome::Unchanged);
        assert!(told(&inbox).is_empty(), "nothing has changed");

        fs::write(&path, format!("{HASH}{}{}", seal('b'), seal('a'))).unwrap();
        assert_eq!(reload(&mut reloader), Outcome::Published);
        assert!(matches!(&*told(&inbox), [Command::ReplaceKeys(_)]));
        let status = reloader.status();
        assert_eq!(status.last().successful, Some(true));

        for broken in [
            format!("{HASH}nonsense\n"),
            format!("{OTHER_HASH}{}", seal('b')),
        ] {
            fs::write(&path, broken).unwrap();
            assert_eq!(reload(&mut reloader), Outcome::Rejected);
            assert!(matches!(&*told(&inbox), [Command::KeyFile(Some(_))]));
            assert_eq!(status.last().successful, Some(false));
            reload(&mut reloader);
            assert!(told(&inbox).is_empty(), "the same problem is no news");
        }
        fs::write(&path, format!("{HASH}{}{}", seal('b'), seal('a'))).unwrap();
        assert_eq!(reload(&mut reloader), Outcome::Unchanged);
        assert!(matches!(&*told(&inbox), [Command::KeyFile(None)]));
        assert_eq!(status.last().successful, Some(true));
    }
}
