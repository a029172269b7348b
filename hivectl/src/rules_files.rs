//! Finding and reading rules files as meshd does.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hivemind_shared::yaml::{Problem, Problems, Source};

/// Bytes of one file that are read: meshd refuses larger ones, too.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads the files these paths stand for. What cannot be read is among the problems, and the rest is
/// there all the same.
pub(crate) fn read(paths: &[PathBuf]) -> (Vec<Source>, Problems) {
    let mut sources = Vec::new();
    let mut problems = Problems::default();
    for path in paths {
        match find(path) {
            Ok(files) if files.is_empty() => {
                let message = "there is no *.yaml or *.yml file in this directory";
                problems.push(Problem::with_file(path.to_string_lossy(), message));
            }
            Ok(files) => {
                for file in files {
                    match read_file(&file) {
                        Ok(source) => sources.push(source),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Err(error) => problems.push(unreadable(path, &error)),
        }
    }
    (sources, problems)
}

/// The files a path stands for: itself, or the `*.yaml` and `*.yml` files of the directory it is, by
/// name. Names that begin with a dot are passed over, and links are followed: in a mounted Kubernetes
/// ConfigMap every file is a link into `..data`, itself a link.
fn find(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if has_rules_name(&file) && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn has_rules_name(file: &Path) -> bool {
    let is_hidden = file
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_yaml = file
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    is_yaml && !is_hidden
}

fn read_file(path: &Path) -> Result<Source, Problem> {
    let bytes = read_bytes(path).map_err(|error| unreadable(path, &error))?;
    Source::from_bytes(path.to_string_lossy(), bytes)
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
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

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let message = format!("cannot read the rules: {error}");
    Problem::with_file(path.to_string_lossy(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_stands_for_its_yaml_files_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".hidden.yaml", "README.md", "c.yaml~"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("folder.yaml")).unwrap();
        let found = find(directory.path()).unwrap();
        assert_eq!(
            found,
            ["a.yml", "b.yaml"].map(|name| directory.path().join(name))
        );
    }

    #[test]
    fn the_links_of_a_mounted_config_map_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("..2026_01_01")).unwrap();
        fs::write(
            directory.path().join("..2026_01_01/rules.yaml"),
            "domain: a",
        )
        .unwrap();
        symlink("..2026_01_01", directory.path().join("..data")).unwrap();
        symlink("..data/rules.yaml", directory.path().join("rules.yaml")).unwrap();
        let (sources, problems) = read(&[directory.path().to_owned()]);
        assert_eq!(problems, Problems::default());
        let texts: Vec<&str> = sources.iter().map(Source::text).collect();
        assert_eq!(texts, ["domain: a"]);
    }

    #[test]
    fn what_cannot_be_read_does_not_hide_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        symlink("nowhere", directory.path().join("a.yaml")).unwrap();
        fs::write(directory.path().join("b.yaml"), b"domain: \xFF").unwrap();
        fs::write(directory.path().join("c.yaml"), "domain: a").unwrap();
        let empty = tempfile::tempdir().unwrap();
        let paths = [
            directory.path().to_owned(),
            empty.path().to_owned(),
            "/no/where".into(),
        ];
        let (sources, problems) = read(&paths);
        assert_eq!(sources.len(), 1);
        assert_eq!(problems.len(), 4, "{problems}");
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let problem = read_file(Path::new("/dev/zero")).unwrap_err();
        assert!(problem.message.contains("67108864 bytes"), "{problem}");
    }
}
