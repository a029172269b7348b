//! Opening the sockets meshd listens on.

use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hivemind_shared::region::is_own_socket;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use rustix::process::{geteuid, umask};

use crate::config::FileMode;
use crate::directory;

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A TCP port; most often another process has it.
    #[error("cannot listen on {address} ({key}): {source}")]
    Tcp {
        /// The address that was asked for.
        address: SocketAddr,
        /// The key of the configuration it came from.
        key: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The UDP port of the mesh; most often another process has it.
    #[error("cannot bind {address} (mesh.bind): {source}")]
    Udp {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// A Unix socket.
    #[error("cannot listen on {} (server.grpc_socket): {source}", path.display())]
    Unix {
        /// The path that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A Unix socket someone listens on already.
    #[error(
        "cannot listen on {} (server.grpc_socket): another process does; stop it or choose another path",
        path.display()
    )]
    UnixTaken {
        /// The path that was asked for.
        path: PathBuf,
    },
}

impl ListenError {
    /// Whether another process has it.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::Tcp { source, .. } | Self::Udp { source, .. } => {
                source.kind() == io::ErrorKind::AddrInUse
            }
            Self::Unix { .. } => false,
            Self::UnixTaken { .. } => true,
        }
    }
}

/// Whether [`tcp`] could listen. Nobody can connect meanwhile, and a start is not in the way.
///
/// # Errors
///
/// As it would be.
pub fn examine_tcp(key: &'static str, address: SocketAddr) -> Result<(), ListenError> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let bound = || -> rustix::io::Result<()> {
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // As the standard library does. Two that do so are in each other's way once one of them listens.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)
    };
    bound().map_err(|error| ListenError::Tcp {
        address,
        key,
        source: error.into(),
    })
}

/// Listens on a TCP port, also one that connections of a previous run still linger on.
///
/// # Errors
///
/// When the port is taken, may not be used, or the address is not one of this host.
pub fn tcp(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    // The standard library sets SO_REUSEADDR.
    TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| ListenError::Tcp {
            address,
            key,
            source,
        })
}

/// Bytes of answers that the operating system keeps for one connection, half of what it then really takes:
/// far more than the answers of all calls that may be in flight.
const SEND_BUFFER_BYTES: usize = 256 * 1_024;

/// Prepares a listener for its connections, which have all of it from there: bounds what the operating system
/// keeps of answers that are not read, and has it ask peers whether they are still there, after a silence of
/// `interval`; then they have `timeout`.
///
/// # Errors
///
/// When the operating system knows no such thing, which it always does.
pub fn prepare(listener: &TcpListener, interval: Duration, timeout: Duration) -> io::Result<()> {
    /// Questions that may go unanswered.
    const PROBES: u32 = 2;

    sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER_BYTES)?;
    sockopt::set_socket_keepalive(listener, !interval.is_zero())?;
    if !interval.is_zero() {
        let pause = (timeout / PROBES).max(Duration::from_secs(1));
        sockopt::set_tcp_keepidle(listener, interval)?;
        sockopt::set_tcp_keepintvl(listener, pause)?;
        sockopt::set_tcp_keepcnt(listener, PROBES)?;
    }
    Ok(())
}

/// The file of a Unix socket. It goes away with this, unless it is another process that removes it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    is_ours: bool,
}

impl SocketFile {
    /// The file of a socket that this process has bound.
    pub const fn ours(path: PathBuf) -> Self {
        let is_ours = true;
        Self { path, is_ours }
    }

    /// The file of a socket that another process still has.
    pub const fn theirs(path: PathBuf) -> Self {
        let is_ours = false;
        Self { path, is_ours }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is this process that removes it.
    pub const fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// From now on it is this process that removes the file.
    pub const fn adopt(&mut self) {
        self.is_ours = true;
    }

    /// From now on it is another process that removes the file.
    pub const fn leave(&mut self) {
        self.is_ours = false;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours {
            // Best effort: the next start takes a leftover file over.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A listening Unix socket.
#[derive(Debug)]
pub struct UnixSocket {
    /// Its file.
    pub file: SocketFile,
    /// The socket.
    pub listener: UnixListener,
}

impl UnixSocket {
    /// Listens on `path`, for those whom `mode` lets in, and takes over a socket file whose process is gone.
    ///
    /// # Errors
    ///
    /// When another process listens there, something else than a socket is in the way, or the
    /// directory is missing or may not be written.
    pub fn bind(path: &Path, mode: FileMode) -> Result<Self, ListenError> {
        let error = |source| ListenError::Unix {
            path: path.to_owned(),
            source,
        };
        let listener = match bind_with(path, mode) {
            Err(in_use) if in_use.kind() == io::ErrorKind::AddrInUse => {
                match UnixStream::connect(path) {
                    Ok(_) => {
                        return Err(ListenError::UnixTaken {
                            path: path.to_owned(),
                        });
                    }
                    // Left behind by a process that was killed. A file that is no socket refuses too.
                    Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                        is_own_socket(path).map_err(error)?;
                        std::fs::remove_file(path).map_err(error)?;
                        bind_with(path, mode).map_err(error)?
                    }
                    // Not a socket at all, or not ours to try: leave it alone.
                    Err(_) => return Err(error(in_use)),
                }
            }
            result => result.map_err(error)?,
        };
        listener.set_nonblocking(true).map_err(error)?;
        Ok(Self {
            file: SocketFile::ours(path.to_owned()),
            listener,
        })
    }

    /// Whether [`Self::bind`] could listen on `path`.
    ///
    /// # Errors
    ///
    /// As it would be.
    pub fn examine(path: &Path) -> Result<(), ListenError> {
        let error = |source| ListenError::Unix {
            path: path.to_owned(),
            source,
        };
        std::os::unix::net::SocketAddr::from_pathname(path).map_err(error)?;
        if std::fs::symlink_metadata(path).is_ok() {
            match UnixStream::connect(path) {
                Ok(_) => {
                    return Err(ListenError::UnixTaken {
                        path: path.to_owned(),
                    });
                }
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                    is_own_socket(path).map_err(error)?;
                }
                Err(_) => return Err(error(io::ErrorKind::AddrInUse.into())),
            }
        }
        directory::may_make(path).map_err(error)
    }

    /// The socket on `path` that another process listens on as well; its file stays when this one ends.
    ///
    /// # Errors
    ///
    /// When the file is of another mode, and this one cannot be set.
    pub fn of_shared(
        path: &Path,
        mode: FileMode,
        listener: UnixListener,
    ) -> Result<Self, ListenError> {
        set_mode(path, mode).map_err(|source| ListenError::Unix {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file: SocketFile::theirs(path.to_owned()),
            listener,
        })
    }
}

/// Listens on a new socket file that is of this mode from the beginning, whatever the umask of this process.
fn bind_with(path: &Path, mode: FileMode) -> io::Result<UnixListener> {
    let without = Mode::from_bits_truncate(0o777 & !mode.bits());
    let before = umask(without);
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

/// Sets the mode of a socket file of this user, if it is another one.
fn set_mode(path: &Path, mode: FileMode) -> io::Result<()> {
    if !is_own_socket(path)? {
        // It was removed: nobody connects there any more, and the next start makes it again.
        return Ok(());
    }
    // The file itself, whatever takes its place at the path meanwhile.
    let file = open(
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let found = fstat(&file)?;
    let is_own_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket
        && found.st_uid == geteuid().as_raw();
    if is_own_socket && found.st_mode & 0o777 != mode.bits() {
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        std::fs::set_permissions(itself, Permissions::from_mode(mode.bits()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_that_names_the_key() {
        let first = tcp("server.grpc_port", ([127, 0, 0, 1], 0).into()).unwrap();
        let error = tcp("server.http_port", first.local_addr().unwrap()).unwrap_err();
        assert!(error.to_string().contains("server.http_port"), "{error}");
    }

    #[test]
    fn a_unix_socket_replaces_a_dead_one_but_not_a_live_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rls.sock");
        // A listener that is dropped leaves its file behind, as a killed process does.
        drop(UnixListener::bind(&path).unwrap());

        let socket =
            UnixSocket::bind(&path, FileMode::OWNER_ONLY).expect("a dead socket is taken over");
        let taken = UnixSocket::bind(&path, FileMode::OWNER_ONLY);
        assert!(
            matches!(taken, Err(ListenError::UnixTaken { .. })),
            "{taken:?}"
        );

        drop(socket);
        assert!(!path.exists(), "the file goes away with the socket");
    }

    #[test]
    fn the_file_of_a_shared_socket_is_removed_by_whoever_has_it_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rls.sock");
        let mut first = UnixSocket::bind(&path, FileMode::OWNER_ONLY).unwrap();
        let share = |socket: &UnixSocket| {
            let listener = socket.listener.try_clone().unwrap();
            UnixSocket::of_shared(&path, FileMode::OWNER_ONLY, listener).unwrap()
        };
        drop(share(&first));
        assert!(path.exists(), "it is the first one's");

        let mut second = share(&first);
        second.file.adopt();
        first.file.leave();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        assert!(UnixSocket::bind(&path, FileMode::OWNER_ONLY).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
