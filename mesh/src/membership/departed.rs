//! Members that are down: they are knocked at for a while, and then forgotten.

use std::collections::BTreeMap;

use foca::{State, Timer};
use rand::RngExt;

use super::identity::Identity;
use super::{IDENTITIES_MAX, Membership, Output};

/// How long a down member is remembered, microseconds. Until then it is knocked at, so this is the
/// longest partition that heals by itself.
pub(super) const FORGET_AFTER_US: u64 = 24 * 60 * 60 * 1_000_000;

/// How many down members are knocked at in one go.
const KNOCKS: usize = 3;

impl Membership {
    /// Announces this node to members that are down: they may be back, or never have been gone. Whoever
    /// of the two was declared down learns it this way.
    pub(super) fn knock(&mut self, out: &mut Output) {
        let mut doors: Vec<Identity> = self
            .down_identities()
            .filter(|identity| {
                identity.actor != self.me.actor && !self.peers.contains_key(&identity.actor)
            })
            .collect();
        for _ in 0..KNOCKS.min(doors.len()) {
            let door = doors.swap_remove(self.random.random_range(0..doors.len()));
            self.announce_to(door, out);
        }
    }

    /// Forgets who has been down for so long.
    pub(super) fn forget(&mut self, age_us: u64) {
        let before = std::mem::take(&mut self.down);
        let mut down = BTreeMap::new();
        for identity in self.down_identities() {
            let place = foca::Identity::addr(&identity);
            let since_us = match before.get(&place) {
                Some(&(known, since_us)) if known == identity => since_us,
                _ => self.running_us,
            };
            down.insert(place, (identity, since_us));
        }
        down.retain(|_, &mut (identity, since_us)| {
            let keep = self.running_us - since_us < age_us;
            if !keep {
                let timer = Timer::RemoveDown(identity);
                // It sends nothing and cannot fail.
                let _ = self.run(&mut Output::new(), |foca, runtime| {
                    foca.handle_timer(timer, runtime)
                });
            }
            keep
        });
        self.down = down;
    }

    fn down_identities(&self) -> impl Iterator<Item = Identity> {
        let all = self.foca.iter_membership_state();
        all.filter(|member| member.state() == State::Down)
            .map(|member| *member.id())
    }

    /// Whether so many more identities can be kept.
    pub(super) fn has_room(&mut self, more: usize) -> bool {
        let is_enough =
            |this: &Self| this.foca.iter_membership_state().len() + more <= IDENTITIES_MAX;
        is_enough(self) || {
            self.forget(0);
            is_enough(self)
        }
    }
}
