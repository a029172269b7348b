//! Finding and reading the files rules are in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hivemind_shared::yaml::{Problem, Problems};

/// Bytes of one rules file that are read, the same as the YAML reader's own limit.
const FILE_SIZE_MAX: u64 = 64 << 20;

/// One rules file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesFile {
    /// Its path, as messages show it.
    pub path: PathBuf,
    /// What was in it.
    pub bytes: Vec<u8>,
}

/// The rules files `path` stands for: itself when it is a file, and when it is a directory the
/// `*.yaml` and `*.yml` files in it by name.
///
/// Names that begin with a dot are passed over. That makes the directory of a mounted Kubernetes
/// ConfigMap work, where every file is a symbolic link into `..data`, itself a link that is swapped.
///
/// # Errors
///
/// When the path is missing or may not be read.
pub fn find(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let is_hidden = file
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_yaml = file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        // The link's target counts, and a link into nothing is left for reading to report.
        let is_directory = fs::metadata(&file).is_ok_and(|metadata| metadata.is_dir());
        if is_yaml && !is_hidden && !is_directory {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads every file of [`find`].
///
/// # Errors
///
/// Every file that cannot be read, or that there is none.
pub fn read(path: &Path) -> Result<Vec<RulesFile>, Problems> {
    let named = path.to_string_lossy();
    let paths = find(path).map_err(|error| {
        Problem::with_file(&named, format!("cannot read the rules: {error}"))
            .with_hint("rate_limiting.config_path names the rules, a file or a directory")
    })?;
    if paths.is_empty() {
        return Err(Problem::with_file(
            &named,
            "there is no *.yaml or *.yml file in this directory",
        )
        .with_hint("rate_limiting.config_path names the rules, a file or a directory")
        .into());
    }
    let mut problems = Problems::default();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        match read_file(&path) {
            Ok(bytes) => files.push(RulesFile { path, bytes }),
            Err(error) => {
                let message = format!("cannot read the rules: {error}");
                problems.push(Problem::with_file(path.to_string_lossy(), message));
            }
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    if size > FILE_SIZE_MAX {
        let message = format!("{size} bytes are more than the {FILE_SIZE_MAX} that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(path: &Path) -> Vec<String> {
        find(path)
            .unwrap()
            .iter()
            .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_file_stands_for_itself_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.txt");
        fs::write(&path, "").unwrap();
        assert_eq!(find(&path).unwrap(), [path]);
    }

    #[test]
    fn a_directory_stands_for_its_yaml_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".hidden.yaml", "README.md", "c.yaml~"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("folder.yaml")).unwrap();
        assert_eq!(names(dir.path()), ["a.yml", "b.yaml"]);
    }

    #[test]
    fn the_links_of_a_mounted_config_map_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let version = dir.path().join("..2026_01_01");
        fs::create_dir(&version).unwrap();
        fs::write(version.join("rules.yaml"), "domain: a").unwrap();
        symlink("..2026_01_01", dir.path().join("..data")).unwrap();
        symlink("..data/rules.yaml", dir.path().join("rules.yaml")).unwrap();

        assert_eq!(names(dir.path()), ["rules.yaml"]);
        assert_eq!(read(dir.path()).unwrap()[0].bytes, b"domain: a");
    }

    #[test]
    fn everything_that_cannot_be_read_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            read(dir.path())
                .unwrap_err()
                .to_string()
                .contains("no *.yaml"),
            "empty"
        );
        assert!(read(&dir.path().join("missing")).is_err());

        symlink("nowhere", dir.path().join("a.yaml")).unwrap();
        symlink("nowhere", dir.path().join("b.yaml")).unwrap();
        assert_eq!(read(dir.path()).unwrap_err().len(), 2);
    }
}
