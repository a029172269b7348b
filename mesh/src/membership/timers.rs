//! What the protocol wants to be reminded of, and when.

use foca::{Timer, TimerToken};

use super::identity::Identity;

/// Reminders in the order they are due; those of the same moment as the protocol prefers them.
///
/// Every reminder carries the token of the connection it was made for. The protocol ignores those of
/// another, so they are thrown away as soon as there is a newer one. That bounds the queue at about
/// twenty, whatever others send, and a token that comes round again meets nothing old.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// The next one is last.
    queue: Vec<Due>,
    token: TimerToken,
}

#[derive(Debug)]
struct Due {
    at_us: u64,
    timer: Timer<Identity>,
}

impl Timers {
    /// Reminds at this moment.
    pub(super) fn add(&mut self, timer: Timer<Identity>, at_us: u64) {
        if let Some(token) = token(&timer)
            && token != self.token
        {
            self.queue.retain(|due| self::token(&due.timer).is_none());
            self.token = token;
        }
        let due = Due { at_us, timer };
        let later = |other: &Due| (other.at_us, &other.timer) > (due.at_us, &due.timer);
        let place = self.queue.partition_point(later);
        self.queue.insert(place, due);
    }

    /// Takes out the first reminder, if it is due.
    pub(super) fn pop_due(&mut self, now_us: u64) -> Option<Timer<Identity>> {
        self.queue
            .pop_if(|due| due.at_us <= now_us)
            .map(|due| due.timer)
    }
}

fn token(timer: &Timer<Identity>) -> Option<TimerToken> {
    match *timer {
        Timer::ProbeRandomMember(token)
        | Timer::SendIndirectProbe { token, .. }
        | Timer::ChangeSuspectToDown { token, .. }
        | Timer::PeriodicAnnounce(token)
        | Timer::PeriodicAnnounceDown(token)
        | Timer::PeriodicGossip(token) => Some(token),
        Timer::RemoveDown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_come_in_order_and_not_before_they_are_due() {
        let mut timers = Timers::default();
        timers.add(Timer::PeriodicGossip(0), 20);
        timers.add(Timer::PeriodicAnnounce(0), 10);
        timers.add(Timer::ProbeRandomMember(0), 20);
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(20), Some(Timer::PeriodicAnnounce(0)));
        assert_eq!(timers.pop_due(20), Some(Timer::ProbeRandomMember(0)));
        assert_eq!(timers.pop_due(19), None);
        assert_eq!(timers.pop_due(20), Some(Timer::PeriodicGossip(0)));
        assert_eq!(timers.pop_due(u64::MAX), None);
    }

    #[test]
    fn reminders_of_an_earlier_connection_are_thrown_away() {
        let mut timers = Timers::default();
        for token in 0..=u8::MAX {
            timers.add(Timer::PeriodicGossip(token), 1_000);
            timers.add(Timer::ProbeRandomMember(token), 1_000);
        }
        assert_eq!(timers.queue.len(), 2);
    }
}
