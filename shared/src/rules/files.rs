//! Finding and reading the files rules are in: the same for the daemon and the tools.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::bounded_file::{self, Bounds, Deadline, FileKind, ReadError};
use crate::yaml::{Problem, Problems, Source};

/// Bytes of one rules file that are read, the same as the YAML reader's own limit.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Directories below one another that are looked into.
const DEPTH_MAX: usize = 16;

/// What a path stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The rules files, by path.
    pub files: Vec<PathBuf>,
    /// What is in the directory under the name of a rules file and is none, by path.
    pub skipped: Vec<(PathBuf, FileKind)>,
}

/// The rules files `path` stands for: itself when it is no directory, and when it is one the regular files
/// `*.yaml` and `*.yml` in it and in directories below it. FIFOs, sockets and devices there are skipped.
///
/// Names that begin with a dot are passed over, and links are followed. That makes the directory of a
/// mounted Kubernetes ConfigMap work, where every file is a symbolic link into `..data`, itself a link
/// that is swapped. A directory that links lead to twice is looked into once.
///
/// # Errors
///
/// When the path is missing or may not be read, or directories are nested deeper than anybody means.
pub fn find(path: &Path) -> io::Result<Found> {
    let metadata = fs::metadata(path)?;
    let mut found = Found::default();
    if !metadata.is_dir() {
        found.files.push(path.to_owned());
        return Ok(found);
    }
    let mut seen = HashSet::from([(metadata.dev(), metadata.ino())]);
    let mut pending = vec![(path.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!(
                "directories are nested deeper than {DEPTH_MAX} levels: {}",
                directory.display()
            )));
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?.path();
            if is_hidden(&entry) {
                continue;
            }
            // A link's target counts, and a link into nothing is left for reading to report.
            let metadata = fs::metadata(&entry).ok();
            match (metadata.as_ref().map(FileKind::of), metadata) {
                (Some(FileKind::Directory), Some(metadata)) => {
                    if seen.insert((metadata.dev(), metadata.ino())) {
                        pending.push((entry, depth + 1));
                    }
                }
                _ if !is_yaml(&entry) => {}
                (None | Some(FileKind::File), _) => found.files.push(entry),
                (Some(kind), _) => found.skipped.push((entry, kind)),
            }
        }
    }
    found.files.sort();
    found.skipped.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

fn is_hidden(file: &Path) -> bool {
    file.file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_yaml(file: &Path) -> bool {
    file.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// One rules file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesFile {
    /// Its path, as messages show it.
    pub path: PathBuf,
    /// What was in it.
    pub bytes: Vec<u8>,
    /// Whether it is a FIFO or a device: it cannot be read again.
    pub is_stream: bool,
}

impl RulesFile {
    /// Its text, for the reader of rules.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8.
    pub fn source(&self) -> Result<Source, Problem> {
        Source::from_bytes(self.path.to_string_lossy(), self.bytes.clone())
    }
}

/// How rules are read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long reading all files of a path may last.
    pub time_max: Duration,
    /// Whether a FIFO or a device is read where the path itself is one, as in `<(command)`.
    pub streams: bool,
}

/// What reading brought.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The files that could be read.
    pub files: Vec<RulesFile>,
    /// Those that could not.
    pub problems: Problems,
    /// What was skipped.
    pub warnings: Problems,
    /// Whether the problems may be over soon, without any change of the files.
    pub is_transient: bool,
}

/// Reads every file of [`find`]. What cannot be read is among the problems, and the rest is there all
/// the same.
pub fn read(path: &Path, options: Options) -> Contents {
    const HINT: &str = "name a rules file, or a directory with *.yaml files in it";
    let deadline = Deadline::after(options.time_max);
    let mut contents = Contents::default();
    let found = match find(path) {
        Ok(found) => found,
        Err(error) => {
            contents.is_transient = error.kind() != io::ErrorKind::Other;
            let problem = unreadable(path, &ReadError::Io(error)).with_hint(HINT);
            contents.problems.push(problem);
            return contents;
        }
    };
    if found.files.is_empty() {
        let message = "there is no *.yaml or *.yml file in this directory";
        let problem = Problem::with_file(path.to_string_lossy(), message).with_hint(HINT);
        contents.problems.push(problem);
    }
    for (path, kind) in found.skipped {
        let message = format!("skipped: not a file, but {kind}");
        let problem = Problem::with_file(path.to_string_lossy(), message);
        contents.warnings.push(problem.as_warning());
    }
    for file in found.files {
        let bounds = Bounds {
            bytes_max: FILE_BYTES_MAX,
            deadline,
            streams: options.streams && file == path,
        };
        match bounded_file::read(&file, bounds) {
            Ok((bytes, metadata)) => contents.files.push(RulesFile {
                path: file,
                bytes,
                is_stream: FileKind::of(&metadata).is_stream(),
            }),
            Err(error) => {
                contents.is_transient |= error.is_transient();
                contents.problems.push(unreadable(&file, &error));
            }
        }
    }
    contents
}

fn unreadable(path: &Path, error: &ReadError) -> Problem {
    Problem::with_file(
        path.to_string_lossy(),
        format!("cannot read the rules: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const OPTIONS: Options = Options {
        time_max: Duration::from_secs(60),
        streams: true,
    };

    fn names(path: &Path) -> Vec<String> {
        let files = find(path).unwrap().files;
        files
            .iter()
            .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_file_stands_for_itself_whatever_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rules.txt");
        fs::write(&path, "").unwrap();
        assert_eq!(find(&path).unwrap().files, [path]);
    }

    #[test]
    fn a_directory_stands_for_its_yaml_files_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".hidden.yaml", "README.md", "c.yaml~"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("folder.yaml")).unwrap();
        assert_eq!(names(directory.path()), ["a.yml", "b.yaml"]);
    }

    #[test]
    fn directories_below_are_looked_into_once_also_when_links_make_a_circle() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("team/edge");
        fs::create_dir_all(&below).unwrap();
        fs::create_dir(directory.path().join(".git")).unwrap();
        for name in ["z.yaml", "team/b.yaml", "team/edge/a.yaml", ".git/c.yaml"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        symlink("../..", below.join("circle")).unwrap();
        // By path: team/b.yaml, team/edge/a.yaml, z.yaml.
        assert_eq!(names(directory.path()), ["b.yaml", "a.yaml", "z.yaml"]);
    }

    #[test]
    fn the_links_of_a_mounted_config_map_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let version = directory.path().join("..2026_01_01");
        fs::create_dir(&version).unwrap();
        fs::write(version.join("rules.yaml"), "domain: a").unwrap();
        symlink("..2026_01_01", directory.path().join("..data")).unwrap();
        symlink("..data/rules.yaml", directory.path().join("rules.yaml")).unwrap();
        assert_eq!(names(directory.path()), ["rules.yaml"]);
        let contents = read(directory.path(), OPTIONS);
        assert!(contents.problems.is_empty(), "{}", contents.problems);
        assert_eq!(contents.files[0].bytes, b"domain: a");
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let Contents {
            files, problems, ..
        } = read(Path::new("/dev/zero"), OPTIONS);
        assert!(files.is_empty());
        assert!(
            problems.to_string().contains("67108864 bytes"),
            "{problems}"
        );
    }

    #[test]
    fn everything_that_cannot_be_read_is_reported_and_does_not_hide_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let problems = read(directory.path(), OPTIONS).problems;
        assert!(problems.to_string().contains("no *.yaml"), "{problems}");
        let missing = read(&directory.path().join("missing"), OPTIONS);
        assert!(missing.problems.len() == 1 && missing.is_transient);

        symlink("nowhere", directory.path().join("a.yaml")).unwrap();
        symlink("nowhere", directory.path().join("b.yaml")).unwrap();
        fs::write(directory.path().join("c.yaml"), "domain: a").unwrap();
        let Contents {
            files, problems, ..
        } = read(directory.path(), OPTIONS);
        assert_eq!((files.len(), problems.len()), (1, 2), "{problems}");
    }

    #[test]
    fn what_is_no_regular_file_is_read_by_name_and_skipped_in_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), "domain: a").unwrap();
        symlink("/dev/null", directory.path().join("b.yaml")).unwrap();
        symlink("/dev/null", directory.path().join("README")).unwrap();
        let contents = read(directory.path(), OPTIONS);
        assert!(contents.problems.is_empty(), "{}", contents.problems);
        assert_eq!(contents.files.len(), 1);
        let warnings = contents.warnings.to_string();
        assert_eq!(contents.warnings.len(), 1, "{warnings}");
        assert!(
            warnings.contains("b.yaml") && warnings.contains("a device"),
            "{warnings}"
        );
        assert!(!contents.warnings.has_errors());

        let device = directory.path().join("b.yaml");
        let [file] = &read(&device, OPTIONS).files[..] else {
            panic!("it is one file");
        };
        assert!(file.is_stream);
        let refused = Options {
            streams: false,
            ..OPTIONS
        };
        let contents = read(&device, refused);
        assert_eq!((contents.problems.len(), contents.is_transient), (1, false));
    }
}
