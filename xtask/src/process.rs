//! Processes we start: their output kept, their end ours to see to.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{self, TimedOut};

/// How many of the last lines of a log go into a failure message.
const TAIL_LINES: usize = 30;

/// Something about a process went wrong; its last output is part of the message.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be started at all.
    #[error("cannot start {name}: {source}")]
    Start {
        /// What the process is to us.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended while it was needed.
    #[error("{name} ended with {status}. The end of its output:\n{tail}")]
    Ended {
        /// What the process is to us.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        tail: String,
    },
    /// It did not do in time what was waited for.
    #[error("{name}: {source}. The end of its output:\n{tail}")]
    TimedOut {
        /// What the process is to us.
        name: String,
        /// What was waited for.
        source: TimedOut,
        /// Its last lines.
        tail: String,
    },
    /// The system would not tell about the process, or not signal it.
    #[error("cannot look after {name}: {source}")]
    Control {
        /// What the process is to us.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A running child process, killed when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both its outputs in the file `log`.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Start`] when the log cannot be made or the program not be run.
    pub fn start(
        name: impl Into<String>,
        command: &mut Command,
        log: PathBuf,
    ) -> Result<Self, ProcessError> {
        let name = name.into();
        let mut spawn = || -> io::Result<Child> {
            let output = File::create(&log)?;
            let errors = output.try_clone()?;
            command
                .stdin(Stdio::null())
                .stdout(output)
                .stderr(errors)
                .spawn()
        };
        match spawn() {
            Ok(child) => Ok(Self { name, child, log }),
            Err(source) => Err(ProcessError::Start { name, source }),
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with the output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything the process has said so far.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `condition` has a value.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Ended`] as soon as the process has ended, [`ProcessError::TimedOut`] when
    /// `patience` is over.
    pub async fn until<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, ProcessError> {
        let outcome = wait::until(what, patience, async || {
            // Looked at before the condition: what a process left behind is not what is wanted.
            match self.ended() {
                Ok(None) => condition().await.map(Ok),
                Ok(Some(status)) => Some(Err(ProcessError::Ended {
                    name: self.name.clone(),
                    status,
                    tail: self.tail(),
                })),
                Err(error) => Some(Err(error)),
            }
        });
        match outcome.await {
            Ok(value) => value,
            Err(timed_out) => Err(self.timed_out(timed_out)),
        }
    }

    /// How the process ended, if it has.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Control`] when the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.child
            .try_wait()
            .map_err(|source| self.uncontrolled(source))
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    ///
    /// [`ProcessError::TimedOut`] when it has not after `patience`.
    pub async fn end(&mut self, patience: Duration) -> Result<ExitStatus, ProcessError> {
        let outcome = wait::until("its end", patience, async || self.ended().transpose()).await;
        outcome.map_err(|timed_out| self.timed_out(timed_out))?
    }

    /// Asks the process to end, with SIGTERM, and waits until it has.
    ///
    /// # Errors
    ///
    /// [`ProcessError::TimedOut`] when it has not after `patience`; it goes on running then, until
    /// this is dropped.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM)?;
        self.end(patience).await
    }

    /// Kills the process with SIGKILL: it can do nothing about it, and cleans up nothing.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Control`] when the system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map_err(|source| self.uncontrolled(source))
    }

    /// Sends a signal. One that comes after the end of the process is dropped.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Control`] when the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        // A child that was waited for has no process id any more: another process may have it.
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|error| self.uncontrolled(error.into()))
    }

    /// The last lines of the output, for a failure message.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(TAIL_LINES)..)
            .unwrap_or_default();
        if tail.is_empty() {
            "(none)".to_owned()
        } else {
            tail.join("\n")
        }
    }

    fn timed_out(&self, source: TimedOut) -> ProcessError {
        ProcessError::TimedOut {
            name: self.name.clone(),
            source,
            tail: self.tail(),
        }
    }

    fn uncontrolled(&self, source: io::Error) -> ProcessError {
        ProcessError::Control {
            name: self.name.clone(),
            source,
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .finish()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already, which is all that is wanted here.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::PATIENCE;

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::start("the script", &mut command, dir.path().join("log")).unwrap();
        (dir, process)
    }

    #[tokio::test]
    async fn an_early_end_is_an_error_with_the_output_in_it() {
        let (_dir, mut process) = shell("echo no such luck; exit 3");
        let waited = process.until("never", PATIENCE, async || None::<()>).await;
        let message = waited.unwrap_err().to_string();
        assert!(
            message.contains("the script ended with exit status: 3"),
            "{message}"
        );
        assert!(message.contains("no such luck"), "{message}");
    }

    #[tokio::test]
    async fn a_process_can_be_asked_to_end() {
        let (_dir, mut process) =
            shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        let log = process.log().to_owned();
        let ready = async || {
            std::fs::read_to_string(&log)
                .ok()
                .filter(|it| it.contains("ready"))
        };
        process
            .until("its ready line", PATIENCE, ready)
            .await
            .unwrap();
        assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(7));
        assert!(
            process.signal(Signal::TERM).is_ok(),
            "a signal after the end is dropped"
        );
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let (_dir, process) = shell("sleep 600");
        let proc_dir = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc_dir.exists());
        drop(process);
        assert!(!proc_dir.exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("/nonexistent/program");
        let error = Process::start("it", &mut command, dir.path().join("log")).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot start it: "),
            "{error}"
        );
    }
}
