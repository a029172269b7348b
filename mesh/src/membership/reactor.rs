//! What comes out of foca, and where it goes.

use std::time::Duration;

use foca::{Foca, NoCustomBroadcast, Notification, Timer};
use rand::rngs::Xoshiro256PlusPlus;

use super::codec::Codec;
use super::identity::Identity;
use super::timers::Timers;
use super::{Event, Output};

/// The protocol.
pub(super) type Swim = Foca<Identity, Codec, Xoshiro256PlusPlus, NoCustomBroadcast>;

/// Takes what the protocol wants done, in one call of it.
pub(super) struct Reactor<'a> {
    pub(super) out: &'a mut Output,
    pub(super) timers: &'a mut Timers,
    pub(super) touched: &'a mut Vec<u64>,
    pub(super) running_us: u64,
}

impl foca::Runtime<Identity> for Reactor<'_> {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(identity)
            | Notification::MemberDown(identity)
            | Notification::Rename(_, identity) => self.touched.push(identity.actor),
            Notification::Rejoin(identity) => {
                self.out.events.push(Event::Rejoined(identity.member()));
            }
            Notification::Active | Notification::Idle | Notification::Defunct => {}
        }
    }

    fn send_to(&mut self, to: Identity, payload: &[u8]) {
        self.out.push(to.address, payload);
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        let after_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let at_us = self.running_us.saturating_add(after_us);
        self.timers.add(timer, at_us);
    }
}
