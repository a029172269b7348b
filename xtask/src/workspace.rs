//! Where things are in the repository.

use std::path::{Path, PathBuf};

/// The workspace's root directory.
///
/// Fixed when this crate is compiled: it is run from where it was built, by `cargo`.
pub fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, else `target` in the workspace.
///
/// A relative `CARGO_TARGET_DIR` is taken from the workspace root, because cargo runs tests in
/// their package's directory, not where the user typed the command.
pub fn target_dir() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").filter(|name| !name.is_empty());
    root().join(named.unwrap_or_else(|| "target".into()))
}
