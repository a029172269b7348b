//! The two threads that follow files. The one looks at the files and reads them, and waits for a file system
//! that does not answer for as long as that lasts. The other one brings into force what was read. It never
//! waits for a file, so that it can always say how things are, and be stopped.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tracing::error;

use super::Outcome;
use super::schedule::{OVERDUE_AFTER, Schedule, Task};
use super::watch::Watch;
use crate::panics::PanicNotice;

/// Something that is read from files, and of which the last good one stays in force.
pub(crate) trait LastGood: Send + 'static {
    /// What a reading brings.
    type Read: Send + 'static;

    /// What its threads are called: at most ten bytes.
    const NAME: &'static str;

    /// The files, and directories of files.
    fn paths(&self) -> Vec<PathBuf>;

    /// A reading of the files as they are when it is called.
    fn reading(&self) -> Box<dyn FnOnce() -> Self::Read + Send>;

    /// Brings what was read into force, if it is good and differs from what is.
    fn apply(&mut self, read: Self::Read) -> Outcome;

    /// Says that the files cannot be read: this is the problem.
    fn is_overdue(&mut self, problem: &str);

    /// Says what came of a reload that was asked for.
    fn report(&self, outcome: Outcome);

    /// Does what is to be done every few moments.
    fn tend(&mut self) {}

    /// What is done when a thread dies.
    fn death_notice(&self) -> PanicNotice;
}

/// Follows files for as long as it lives. Dropping it waits for no file.
#[derive(Debug)]
pub(crate) struct Follower {
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Event {
    /// The files are to be read again, changed or not.
    Reload,
    Stop,
    /// The thread that reads has an answer.
    Answered,
    /// The thread that reads has ended.
    ReaderEnded,
}

enum Job<R> {
    Look,
    Read(Box<dyn FnOnce() -> R + Send>),
}

enum Answer<R> {
    Looked { is_changed: bool, next: Duration },
    Read(R),
}

impl Follower {
    /// Starts to follow the files.
    ///
    /// # Errors
    ///
    /// When the operating system has no more threads.
    pub(crate) fn start<I: LastGood>(item: I) -> io::Result<Self> {
        let (events, told) = mpsc::channel();
        let (jobs, to_do) = mpsc::channel();
        let (answers, answered) = mpsc::channel();
        let reader = Reader {
            watches: item.paths().into_iter().map(Watch::new).collect(),
            jobs: to_do,
            answers,
            end: ReaderEnd(events.clone()),
        };
        let notice = item.death_notice();
        // Nobody waits for its end.
        Builder::new()
            .name(format!("{}-read", I::NAME))
            .spawn(move || {
                let _notice = notice;
                reader.run();
            })?;
        let notice = item.death_notice();
        let work = Work {
            item,
            schedule: Schedule::new(Instant::now()),
            events: told,
            jobs,
            answers: answered,
        };
        let thread = Builder::new().name(I::NAME.to_owned()).spawn(move || {
            let _notice = notice;
            work.run();
        })?;
        Ok(Self {
            events,
            thread: Some(thread),
        })
    }

    /// Reads the files again, changed or not; whether there is still somebody who does.
    pub(crate) fn reload(&self) -> bool {
        self.events.send(Event::Reload).is_ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.events.send(Event::Stop);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            error!(
                thread = name,
                "thread died of a panic: this is a bug in meshd"
            );
        }
    }
}

/// The thread that brings into force what was read.
struct Work<I: LastGood> {
    item: I,
    schedule: Schedule,
    events: Receiver<Event>,
    jobs: Sender<Job<I::Read>>,
    answers: Receiver<Answer<I::Read>>,
}

impl<I: LastGood> Work<I> {
    fn run(mut self) {
        loop {
            let now = Instant::now();
            if self.schedule.has_become_overdue(now) {
                self.item.is_overdue(&format!(
                    "the files have not been read within {} s: their file system does not answer",
                    OVERDUE_AFTER.as_secs()
                ));
            }
            let job = self.schedule.begin(now).map(|task| match task {
                Task::Look => Job::Look,
                Task::Read => Job::Read(self.item.reading()),
            });
            if let Some(job) = job
                && self.jobs.send(job).is_err()
            {
                return;
            }
            self.item.tend();
            match self.events.recv_timeout(self.schedule.wait(now)) {
                Ok(Event::Reload) => self.schedule.ask(),
                Ok(Event::Answered) => self.take_answer(),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop | Event::ReaderEnded) | Err(RecvTimeoutError::Disconnected) => {
                    return;
                }
            }
        }
    }

    fn take_answer(&mut self) {
        match self.answers.try_recv() {
            Ok(Answer::Looked { is_changed, next }) => {
                self.schedule.looked(Instant::now(), is_changed, next);
            }
            Ok(Answer::Read(read)) => {
                let outcome = self.item.apply(read);
                if self.schedule.read(Instant::now(), outcome) {
                    self.item.report(outcome);
                }
            }
            // It is sent before its event is.
            Err(_) => {}
        }
    }
}

/// The thread that looks at files and reads them.
struct Reader<R> {
    watches: Vec<Watch>,
    jobs: Receiver<Job<R>>,
    answers: Sender<Answer<R>>,
    end: ReaderEnd,
}

impl<R> Reader<R> {
    fn run(mut self) {
        while let Ok(job) = self.jobs.recv() {
            let answer = match job {
                Job::Look => self.look(),
                Job::Read(reading) => Answer::Read(reading()),
            };
            let is_told =
                self.answers.send(answer).is_ok() && self.end.0.send(Event::Answered).is_ok();
            if !is_told {
                return;
            }
        }
    }

    fn look(&mut self) -> Answer<R> {
        // Every one is looked at, whatever the others say.
        let changed = self.watches.iter_mut().map(Watch::look);
        let is_changed = changed.fold(false, |any, changed| any | changed);
        let next = self.watches.iter().map(Watch::interval).min();
        Answer::Looked {
            is_changed,
            next: next.unwrap_or_default(),
        }
    }
}

/// Tells of the end of the thread that reads, also when that is a panic.
struct ReaderEnd(Sender<Event>);

impl Drop for ReaderEnd {
    fn drop(&mut self) {
        // Nobody may be left who wants to know.
        let _ = self.0.send(Event::ReaderEnded);
    }
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look => "Look",
            Self::Read(_) => "Read",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What happened to an [`Item`].
    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Applied(usize),
        Reported(Outcome),
        Died,
    }

    type Reading = dyn Fn(usize) + Send + Sync;

    /// Its readings bring their number, after doing this.
    struct Item {
        number: Arc<AtomicUsize>,
        reading: Arc<Reading>,
        outcomes: fn(usize) -> Outcome,
        seen: Sender<Seen>,
    }

    impl LastGood for Item {
        type Read = usize;
        const NAME: &'static str = "item";

        fn paths(&self) -> Vec<PathBuf> {
            vec!["/dev/null".into()]
        }

        fn reading(&self) -> Box<dyn FnOnce() -> usize + Send> {
            let (number, reading) = (Arc::clone(&self.number), Arc::clone(&self.reading));
            Box::new(move || {
                let number = number.fetch_add(1, Ordering::Relaxed);
                reading(number);
                number
            })
        }

        fn apply(&mut self, read: usize) -> Outcome {
            self.seen.send(Seen::Applied(read)).unwrap();
            (self.outcomes)(read)
        }

        fn is_overdue(&mut self, _: &str) {}

        fn report(&self, outcome: Outcome) {
            self.seen.send(Seen::Reported(outcome)).unwrap();
        }

        fn death_notice(&self) -> PanicNotice {
            let seen = self.seen.clone();
            PanicNotice::new(move || seen.send(Seen::Died).unwrap())
        }
    }

    fn start(
        reading: impl Fn(usize) + Send + Sync + 'static,
        outcomes: fn(usize) -> Outcome,
    ) -> (Follower, Receiver<Seen>) {
        let (seen, told) = mpsc::channel();
        let item = Item {
            number: Arc::default(),
            reading: Arc::new(reading),
            outcomes,
            seen,
        };
        (Follower::start(item).unwrap(), told)
    }

    fn next(seen: &Receiver<Seen>) -> Seen {
        seen.recv_timeout(PATIENCE).expect("something happens")
    }

    #[test]
    fn what_cannot_be_read_is_read_again_without_a_change_of_the_files() {
        let (_follower, seen) = start(
            |_| {},
            |number| match number {
                0 | 1 => Outcome::Unreadable,
                _ => Outcome::Published,
            },
        );
        for number in 0..3 {
            assert_eq!(next(&seen), Seen::Applied(number));
        }
    }

    #[test]
    fn a_reload_that_is_asked_for_is_reported() {
        let (follower, seen) = start(|_| {}, |_| Outcome::Rejected);
        assert_eq!(next(&seen), Seen::Applied(0));
        assert!(follower.reload());
        assert_eq!(next(&seen), Seen::Applied(1));
        assert_eq!(next(&seen), Seen::Reported(Outcome::Rejected));
    }

    #[test]
    fn no_end_waits_for_a_reading() {
        let (begun, begins) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (begun, released) = (Mutex::new(begun), Mutex::new(released));
        let (follower, seen) = start(
            move |_| {
                begun.lock().unwrap().send(()).unwrap();
                // As long as a file system likes.
                let _ = released.lock().unwrap().recv();
            },
            |_| Outcome::Published,
        );
        begins.recv_timeout(PATIENCE).expect("files are read");
        drop(follower);
        drop(release);
        assert!(
            seen.recv_timeout(PATIENCE).is_err(),
            "what is read afterwards comes into force no more"
        );
    }

    #[test]
    fn a_reading_that_panics_is_noticed_and_ends_it() {
        let (follower, seen) = start(|_| panic!("as a bug would"), |_| Outcome::Published);
        assert_eq!(next(&seen), Seen::Died);
        let deadline = Instant::now() + PATIENCE;
        while follower.reload() {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
