//! `hivectl keygen`: the keys of a cluster, new ones and the steps from old to new.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hivemind_mesh::seal::{
    KEY_FILE_BYTES_MAX, KeyFileError, add_key, generate_key_file, promote_key, retire_keys,
};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::failure::Failure;

/// Make the key file of a cluster, or take a step of changing its seal key.
///
/// Without options it prints a new file, which all hosts of a cluster share; comments in it say what is
/// what. The seal key is changed without a pause in three steps, --add, --promote and --retire. Each
/// makes a new file out of the present one, which stays as it is; bring it to all hosts before the next.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Step 1: FILE with a new seal key at the end, which all hosts can open with
    #[arg(long, value_name = "FILE", group = "step")]
    add: Option<PathBuf>,

    /// Step 2: FILE with the last seal key first, which all hosts seal with
    #[arg(long, value_name = "FILE", group = "step")]
    promote: Option<PathBuf>,

    /// Step 3: FILE without seal keys but the first
    #[arg(long, value_name = "FILE", group = "step")]
    retire: Option<PathBuf>,

    /// Write to a file that does not exist yet, readable by you alone, instead of printing
    #[arg(long, value_name = "NEW_FILE")]
    out: Option<PathBuf>,
}

/// Why there is no key file. None was made or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeygenError {
    /// The present file cannot be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Read { path: PathBuf, error: io::Error },
    /// The present file is no key file.
    #[error("{path}: {error}", path = path.display())]
    WrongFile { path: PathBuf, error: KeyFileError },
    /// The present file is no text, or far too long for a key file.
    #[error(
        "{path} is no key file: those are text of at most {KEY_FILE_BYTES_MAX} bytes; name the one \
         that meshd reads",
        path = path.display()
    )]
    NotKeys { path: PathBuf },
    /// The system has no random numbers.
    #[error("the system gives no random numbers, so there is no key: {0}")]
    Random(io::Error),
    /// The new file exists.
    #[error(
        "{path} exists, and keys that may be in use are not overwritten; name another file, or move \
         this one away",
        path = path.display()
    )]
    Exists { path: PathBuf },
    /// The new file cannot be written.
    #[error("cannot write {path}: {error}", path = path.display())]
    Write { path: PathBuf, error: io::Error },
}

pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let text = make(options)?;
    match &options.out {
        Some(path) => Ok(write_new(path, &text)?),
        None => Ok(out.write_all(text.as_bytes())?),
    }
}

fn make(options: &Options) -> Result<String, KeygenError> {
    let (path, changed) = match (&options.add, &options.promote, &options.retire) {
        (Some(path), ..) => (path, add_key(&read(path)?, &random()?)),
        (_, Some(path), _) => (path, promote_key(&read(path)?)),
        (.., Some(path)) => (path, retire_keys(&read(path)?)),
        (None, None, None) => return Ok(generate_key_file(&random()?)),
    };
    changed.map_err(|error| KeygenError::WrongFile {
        path: path.clone(),
        error,
    })
}

fn read(path: &Path) -> Result<String, KeygenError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| KeygenError::Read {
            path: path.to_owned(),
            error,
        })?;
    String::from_utf8(bytes)
        .ok()
        .filter(|text| text.len() as u64 <= KEY_FILE_BYTES_MAX)
        .ok_or_else(|| KeygenError::NotKeys {
            path: path.to_owned(),
        })
}

/// Random bytes of the system.
fn random<const N: usize>() -> Result<[u8; N], KeygenError> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .map_err(|error| KeygenError::Random(error.into()))?;
    }
    Ok(bytes)
}

/// Writes a file that nobody else can read, or none at all.
fn write_new(path: &Path, text: &str) -> Result<(), KeygenError> {
    let opened = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let failed = |error: io::Error| KeygenError::Write {
        path: path.to_owned(),
        error,
    };
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists {
            path: path.to_owned(),
        },
        _ => failed(error),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| {
            // Half a key file is of no use; that it cannot be written is what matters.
            let _ = fs::remove_file(path);
            failed(error)
        })
}
