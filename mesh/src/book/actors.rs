//! Whose counts there are: each actor as a small number, and the sums of what it counted.

use std::collections::BTreeMap;

use hivemind_shared::region::FORGIVEN_ID;
use hivemind_shared::table::Key;
use hivemind_shared::window::Period;

use super::digest::Group;
use super::{ACTORS_MAX, is_near};

/// Actors at most that are no members: the rest of the room is for those who are.
const OTHERS_MAX: usize = ACTORS_MAX - ACTORS_MAX / 4;

/// An actor's number in this book; used again once the actor has no counts left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActorIndex(u16);

/// This node.
pub const OWN: ActorIndex = ActorIndex(0);

/// No node: its counts are the hits that were forgiven.
///
/// A reset cannot lower what others have counted, for counts only grow. It forgives hits instead, and how many
/// were forgiven of a key in a window is a number that only grows as well: told, merged and compared as if
/// one more actor had counted it, and taken from the sum of the others.
pub const FORGIVEN: ActorIndex = ActorIndex(1);

#[derive(Debug)]
struct Actor {
    id: u64,
    /// By period and window.
    groups: BTreeMap<(Period, u32), Group>,
}

/// All actors.
#[derive(Debug)]
pub(super) struct Actors {
    by_id: BTreeMap<u64, ActorIndex>,
    actors: Vec<Option<Actor>>,
}

impl Actors {
    pub(super) fn new(own: u64) -> Self {
        let actor = |id| {
            Some(Actor {
                id,
                groups: BTreeMap::new(),
            })
        };
        Self {
            by_id: BTreeMap::from([(FORGIVEN_ID, FORGIVEN), (own, OWN)]),
            actors: vec![actor(own), actor(FORGIVEN_ID)],
        }
    }

    pub(super) fn find(&self, id: u64) -> Option<ActorIndex> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn id(&self, actor: ActorIndex) -> Option<u64> {
        Some(self.actors.get(usize::from(actor.0))?.as_ref()?.id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ActorIndex, u64)> {
        let all = self.by_id.iter().map(|(&id, &index)| (index, id));
        all.filter(|&(index, _)| index != FORGIVEN || self.groups(FORGIVEN).next().is_some())
    }

    pub(super) fn find_or_add(&mut self, id: u64, is_member: bool) -> Option<ActorIndex> {
        if let Some(index) = self.find(id) {
            return Some(index);
        }
        if !is_member && self.by_id.len() >= OTHERS_MAX {
            return None;
        }
        let free = self.actors.iter().position(Option::is_none);
        let place = free.unwrap_or(self.actors.len());
        if place >= ACTORS_MAX {
            return None;
        }
        let actor = Some(Actor {
            id,
            groups: BTreeMap::new(),
        });
        if place == self.actors.len() {
            self.actors.push(actor);
        } else {
            self.actors[place] = actor;
        }
        let index = ActorIndex(u16::try_from(place).ok()?);
        self.by_id.insert(id, index);
        Some(index)
    }

    fn of(&self, actor: ActorIndex) -> Option<&Actor> {
        self.actors.get(usize::from(actor.0))?.as_ref()
    }

    pub(super) fn groups(&self, actor: ActorIndex) -> impl Iterator<Item = &Group> {
        self.of(actor)
            .into_iter()
            .flat_map(|actor| actor.groups.values())
    }

    pub(super) fn group(&self, actor: ActorIndex, period: Period, window: u32) -> Option<&Group> {
        self.of(actor)?.groups.get(&(period, window))
    }

    /// Notes that an actor's count went from one number to another.
    pub(super) fn change(
        &mut self,
        actor: ActorIndex,
        key: &Key,
        window: u32,
        before: u32,
        after: u32,
        now_s: u64,
    ) {
        let Some(Some(actor)) = self.actors.get_mut(usize::from(actor.0)) else {
            return;
        };
        actor
            .groups
            .entry((key.period, window))
            .or_insert_with(|| Group::new(key.period, window))
            .change(key.fingerprint, before, after, now_s);
    }

    /// Forgets all sums.
    pub(super) fn clear_groups(&mut self) {
        for actor in self.actors.iter_mut().flatten() {
            actor.groups.clear();
        }
    }

    /// Forgets windows that are over; returns the actors that are forgotten with them. When there are nearly too
    /// many actors that nobody `keep`s, those go whose counts have not changed for longest.
    pub(super) fn expire(&mut self, now_s: u64, keep: impl Fn(u64) -> bool) -> Vec<ActorIndex> {
        let mut gone = Vec::new();
        let mut others = Vec::new();
        for (place, slot) in self.actors.iter_mut().enumerate() {
            let Some(actor) = slot else { continue };
            actor
                .groups
                .retain(|&(period, window), _| is_near(period, window, now_s));
            let index = ActorIndex(u16::try_from(place).unwrap_or(u16::MAX));
            if index == OWN || index == FORGIVEN || keep(actor.id) {
                continue;
            }
            match actor.groups.values().map(|group| group.changed_s).max() {
                None => gone.push(index),
                Some(changed_s) => others.push((changed_s, index)),
            }
        }
        let stay = self.by_id.len() - gone.len();
        if stay > OTHERS_MAX - OTHERS_MAX / 8 {
            others.sort_unstable();
            let too_many = stay - OTHERS_MAX * 3 / 4;
            gone.extend(others.iter().take(too_many).map(|&(_, index)| index));
        }
        for &index in &gone {
            if let Some(actor) = self.actors[usize::from(index.0)].take() {
                self.by_id.remove(&actor.id);
            }
        }
        gone
    }
}
