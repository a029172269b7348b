//! File descriptors: how many meshd may have, and how many of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Descriptors that no connection may take: for rules, keys, certificates, name servers, the management
/// server, and a newcomer that takes over.
const RESERVE: usize = 64;

/// Open descriptors where `/proc` does not tell.
const OPEN_GUESS: usize = 256;

/// Raises the soft limit of file descriptors to the hard one.
pub(crate) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    if before.current == before.maximum {
        return;
    }
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(
            before = before.current,
            limit = before.maximum,
            "limit of file descriptors raised"
        ),
        // An unlimited hard limit may be above what the kernel allows.
        Err(error) => warn!(
            limit = before.current,
            %error,
            "the limit of file descriptors cannot be raised to the hard limit"
        ),
    }
}

/// How many more descriptors there may be, besides those that are open now and the reserve.
pub(crate) fn available() -> usize {
    let limit = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
    let open = std::fs::read_dir("/proc/self/fd").map_or(OPEN_GUESS, Iterator::count);
    limit.saturating_sub(open).saturating_sub(RESERVE)
}
