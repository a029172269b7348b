//! The configuration in force, as a service file that says where each value came from.

use std::fmt::Write;

use hivemind_shared::yaml::printable;

use super::load::Loaded;
use super::schema::KEYS;

/// Column the origins are aligned to, where the value leaves room for it.
const ORIGIN_COLUMN: usize = 44;

/// Writes a configuration as a service file, each value with its origin as a comment.
pub fn print(loaded: &Loaded) -> String {
    let mut out = String::new();
    let mut section = "";
    for (key, origin) in KEYS.iter().zip(&loaded.origins) {
        if key.section != section {
            section = key.section;
            out.push_str(section);
            out.push_str(":\n");
        }
        let line = format!("  {}: {}", key.name, (key.show)(&loaded.config));
        // Writing to a string cannot fail.
        let _ = write!(out, "{line:ORIGIN_COLUMN$} # {origin}");
        if let Some(filter) = loaded
            .log_filter
            .as_ref()
            .filter(|_| key.path() == "log.level")
        {
            let _ = write!(out, "; over it RUST_LOG={}", printable(filter.text()));
        }
        out.push('\n');
    }
    out
}
