//! Whose directory and whose file a region's path names.
//!
//! The usual place, `/dev/shm`, is open to every user of the host. So the daemon keeps its files in a directory
//! of its own, which it makes, and uses nothing that another user can exchange: neither a directory or file of
//! theirs, nor a symbolic link, nor a file that has a second name. What it does not use, it leaves as it is.

use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::DEFAULT_PATH;
use super::error::{AttachError, OwnError};
use super::view::FileIdentity;

/// The user who may do everything.
const ROOT: User = User(0);

/// Bytes of `/etc/passwd` that are searched for a name.
const PASSWD_BYTES_MAX: u64 = 1 << 20;

/// How often to look again when a directory comes and goes.
const ATTEMPTS_MAX: u32 = 16;

/// A user of this host, shown by name where `/etc/passwd` has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User(u32);

impl User {
    /// The one this process runs as.
    pub fn current() -> Self {
        Self(rustix::process::geteuid().as_raw())
    }

    /// The one with this number.
    pub const fn of_id(id: u32) -> Self {
        Self(id)
    }

    /// The owner of a file.
    pub fn owner(metadata: &Metadata) -> Self {
        Self(metadata.uid())
    }

    fn name(self) -> Option<String> {
        let mut passwd = String::new();
        let file = File::open("/etc/passwd").ok()?;
        file.take(PASSWD_BYTES_MAX)
            .read_to_string(&mut passwd)
            .ok()?;
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let id = fields.nth(1)?.parse::<u32>().ok()?;
            (id == self.0).then(|| name.to_owned())
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "user {} ({})", name.escape_default(), self.0),
            None => write!(f, "user {}", self.0),
        }
    }
}

/// Why something at the path of a region, or the directory it is in, is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Risk {
    /// The file is of another user.
    #[error(
        "belongs to {owner}, and meshd runs as {}: have it removed",
        User::current()
    )]
    OtherOwner {
        /// Whose it is.
        owner: User,
    },
    /// A symbolic link, which could lead anywhere.
    #[error("is a symbolic link of {owner}, which meshd does not follow: remove it")]
    Link {
        /// Whose it is.
        owner: User,
    },
    /// The file has another name, where somebody else may reach it.
    #[error("is a file of {owner} with {names} names (hard links): remove this one")]
    HardLinks {
        /// Whose it is.
        owner: User,
        /// How many names it has.
        names: u64,
    },
    /// The directory is of another user, who can exchange every file in it.
    #[error(
        "is a directory of {owner}, who can exchange every file in it, and meshd runs as {}: have it removed",
        User::current()
    )]
    OtherDirectory {
        /// Whose it is.
        owner: User,
    },
    /// Something else is where the directory belongs.
    #[error("is not a directory; it belongs to {owner}: have it removed")]
    NotADirectory {
        /// Whose it is.
        owner: User,
    },
    /// Every user can exchange files in the directory.
    #[error(
        "is a directory of {owner} in which every user can exchange files: set its sticky bit (chmod +t), or, where nobody else has it, as a volume of a container, name a directory in it that is not there yet, which meshd makes"
    )]
    OpenDirectory {
        /// Whose it is.
        owner: User,
    },
}

/// A directory that was made for a region. When this is dropped, it goes, unless anything is in it.
#[derive(Debug)]
pub struct MadeDirectory(PathBuf);

impl Drop for MadeDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The directory a file is in.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes sure that the directory of the region at `path` is one in which no other user can exchange files. One
/// that is not there is made, for those who may open a file of `mode`.
pub(super) fn prepare_directory(path: &Path, mode: u32) -> Result<Option<MadeDirectory>, OwnError> {
    let directory = directory_of(path);
    let failed = |action| failed(directory, action);
    let mut made = None;
    for _ in 0..ATTEMPTS_MAX {
        match std::fs::symlink_metadata(directory) {
            Ok(found) => {
                check_directory(directory, &found)?;
                let is_usual = Some(directory) == Path::new(DEFAULT_PATH).parent();
                if made.is_some() || is_usual && User::owner(&found) == User::current() {
                    open_to(directory, directory_mode(mode)).map_err(failed("set the mode of"))?;
                }
                return Ok(made);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match DirBuilder::new().mode(0o700).create(directory) {
                    Ok(()) => made = Some(MadeDirectory(directory.to_owned())),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(failed("make the directory of")(error)),
                }
            }
            Err(error) => return Err(failed("examine the directory of")(error)),
        }
    }
    let error = io::Error::other("the directory comes and goes");
    Err(failed("make the directory of")(error))
}

/// The directory in which something is made first by [`prepare_directory`] and whoever makes a file at `path` then:
/// that of the file, or the one above where that is missing. Nothing is changed.
pub(super) fn examine_directory(path: &Path) -> Result<&Path, OwnError> {
    let directory = directory_of(path);
    match std::fs::symlink_metadata(directory) {
        Ok(found) => check_directory(directory, &found).map(|()| directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = directory_of(directory);
            let found =
                std::fs::metadata(above).map_err(failed(directory, "make the directory of"))?;
            if found.is_dir() {
                return Ok(above);
            }
            let error = io::ErrorKind::NotADirectory.into();
            Err(failed(directory, "make the directory of")(error))
        }
        Err(error) => Err(failed(directory, "examine the directory of")(error)),
    }
}

/// Who may pass through the directory of a file of `mode`: its owner, and whoever may open the file.
const fn directory_mode(mode: u32) -> u32 {
    let group = if mode & 0o060 == 0 { 0 } else { 0o050 };
    let others = if mode & 0o006 == 0 { 0 } else { 0o005 };
    0o700 | group | others
}

/// Sets the mode of a directory of this user, if it has another one.
fn open_to(directory: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(raw(flags))
        .open(directory)?;
    let found = directory.metadata()?;
    let is_ours = User::owner(&found) == User::current();
    if is_ours && found.permissions().mode() & 0o7777 != mode {
        directory.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn check_directory(path: &Path, found: &Metadata) -> Result<(), OwnError> {
    let owner = User::owner(found);
    let is_trusted = [ROOT, User::current()].contains(&owner);
    let is_link = found.file_type().is_symlink();
    if is_link && is_trusted {
        // As `/var/run` is one.
        let led_to = std::fs::metadata(path).map_err(failed(path, "examine the directory of"))?;
        return check_directory(path, &led_to);
    }
    let mode = found.permissions().mode();
    let risk = if is_link {
        Risk::Link { owner }
    } else if !found.is_dir() {
        Risk::NotADirectory { owner }
    } else if !is_trusted {
        Risk::OtherDirectory { owner }
    } else if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        Risk::OpenDirectory { owner }
    } else {
        return Ok(());
    };
    Err(refused(path, risk))
}

/// Opens the file at `path`, which must be a file of this user alone; `None` where there is nothing.
pub(super) fn open_own(path: &Path) -> Result<Option<File>, OwnError> {
    let failed = |action| failed(path, action);
    for _ in 0..ATTEMPTS_MAX {
        // First by name, so that what cannot be opened is named with its owner.
        let named = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            named => named.map_err(failed("examine"))?,
        };
        check_file(path, &named)?;
        let file = match open_without_following(path, OpenOptions::new().read(true).write(true)) {
            Ok(file) => file,
            // It went away, or became a link.
            Err(error) if is_exchanged(&error) => continue,
            Err(error) => return Err(failed("open")(error)),
        };
        let opened = file.metadata().map_err(failed("examine"))?;
        if FileIdentity::of(&named) == FileIdentity::of(&opened) {
            return Ok(Some(file));
        }
    }
    let error = io::Error::other("the file is being replaced again and again");
    Err(failed("open")(error))
}

fn is_exchanged(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_link_error(error)
}

/// Whether a file was not opened because it is a symbolic link.
pub(super) fn is_link_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn check_file(path: &Path, found: &Metadata) -> Result<(), OwnError> {
    let owner = User::owner(found);
    let risk = if found.file_type().is_symlink() {
        Risk::Link { owner }
    } else if owner != User::current() {
        Risk::OtherOwner { owner }
    } else if !found.is_file() {
        return Err(OwnError::Foreign {
            path: path.to_owned(),
        });
    } else if found.nlink() > 1 {
        let names = found.nlink();
        Risk::HardLinks { owner, names }
    } else {
        return Ok(());
    };
    Err(refused(path, risk))
}

/// Makes sure that an open region is not of a user who has no business with it. A file of a group of this process
/// was made by a member of that group: no other user can give a file to it.
pub(super) fn check_trusted(
    file: &File,
    path: &Path,
    trusted: Option<User>,
) -> Result<(), AttachError> {
    let path = || path.to_owned();
    let unreadable = |source| AttachError::Unreadable {
        path: path(),
        source,
    };
    let found = file.metadata().map_err(unreadable)?;
    let owner = User::owner(&found);
    if [Some(ROOT), Some(User::current()), trusted].contains(&Some(owner)) {
        return Ok(());
    }
    let mut groups = rustix::process::getgroups().map_err(|error| unreadable(error.into()))?;
    groups.push(rustix::process::getegid());
    if groups.iter().any(|group| group.as_raw() == found.gid()) {
        return Ok(());
    }
    Err(AttachError::OtherOwner {
        path: path(),
        owner,
    })
}

/// Makes an empty file of this `mode` at `path`, where nothing is: neither a file nor a link.
pub(super) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The mode in `open` is cut by the umask.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Opens whatever is at `path` itself, without waiting for anybody.
pub(super) fn open_without_following(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A FIFO would wait for its other end otherwise.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    options.custom_flags(raw(flags)).open(path)
}

/// Whether `path` names this file.
pub(super) fn is_at(path: &Path, file: FileIdentity) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|there| FileIdentity::of(&there) == file)
}

/// Whether there is a Unix socket at `path`, of this user; not, where there is nothing.
///
/// # Errors
/// When something else is there, or a socket of another user. It names the owner; nothing was changed.
pub fn is_own_socket(path: &Path) -> io::Result<bool> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    let owner = User::owner(&found);
    let refused = |what: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    if owner != User::current() {
        let user = User::current();
        return refused(format!(
            "what is there belongs to {owner}, not to {user}: have it removed"
        ));
    }
    if !found.file_type().is_socket() {
        return refused(format!(
            "what is there is not a socket; it belongs to {owner}: remove it"
        ));
    }
    Ok(true)
}

const SUFFIX: &str = ".new";

/// Another path in the same directory that nobody can guess, for a file that is to be moved to `path`.
pub(super) fn temporary(path: &Path, random: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{random:016x}{SUFFIX}"));
    path.with_file_name(name)
}

/// Removes what a killed process of this user left of files that were to be moved to `path`.
pub(super) fn remove_leftovers(path: &Path) {
    let Ok(entries) = std::fs::read_dir(directory_of(path)) else {
        return;
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    for name in names.filter(|name| is_temporary(name.as_encoded_bytes(), path)) {
        let leftover = path.with_file_name(name);
        // Whoever is about to move it there has locked it.
        if let Ok(Some(file)) = open_own(&leftover)
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(&leftover);
        }
    }
}

fn is_temporary(name: &[u8], path: &Path) -> bool {
    let of = path.file_name().unwrap_or_default().as_encoded_bytes();
    let random = name
        .strip_prefix(of)
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    random.is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit))
}

/// Removes a file, if it is still the one at `path`.
pub(super) fn remove(path: &Path, file: FileIdentity) {
    if is_at(path, file) {
        // Best effort: what cannot be removed is taken over by the next start.
        let _ = std::fs::remove_file(path);
    }
}

fn refused(path: &Path, risk: Risk) -> OwnError {
    OwnError::Unsafe {
        path: path.to_owned(),
        risk,
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> OwnError {
    move |source| OwnError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

const fn raw(flags: OFlags) -> i32 {
    i32::from_ne_bytes(flags.bits().to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_open_the_file_may_pass_its_directory() {
        for (file, directory) in [
            (0o600, 0o700),
            (0o660, 0o750),
            (0o640, 0o750),
            (0o666, 0o755),
            (0o604, 0o705),
        ] {
            assert_eq!(directory_mode(file), directory, "{file:o}");
        }
    }

    #[test]
    fn a_temporary_name_is_known_again_and_no_other() {
        let path = Path::new("/dev/shm/hivemind/region");
        let name = |path: &Path| path.file_name().unwrap().as_encoded_bytes().to_vec();
        assert!(is_temporary(&name(&temporary(path, 0xA5)), path));
        for other in [
            "region",
            "region.new",
            "region.handover",
            "region.2.new",
            "region.copy-from-monday.new",
            "another.00000000000000a5.new",
        ] {
            assert!(!is_temporary(other.as_bytes(), path), "{other}");
        }
    }

    #[test]
    fn a_user_is_shown_by_name_and_number() {
        assert_eq!(ROOT.to_string(), "user root (0)");
        assert_eq!(User(4_000_000_001).to_string(), "user 4000000001");
    }
}
