//! The Hivemind daemon.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    meshd::run(std::env::args_os(), std::env::vars_os())
}
