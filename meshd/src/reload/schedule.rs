//! When files are looked at and read. Readings that fail are repeated, less and less often, until they
//! succeed or the files change; what was read and is wrong is read again only when it has changed.

use std::time::{Duration, Instant};

use super::{Outcome, READ_TIME_MAX};

/// How long after a reading that failed the next one is, at first and at most.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(500);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);

/// When a task that has not ended is overdue: later than readings end by themselves.
pub(super) const OVERDUE_AFTER: Duration = READ_TIME_MAX.saturating_add(Duration::from_secs(2));

/// The longest time between two turns of whoever follows the schedule.
const TURN_MAX: Duration = Duration::from_secs(1);

/// What is done with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// They are looked at from the outside.
    Look,
    /// They are read.
    Read,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    since: Instant,
    is_overdue: bool,
    /// Whether somebody has asked for it.
    is_asked: bool,
}

/// What is done next, and when: one task at a time.
#[derive(Debug)]
pub(super) struct Schedule {
    running: Option<Running>,
    next_look: Instant,
    next_retry: Option<Instant>,
    retry_wait: Duration,
    /// The files have changed since they were read.
    is_changed: bool,
    /// Somebody has asked for a reading that has not begun.
    is_asked: bool,
}

impl Schedule {
    /// A schedule that begins with a look.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running: None,
            next_look: now,
            next_retry: None,
            retry_wait: RETRY_WAIT_MIN,
            is_changed: false,
            is_asked: false,
        }
    }

    /// The files are to be read, changed or not.
    pub(super) fn ask(&mut self) {
        self.is_asked = true;
    }

    /// The task that begins now.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Task> {
        if self.running.is_some() {
            return None;
        }
        let is_retry = self.next_retry.is_some_and(|at| at <= now);
        let task = if self.is_changed || self.is_asked || is_retry {
            Task::Read
        } else if self.next_look <= now {
            Task::Look
        } else {
            return None;
        };
        let mut running = Running {
            since: now,
            is_overdue: false,
            is_asked: false,
        };
        if task == Task::Read {
            self.is_changed = false;
            self.next_retry = None;
            running.is_asked = std::mem::take(&mut self.is_asked);
        }
        self.running = Some(running);
        Some(task)
    }

    /// The look has ended, and the next one is after `interval`.
    pub(super) fn looked(&mut self, now: Instant, is_changed: bool, interval: Duration) {
        let running = self.running.take();
        if is_changed {
            self.retry_wait = RETRY_WAIT_MIN;
        }
        // What was said of a look that was overdue is taken back by a reading.
        self.is_changed |= is_changed || running.is_some_and(|it| it.is_overdue);
        self.next_look = now + interval;
    }

    /// The reading has ended; whether somebody has asked for it.
    pub(super) fn read(&mut self, now: Instant, outcome: Outcome) -> bool {
        if outcome == Outcome::Unreadable {
            self.next_retry = Some(now + self.retry_wait);
            self.retry_wait = (self.retry_wait * 2).min(RETRY_WAIT_MAX);
        } else {
            self.retry_wait = RETRY_WAIT_MIN;
        }
        self.running.take().is_some_and(|it| it.is_asked)
    }

    /// Whether the task is overdue now and was not before.
    pub(super) fn has_become_overdue(&mut self, now: Instant) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        if running.is_overdue || now.duration_since(running.since) < OVERDUE_AFTER {
            return false;
        }
        running.is_overdue = true;
        true
    }

    /// How long nothing is to be done if nobody asks for anything.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let next = match self.running {
            Some(running) if running.is_overdue => return TURN_MAX,
            Some(running) => running.since + OVERDUE_AFTER,
            None => self
                .next_retry
                .map_or(self.next_look, |at| at.min(self.next_look)),
        };
        next.saturating_duration_since(now).min(TURN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    /// Follows a schedule for a while, with looks that see no change; when files were read. Each
    /// reading has the next of the outcomes, and then the last one.
    fn readings(
        schedule: &mut Schedule,
        begin: Instant,
        time: Duration,
        outcomes: &[Outcome],
    ) -> Vec<Duration> {
        let mut outcomes = outcomes.iter().copied();
        let mut outcome = Outcome::Unchanged;
        let mut readings = Vec::new();
        let mut now = begin;
        while now < begin + time {
            match schedule.begin(now) {
                Some(Task::Look) => schedule.looked(now, false, INTERVAL),
                Some(Task::Read) => {
                    readings.push(now - begin);
                    outcome = outcomes.next().unwrap_or(outcome);
                    schedule.read(now, outcome);
                }
                None => now += schedule.wait(now).max(Duration::from_millis(1)),
            }
        }
        readings
    }

    fn changed(begin: Instant) -> Schedule {
        let mut schedule = Schedule::new(begin);
        assert_eq!(schedule.begin(begin), Some(Task::Look));
        schedule.looked(begin, true, INTERVAL);
        schedule
    }

    #[test]
    fn what_cannot_be_read_is_read_again_less_and_less_often_for_ever() {
        let begin = Instant::now();
        let mut schedule = changed(begin);
        let hour = Duration::from_secs(3_600);
        let readings = readings(&mut schedule, begin, hour, &[Outcome::Unreadable]);
        let waits: Vec<_> = readings
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64().round())
            .collect();
        // 500 ms, 1 s, 2 s, 4 s, 8 s, and then every 10 s.
        assert_eq!(waits[1..6], [1.0, 2.0, 4.0, 8.0, 10.0]);
        assert!(waits[5..].iter().all(|wait| *wait == 10.0), "{waits:?}");
        assert!((355..365).contains(&readings.len()), "{}", readings.len());
    }

    #[test]
    fn what_was_read_is_not_read_again_whether_it_was_good_or_not() {
        for outcome in [Outcome::Published, Outcome::Unchanged, Outcome::Rejected] {
            let begin = Instant::now();
            let mut schedule = changed(begin);
            let hour = Duration::from_secs(3_600);
            assert_eq!(readings(&mut schedule, begin, hour, &[outcome]).len(), 1);
            // Neither after it could not be read at first.
            let mut schedule = changed(begin);
            let outcomes = [Outcome::Unreadable, outcome];
            assert_eq!(readings(&mut schedule, begin, hour, &outcomes).len(), 2);
        }
    }

    #[test]
    fn a_change_is_read_at_once_and_waits_begin_anew() {
        let mut now = Instant::now();
        let mut schedule = changed(now);
        let minute = Duration::from_secs(60);
        readings(&mut schedule, now, minute, &[Outcome::Unreadable]);
        now += minute + INTERVAL;
        if schedule.begin(now) == Some(Task::Read) {
            schedule.read(now, Outcome::Unreadable);
            assert_eq!(schedule.begin(now), Some(Task::Look));
        }
        schedule.looked(now, true, INTERVAL);
        assert_eq!(schedule.begin(now), Some(Task::Read));
        schedule.read(now, Outcome::Unreadable);
        let again = readings(&mut schedule, now, minute, &[Outcome::Unreadable]);
        assert_eq!(again[0], RETRY_WAIT_MIN);
    }

    #[test]
    fn whoever_asks_gets_a_reading_that_begins_afterwards() {
        let now = Instant::now();
        let mut schedule = changed(now);
        assert_eq!(schedule.begin(now), Some(Task::Read));
        schedule.ask();
        assert_eq!(schedule.begin(now), None, "one at a time");
        assert!(!schedule.read(now, Outcome::Unchanged), "it began before");
        assert_eq!(schedule.begin(now), Some(Task::Read));
        assert!(schedule.read(now, Outcome::Unchanged));
        assert_ne!(schedule.begin(now), Some(Task::Read));
    }

    #[test]
    fn a_task_is_overdue_once_and_one_that_ends_after_all_is_followed_by_a_reading() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(begin);
        assert_eq!(schedule.begin(begin), Some(Task::Look));
        assert!(!schedule.has_become_overdue(begin));
        let late = begin + OVERDUE_AFTER;
        assert!(schedule.has_become_overdue(late));
        assert!(!schedule.has_become_overdue(late + OVERDUE_AFTER));
        assert_eq!(schedule.wait(late), TURN_MAX);
        schedule.looked(late, false, INTERVAL);
        assert_eq!(schedule.begin(late), Some(Task::Read));
        assert!(!schedule.has_become_overdue(late));
    }
}
