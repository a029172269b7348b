//! Finding and reading the files rules are in: the same for the daemon and the tools.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::yaml::{Problem, Problems, Source};

/// Bytes of one rules file that are read, the same as the YAML reader's own limit.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Directories below one another that are looked into.
const DEPTH_MAX: usize = 16;

/// The rules files `path` stands for: itself when it is a file, and when it is a directory the
/// `*.yaml` and `*.yml` files in it and in directories below it, by path.
///
/// Names that begin with a dot are passed over, and links are followed. That makes the directory of a
/// mounted Kubernetes ConfigMap work, where every file is a symbolic link into `..data`, itself a link
/// that is swapped. A directory that links lead to twice is looked into once.
///
/// # Errors
///
/// When the path is missing or may not be read, or directories are nested deeper than anybody means.
pub fn find(path: &Path) -> io::Result<Vec<PathBuf>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
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
            if let Some(metadata) = metadata.filter(fs::Metadata::is_dir) {
                if seen.insert((metadata.dev(), metadata.ino())) {
                    pending.push((entry, depth + 1));
                }
            } else if is_yaml(&entry) {
                files.push(entry);
            }
        }
    }
    files.sort();
    Ok(files)
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

/// Reads every file of [`find`]. What cannot be read is among the problems, and the rest is there all
/// the same.
pub fn read(path: &Path) -> (Vec<RulesFile>, Problems) {
    const HINT: &str = "name a rules file, or a directory with *.yaml files in it";
    let mut files = Vec::new();
    let mut problems = Problems::default();
    match find(path) {
        Ok(paths) if paths.is_empty() => {
            let message = "there is no *.yaml or *.yml file in this directory";
            problems.push(Problem::with_file(path.to_string_lossy(), message).with_hint(HINT));
        }
        Ok(paths) => {
            for path in paths {
                match read_file(&path) {
                    Ok(bytes) => files.push(RulesFile { path, bytes }),
                    Err(error) => problems.push(unreadable(&path, &error)),
                }
            }
        }
        Err(error) => problems.push(unreadable(path, &error).with_hint(HINT)),
    }
    (files, problems)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::with_file(
        path.to_string_lossy(),
        format!("cannot read the rules: {error}"),
    )
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than allowed, to see whether there is more. The file's length would not tell: a pipe
    // has none.
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("it has more than the {FILE_BYTES_MAX} bytes that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let files = find(path).unwrap();
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
        assert_eq!(find(&path).unwrap(), [path]);
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
        let (files, problems) = read(directory.path());
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(files[0].bytes, b"domain: a");
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let (files, problems) = read(Path::new("/dev/zero"));
        assert!(files.is_empty());
        assert!(
            problems.to_string().contains("67108864 bytes"),
            "{problems}"
        );
    }

    #[test]
    fn everything_that_cannot_be_read_is_reported_and_does_not_hide_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let (_, problems) = read(directory.path());
        assert!(problems.to_string().contains("no *.yaml"), "{problems}");
        assert_eq!(read(&directory.path().join("missing")).1.len(), 1);

        symlink("nowhere", directory.path().join("a.yaml")).unwrap();
        symlink("nowhere", directory.path().join("b.yaml")).unwrap();
        fs::write(directory.path().join("c.yaml"), "domain: a").unwrap();
        let (files, problems) = read(directory.path());
        assert_eq!((files.len(), problems.len()), (1, 2), "{problems}");
    }
}
