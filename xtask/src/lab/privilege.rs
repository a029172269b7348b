//! Becoming root of a namespace: what a lab needs, without being root of the machine.

use std::fs::File;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use nix::sched::{CloneFlags, unshare};

use crate::say;

/// Where TUN devices come from.
const TUN: &str = "/dev/net/tun";

/// Set for a test that was started again as root of a user namespace.
const INSIDE_VARIABLE: &str = "HIVEMIND_LAB_INSIDE";

/// Set by a user on whose machine there can be no lab: the tests that need one are skipped then.
pub const SKIP_VARIABLE: &str = "HIVEMIND_TESTS_WITHOUT_NETWORK_NAMESPACES";

/// Where a test goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Place {
    /// Here: this process may make network namespaces.
    Here,
    /// Nowhere: it passed in a process of its own, or was skipped, which was said.
    Done,
}

/// A lab is not possible, or a test failed in the namespace it was started again in.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The system allows no namespaces.
    #[error(
        "this test needs network namespaces, and {0}. Run it as root, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) \
         and access to /dev/net/tun (mode 0666); \
         {SKIP_VARIABLE}=1 skips such tests"
    )]
    Forbidden(Obstacle),
    /// This very program could not be started once more.
    #[error("cannot run a test as root of a user namespace: {0}")]
    Start(#[source] io::Error),
    /// The test failed, or did not run.
    #[error("as root of a user namespace, {test} ended with {status}:\n{output}")]
    Failed {
        /// The test.
        test: String,
        /// How its process ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
}

/// What stands in the way of a lab.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// No namespaces.
    #[error("the system gives none: {0}")]
    Namespace(#[source] nix::Error),
    /// No TUN devices.
    #[error("{TUN} cannot be opened: {0}")]
    Device(#[source] io::Error),
    /// No user namespaces.
    #[error("unshare makes none: {0}")]
    Unshare(String),
    /// Nothing to make user namespaces with.
    #[error("unshare cannot be started: {0}; install util-linux")]
    NoUnshare(#[source] io::Error),
    /// Not even a thread to try it in.
    #[error("there is no thread to try it in: {0}")]
    Thread(#[source] io::Error),
}

/// To be called first by a test that needs a lab; `test` is its full name, as `cargo test` prints it.
///
/// Where this process may not make network namespaces, the test is run once more in a process of its
/// own, as root of a user namespace, by `unshare`.
///
/// # Errors
///
/// [`PrivilegeError`] when that is forbidden too, and when the test fails there.
pub fn as_root_of_a_namespace(test: &str) -> Result<Place, PrivilegeError> {
    let Err(obstacle) = try_here() else {
        return Ok(Place::Here);
    };
    if std::env::var_os(INSIDE_VARIABLE).is_some() {
        return Err(PrivilegeError::Forbidden(obstacle));
    }
    if let Err(obstacle) = open_tun().and_then(|()| try_unshare()) {
        let error = PrivilegeError::Forbidden(obstacle);
        if std::env::var_os(SKIP_VARIABLE).is_some_and(|it| it == "1") {
            say!("SKIPPED {test}: {error}");
            return Ok(Place::Done);
        }
        return Err(error);
    }
    run_again(test).map(|()| Place::Done)
}

/// Tries what a lab needs, in a thread that is thrown away.
fn try_here() -> Result<(), Obstacle> {
    let attempt = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(Obstacle::Namespace)?;
        open_tun()
    };
    let thread = std::thread::Builder::new().spawn(attempt);
    let panicked = |_| Obstacle::Thread(io::ErrorKind::Other.into());
    let thread = thread.map_err(Obstacle::Thread)?;
    thread.join().map_err(panicked).flatten()
}

fn open_tun() -> Result<(), Obstacle> {
    let device = File::options().read(true).write(true).open(TUN);
    device.map(drop).map_err(Obstacle::Device)
}

/// Whether `unshare` can make a user namespace, and a network namespace in it.
fn try_unshare() -> Result<(), Obstacle> {
    let output = unshare_command().args(["--net", "true"]).output();
    let output = output.map_err(Obstacle::NoUnshare)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Obstacle::Unshare(said))
}

fn run_again(test: &str) -> Result<(), PrivilegeError> {
    let run = || {
        unshare_command()
            .arg(std::env::current_exe()?)
            .args([test, "--exact", "--include-ignored", "--nocapture"])
            .env(INSIDE_VARIABLE, "1")
            .stdin(Stdio::null())
            .output()
    };
    let output = run().map_err(PrivilegeError::Start)?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // A wrong name runs no test, and that is a success to the one who counts failures only.
    if output.status.success() && said.contains("test result: ok. 1 passed") {
        return Ok(());
    }
    Err(PrivilegeError::Failed {
        test: test.to_owned(),
        status: output.status,
        output: said.into_owned(),
    })
}

fn unshare_command() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]);
    command
}
