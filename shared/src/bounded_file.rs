//! Reading files that people name: never more than a bound, never for longer than a bound, whatever is
//! at their path. What was read may still be wrong; what could not be read may be readable soon.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is something else than a file.
    #[error("not a file, but {0}")]
    NotAFile(FileKind),
    /// There is more in it than such a file has.
    #[error("larger than {0} bytes, which no such file is")]
    TooLarge(u64),
    /// Its end did not come in time.
    #[error("its end did not come within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
}

impl ReadError {
    /// Whether the same file may be readable soon, without being changed.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Io(_) | Self::TimedOut(_))
    }
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A FIFO, or a pipe without a name.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
}

impl FileKind {
    /// What these metadata are of.
    pub fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_fifo() {
            Self::Fifo
        } else if kind.is_socket() {
            Self::Socket
        } else {
            Self::Device
        }
    }

    /// Whether it is read from beginning to end, each byte once.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Fifo | Self::Device)
    }
}

/// `a FIFO`.
impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::Device => "a device",
        })
    }
}

/// What is read, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// More bytes are an error.
    pub bytes_max: u64,
    /// When reading ends.
    pub deadline: Deadline,
    /// Whether FIFOs and devices are read as well.
    pub streams: bool,
}

/// A point in time that was so far away.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    began: Instant,
    limit: Duration,
}

impl Deadline {
    /// So far away from now.
    pub fn after(limit: Duration) -> Self {
        Self {
            began: Instant::now(),
            limit,
        }
    }

    /// The time until then.
    fn left(self) -> Result<Duration, ReadError> {
        let left = self.limit.checked_sub(self.began.elapsed());
        left.filter(|left| !left.is_zero())
            .ok_or(ReadError::TimedOut(self.limit))
    }
}

/// Reads a file within these bounds. A file system that does not answer can take longer: whoever must not
/// wait for it reads in a thread of its own.
///
/// # Errors
///
/// When it is missing, may not be read, is not of a kind that is read, is larger, or does not end in time.
pub fn read(path: &Path, bounds: Bounds) -> Result<(Vec<u8>, Metadata), ReadError> {
    // A device is not even opened where it is not wanted: that alone can have effects.
    check_kind(&fs::metadata(path)?, bounds)?;
    // Opening a FIFO must not wait for its other end.
    let flags = i32::from_ne_bytes(OFlags::NONBLOCK.bits().to_ne_bytes());
    let mut file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    // Something else may have taken its place.
    check_kind(&metadata, bounds)?;
    let is_stream = FileKind::of(&metadata).is_stream();
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let left = bounds.deadline.left()?;
        // A FIFO that nobody has opened for writing yet would seem to be at its end.
        if is_stream && !is_readable(&file, left)? {
            continue;
        }
        match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, metadata)),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if is_to_be_repeated(error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
        if bytes.len() as u64 > bounds.bytes_max {
            return Err(ReadError::TooLarge(bounds.bytes_max));
        }
    }
}

fn check_kind(metadata: &Metadata, bounds: Bounds) -> Result<(), ReadError> {
    let kind = FileKind::of(metadata);
    if kind == FileKind::File || bounds.streams && kind.is_stream() {
        Ok(())
    } else {
        Err(ReadError::NotAFile(kind))
    }
}

/// Waits until reading brings something, be it the end.
fn is_readable(file: &File, left: Duration) -> Result<bool, ReadError> {
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if is_to_be_repeated(error.kind()) => Ok(false),
        Err(error) => Err(ReadError::Io(error.into())),
    }
}

fn is_to_be_repeated(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn bounds(bytes_max: u64, limit_ms: u64, streams: bool) -> Bounds {
        Bounds {
            bytes_max,
            deadline: Deadline::after(Duration::from_millis(limit_ms)),
            streams,
        }
    }

    fn fifo() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        (directory, path)
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_beyond() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![b'x'; CHUNK_BYTES + 1]).unwrap();
        let size = CHUNK_BYTES as u64 + 1;
        let (bytes, metadata) = read(&path, bounds(size, 60_000, false)).unwrap();
        assert_eq!((bytes.len() as u64, metadata.len()), (size, size));
        let error = read(&path, bounds(size - 1, 60_000, false)).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge(max) if max == size - 1));
        assert!(!error.is_transient());
    }

    #[test]
    fn what_is_no_file_is_named_and_read_only_where_streams_are() {
        let (directory, path) = fifo();
        for (path, kind) in [
            (directory.path(), "a directory"),
            (&path, "a FIFO"),
            (Path::new("/dev/null"), "a device"),
        ] {
            let error = read(path, bounds(1, 60_000, false)).unwrap_err();
            assert!(error.to_string().contains(kind), "{error}");
            assert!(!error.is_transient(), "{error}");
        }
        let error = read(directory.path(), bounds(1, 60_000, true)).unwrap_err();
        assert!(matches!(error, ReadError::NotAFile(FileKind::Directory)));
        let (bytes, _) = read(Path::new("/dev/null"), bounds(1, 60_000, true)).unwrap();
        assert!(bytes.is_empty());
        let error = read(Path::new("/dev/zero"), bounds(1 << 20, 60_000, true)).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge(_)), "{error}");
    }

    #[test]
    fn what_cannot_be_read_may_be_soon() {
        // An I/O error of a regular file, from the kernel itself.
        let error = read(Path::new("/proc/self/mem"), bounds(1, 60_000, false)).unwrap_err();
        assert!(matches!(error, ReadError::Io(_)), "{error}");
        assert!(error.is_transient());
        let missing = read(Path::new("/nowhere/at/all"), bounds(1, 60_000, false)).unwrap_err();
        assert!(missing.is_transient());
    }

    #[test]
    fn a_fifo_is_read_to_its_end_also_when_its_writer_comes_late() {
        let (_directory, path) = fifo();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || read(&path, bounds(1 << 20, 60_000, true)).unwrap().0)
        };
        let mut writer = File::options().write(true).open(&path).unwrap();
        writer.write_all(b"one ").unwrap();
        writer.write_all(b"two").unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap(), b"one two");
    }

    #[test]
    fn a_fifo_without_a_writer_or_without_an_end_is_given_up_on() {
        let (_directory, path) = fifo();
        let error = read(&path, bounds(1, 20, true)).unwrap_err();
        assert!(matches!(error, ReadError::TimedOut(_)), "{error}");
        assert!(error.is_transient());
        // A writer that says something and does not end: its end is opened for reading as well, so that
        // opening does not wait.
        let mut both = File::options().read(true).write(true).open(&path).unwrap();
        both.write_all(b"x").unwrap();
        let error = read(&path, bounds(1 << 20, 20, true)).unwrap_err();
        assert!(matches!(error, ReadError::TimedOut(_)), "{error}");
    }
}
