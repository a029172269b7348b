//! Whether the process that owns a region is there, as far as can be told from here.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// The process a region names as its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its number, in the PID namespace meshd runs in; 0 when no process has ever owned the region.
    pub(crate) pid: u64,
    /// Whether there is such a process.
    pub(crate) presence: Presence,
}

/// Whether a process is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A process of this number runs; its name, if that may be read. A name other than `meshd` means
    /// that the number was given to another process since.
    Running(Option<String>),
    /// There is none of this number here. meshd may still run in another PID namespace (a container).
    NotFound,
    /// It cannot be told.
    Unknown,
}

impl Presence {
    /// The word for it in JSON.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Running(_) => "running",
            Self::NotFound => "not_found",
            Self::Unknown => "unknown",
        }
    }
}

impl Owner {
    /// Looks for the process with this number, which may be any number at all.
    pub(crate) fn look_for(pid: u64) -> Self {
        Self {
            pid,
            presence: presence(pid),
        }
    }
}

fn presence(pid: u64) -> Presence {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return if pid == 0 {
            Presence::Unknown
        } else {
            // Beyond any number a process can have.
            Presence::NotFound
        };
    };
    // Asks whether a signal could be sent; sends none.
    match test_kill_process(process) {
        Ok(()) | Err(Errno::PERM) if has_ended(pid) => Presence::NotFound,
        Ok(()) | Err(Errno::PERM) => Presence::Running(name(pid)),
        Err(Errno::SRCH) => Presence::NotFound,
        Err(_) => Presence::Unknown,
    }
}

/// Whether the process has ended and only its number is there still, until its parent takes note.
fn has_ended(pid: u64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The name before the state is in parentheses, and may have some itself.
    let state = status.ok().and_then(|status| {
        let (_, rest) = status.rsplit_once(") ")?;
        rest.chars().next()
    });
    matches!(state, Some('Z' | 'X'))
}

fn name(pid: u64) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_found_with_its_name() {
        let owner = Owner::look_for(std::process::id().into());
        assert!(matches!(owner.presence, Presence::Running(Some(_))));
    }

    #[test]
    fn a_process_that_has_ended_is_not_there_though_nobody_waited_for_it() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().into();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while presence(pid) != Presence::NotFound {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_process_of_another_user_counts_as_running() {
        assert!(matches!(presence(1), Presence::Running(_)));
    }

    #[test]
    fn numbers_no_process_has_are_not_found() {
        assert_eq!(presence(0), Presence::Unknown);
        for pid in [i32::MAX.unsigned_abs().into(), 1 << 31, u64::MAX] {
            assert_eq!(presence(pid), Presence::NotFound, "{pid}");
        }
    }
}
