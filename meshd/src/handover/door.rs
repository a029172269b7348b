//! Where a newcomer knocks: a Unix socket beside the region, for this user alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hivemind_shared::region::{User, is_own_socket};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::fs::{Mode, fchmod};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::server::listen::SocketFile;

/// Newcomers that wait at the door at most.
const WAITING_MAX: i32 = 8;

/// The longest that a socket waits.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What comes after the region's file name.
const SUFFIX: &str = ".handover";

/// The door of the region at `region`.
pub fn path(region: &Path) -> PathBuf {
    let mut name = region.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    region.with_file_name(name)
}

/// The open door.
#[derive(Debug)]
pub struct Door {
    /// Its file.
    pub file: SocketFile,
    /// It keeps messages apart, which its type does not say.
    socket: UnixListener,
}

impl Door {
    /// Opens the door of a region, to which the caller has the right: whatever socket is there was left
    /// behind by an owner that was killed.
    ///
    /// # Errors
    ///
    /// When the path is too long for a socket, or the file of another user or of another kind is there.
    pub fn open(region: &Path) -> io::Result<Self> {
        let path = path(region);
        if is_own_socket(&path)? {
            std::fs::remove_file(&path)?;
        }
        let socket = new_socket(SocketFlags::NONBLOCK)?;
        // Before the file is there, so that it never has another mode.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        let file = SocketFile::ours(path);
        listen(&socket, WAITING_MAX)?;
        let socket = socket.into();
        Ok(Self { file, socket })
    }

    /// The door that another meshd has still open; it stays when this process ends.
    pub fn of_shared(region: &Path, socket: OwnedFd) -> Self {
        Self {
            file: SocketFile::theirs(path(region)),
            socket: socket.into(),
        }
    }

    /// A second handle on the socket, to let newcomers in.
    pub(super) fn share(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Knocks at the door of a region; what is said then may take `patience`.
pub(super) fn knock(region: &Path, patience: Duration) -> io::Result<OwnedFd> {
    let path = path(region);
    if !is_own_socket(&path)? {
        return Err(io::ErrorKind::NotFound.into());
    }
    let socket = new_socket(SocketFlags::empty())?;
    be_patient(&socket, patience)?;
    connect(&socket, &SocketAddrUnix::new(&path)?)?;
    same_user(&socket)?;
    Ok(socket)
}

/// How long sending and receiving may take from now on.
pub(super) fn be_patient(socket: &OwnedFd, patience: Duration) -> io::Result<()> {
    // Zero would be for ever, and a very long time more than the system can count.
    let patience = Some(patience.clamp(Duration::from_millis(1), PATIENCE_MAX));
    sockopt::set_socket_timeout(socket, Timeout::Send, patience)?;
    Ok(sockopt::set_socket_timeout(
        socket,
        Timeout::Recv,
        patience,
    )?)
}

/// A socket that keeps messages apart.
fn new_socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The process at the other end, which must be of this user: in a directory that all may write to, anyone
/// can put a door, and whoever passes it has everything meshd has. `None` for a process that cannot be seen
/// from here, as in another container: it has no number in this PID namespace.
pub(super) fn same_user(socket: &impl AsFd) -> io::Result<Option<i32>> {
    // Not by rustix, for which a process has a number always.
    let other = getsockopt(socket, PeerCredentials)?;
    let (user, owner) = (User::current(), User::of_id(other.uid()));
    if owner == user {
        return Ok(Some(other.pid()).filter(|&pid| pid != 0));
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("the other end is of {owner}, not of {user}"),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_door_is_for_its_user_alone_and_replaces_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let region = dir.path().join("region");
        let mut door = Door::open(&region).unwrap();
        door.file.leave();
        drop(door);
        let patience = Duration::from_secs(5);
        let refused = knock(&region, patience).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        let door = Door::open(&region).unwrap();
        let mode = std::fs::metadata(path(&region)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let _knocking = knock(&region, patience).unwrap();
        let (visitor, _) = door.share().unwrap().accept().unwrap();
        let pid = same_user(&visitor).unwrap();
        assert_eq!(pid, i32::try_from(std::process::id()).ok());
        drop(door);
        assert!(!path(&region).exists());
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let region = dir.path().join("region");
        std::fs::write(path(&region), "mine").unwrap();
        assert!(Door::open(&region).is_err());
        assert_eq!(std::fs::read_to_string(path(&region)).unwrap(), "mine");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_an_error() {
        let region = PathBuf::from("/tmp").join("r".repeat(200));
        assert!(Door::open(&region).is_err());
    }
}
