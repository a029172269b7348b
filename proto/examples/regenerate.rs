//! Rewrites `src/generated` from the `.proto` files: `cargo run -p hivemind-proto --example regenerate`.

#![forbid(unsafe_code)]

#[path = "../tests/generate/mod.rs"]
mod generate;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // Into another directory first: a mistake in a .proto file must not cost the code that compiles.
    let fresh_dir = tempfile::tempdir()?;
    generate::generate(fresh_dir.path())?;

    let committed_dir = generate::committed_dir();
    // A message that moved to another package must not leave its old file behind.
    std::fs::remove_dir_all(&committed_dir)?;
    std::fs::create_dir_all(&committed_dir)?;
    for file in std::fs::read_dir(fresh_dir.path())? {
        let file = file?;
        std::fs::copy(file.path(), committed_dir.join(file.file_name()))?;
    }
    Ok(())
}
