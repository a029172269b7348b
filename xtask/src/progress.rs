//! Lines on standard error that say what takes so long.

use std::fmt::Arguments;
use std::io::Write as _;

/// Says one line of progress.
///
/// A closed standard error is nothing to fail a task for, so errors are dropped.
pub fn say(line: Arguments<'_>) {
    // In one piece, so that lines of others do not get between.
    let _ = std::io::stderr().write_all(format!("  {line}\n").as_bytes());
}

/// Says one line of progress on standard error, as `format!` would make it.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::progress::say(format_args!($($argument)*))
    };
}
