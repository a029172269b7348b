//! Getting a slot for a key that has none: the search for a vacancy, the claim, and the promotion.

use super::claimant::Claimant;
use super::probe::Probe;
use super::usage::{Usage, Worth};
use super::words::{self, Control, Count, Remote, State};
use super::{CountError, Key, Located, Slot, Table};
use crate::clock::Clock;
use crate::sync::{Ordering, Word};

/// How often a claim may start over. It starts over when another thread got what this one was after.
pub(super) const ATTEMPTS_MAX: u32 = 32;

/// Windows that a thread which helps with a claim may be ahead. A word of another life is at least as many
/// windows away again ([`words::Life::over`]).
const HELPERS_AHEAD_MAX: u32 = 1 << 17;

/// A slot in the key's search order.
#[derive(Clone, Copy)]
struct Candidate {
    /// Its place in the search order; smaller wins.
    order: usize,
    index: usize,
    control: Control,
    /// Of a key that is to be evicted: the local word by which that was decided.
    evicts: Option<u64>,
}

/// What a search for the key and for room came to.
enum Survey {
    /// The key has a live slot.
    Live(Located),
    /// Somebody has claimed a slot for this very key and not finished.
    Pending(Candidate),
    /// The slot to take.
    Vacant(Candidate),
    /// Every slot is another key's that does not give it up.
    Full,
}

/// What became of a claim.
enum Outcome {
    Live(Located),
    /// Another thread interfered and got further: look again.
    Again,
}

/// What was found in one of the two buckets of a key.
#[derive(Clone, Copy, Default)]
struct Occupancy {
    /// Slots of other keys that count.
    taken: usize,
    /// The first slot that can be had without taking anything from another key.
    vacant: Option<Candidate>,
}

impl<W: Word, const BUCKET: usize> Table<'_, W, BUCKET> {
    /// From so many taken slots on, the emptier of the two buckets is chosen. Below it is the first one, where
    /// a search begins. So as many keys fit as a region is made for, and few are far from where a search begins.
    const CROWDED: usize = BUCKET / 4 * 3;

    /// Makes sure the key has a live slot.
    #[cold]
    pub(super) fn claim(
        &self,
        key: &Key,
        clock: &impl Clock,
        claimant: &impl Claimant,
    ) -> Result<Located, CountError> {
        for _ in 0..ATTEMPTS_MAX {
            let place = match self.survey(key, clock, claimant) {
                Survey::Live(located) => return Ok(located),
                Survey::Full => return Err(CountError::Full),
                Survey::Pending(place) => place,
                Survey::Vacant(place) => match self.take(key, place, clock, claimant) {
                    Some(place) => place,
                    None => continue,
                },
            };
            if let Outcome::Live(located) = self.promote(key, place, clock, claimant) {
                return Ok(located);
            }
        }
        Err(CountError::Contended)
    }

    /// Looks through the slots the key may live in.
    fn survey(&self, key: &Key, clock: &impl Clock, claimant: &impl Claimant) -> Survey {
        let now_s = clock.now_s();
        let mut buckets = [Occupancy::default(); 2];
        let mut pending = None;
        // Somebody else's unfinished claim: taken only when there is no vacancy, because its owner is most
        // likely alive and about to finish.
        let mut unfinished = None;
        let mut least: Option<(Worth, Candidate)> = None;
        let mut probe = Probe::<BUCKET>::new(key.fingerprint, self.buckets);
        while let Some(index) = probe.next() {
            let slot = &self.slots[index];
            // Acquire, pairs with PROMOTE and CLAIM.
            let control = Control::from_word(slot.control.load(Ordering::Acquire));
            let place = Candidate {
                order: probe.order(),
                index,
                control,
                evicts: None,
            };
            let bucket = &mut buckets[place.order / BUCKET];
            match control.state() {
                State::Empty => {
                    bucket.vacant.get_or_insert(place);
                    // The key is in no slot behind it; how full the bucket is has to be known all the same.
                    while let Some(index) = probe.next_in_bucket() {
                        let control = self.slots[index].control.load(Ordering::Relaxed);
                        let state = Control::from_word(control).state();
                        bucket.taken += usize::from(matches!(state, State::Live | State::Claimed));
                    }
                }
                State::Released => {
                    bucket.vacant.get_or_insert(place);
                }
                State::Claimed if self.claims(slot, control, key) => {
                    pending.get_or_insert(place);
                }
                State::Claimed => {
                    bucket.taken += 1;
                    unfinished.get_or_insert(place);
                }
                State::Live => {
                    // Acquire, pairs with END.
                    let local = slot.local.load(Ordering::Acquire);
                    let ended = Count::from_word(local, control.life()) == Count::Ended;
                    if !ended
                        && control.tags(key.fingerprint)
                        && self.identifies(slot, control.life(), key)
                    {
                        return Survey::Live(Located { index, control });
                    }
                    if ended || self.expired(slot, control, local, now_s) {
                        bucket.vacant.get_or_insert(place);
                        continue;
                    }
                    bucket.taken += 1;
                    let worth = self.worth(slot, control, local, now_s);
                    if worth.yields_to(claimant.source())
                        && least.is_none_or(|(least, _)| worth < least)
                    {
                        let evicts = Some(local);
                        least = Some((worth, Candidate { evicts, ..place }));
                    }
                }
            }
        }
        if let Some(place) = pending {
            return Survey::Pending(place);
        }
        let [first, second] = buckets;
        let vacant = if first.taken >= Self::CROWDED && second.taken < first.taken {
            second.vacant.or(first.vacant)
        } else {
            first.vacant.or(second.vacant)
        };
        let least = least.map(|(_, place)| place);
        match vacant.or(unfinished).or(least) {
            Some(place) => Survey::Vacant(place),
            None => Survey::Full,
        }
    }

    /// How much is lost with the key of a live slot whose local word is `local`.
    fn worth(&self, slot: &Slot<W>, control: Control, local: u64, now_s: u64) -> Worth {
        // Relaxed both: a usage of another key, or a period of another life, makes a choice that is not the
        // best one, and nothing worse.
        let usage = Usage::from_word(slot.usage.load(Ordering::Relaxed));
        let period = words::period_of(slot.shape.load(Ordering::Relaxed));
        let counts_now = period.is_none_or(|period| {
            let current = period.window_at(now_s).number();
            matches!(
                Count::from_word(local, control.life()),
                Count::Hits { window, .. } if window >= current
            )
        });
        usage.worth(now_s, counts_now)
    }

    /// Whether a claimed slot is claimed for this key, as far as its words tell yet.
    fn claims(&self, slot: &Slot<W>, control: Control, key: &Key) -> bool {
        if !control.tags(key.fingerprint) {
            return false;
        }
        // Relaxed: words of this life were written for this claim; others say nothing.
        let identity = slot.identity.load(Ordering::Relaxed);
        let shape = slot.shape.load(Ordering::Relaxed);
        let life = control.life();
        let contradicts =
            |word: u64, expected: u64| words::life_of(word) == life && word != expected;
        !contradicts(identity, words::identity(life, key.fingerprint))
            && !contradicts(shape, words::shape(life, key.fingerprint, key.period))
    }

    /// Whether a live slot's life is over, so that nothing can be counted in it any more.
    fn ended(&self, slot: &Slot<W>, control: Control) -> bool {
        // Acquire, pairs with END.
        let local = slot.local.load(Ordering::Acquire);
        Count::from_word(local, control.life()) == Count::Ended
    }

    /// Whether nothing in a live slot can matter to any decision any more: neither the current nor the
    /// previous window of its key, here or with peers.
    ///
    /// `local` is the slot's local word, loaded before the clock was read: a window that began in
    /// between must not pass for one in the future.
    fn expired(&self, slot: &Slot<W>, control: Control, local: u64, now_s: u64) -> bool {
        let shape = slot.shape.load(Ordering::Relaxed);
        // A shape of another life, or a period that no version wrote, is damage; nobody finds the slot,
        // so nobody counts there. (Or the slot has moved on: whoever takes it finds that out.)
        let Some(period) =
            words::period_of(shape).filter(|_| words::life_of(shape) == control.life())
        else {
            return true;
        };
        let current = period.window_at(now_s).number();
        // A window further ahead than the next was counted before the clock was set back, or left by
        // a key of a shorter period; it would keep the slot until the clock gets there.
        let is_old = |window: u32| window.abs_diff(current) > 1;
        let life = control.life();
        let local_is_old = match Count::from_word(local, life) {
            Count::Hits { window, .. } => is_old(window),
            Count::Ended => true,
        };
        local_is_old
            && (0..).zip(&slot.remote).all(|(parity, remote)| {
                match Remote::from_word(remote.load(Ordering::Relaxed), parity, life) {
                    Remote::Hits { window, .. } => is_old(window),
                    Remote::Ended => true,
                }
            })
    }

    /// Claims a slot for the key. `None`: somebody else was faster, or it was counted in meanwhile.
    fn take(
        &self,
        key: &Key,
        place: Candidate,
        clock: &impl Clock,
        claimant: &impl Claimant,
    ) -> Option<Candidate> {
        let slot = &self.slots[place.index];
        let life = place.control.life();
        if place.control.state() == State::Live {
            // Acquire, pairs with COUNT: what is ended below is what was judged, here or by the survey.
            let found = slot.local.load(Ordering::Acquire);
            let local = place.evicts.unwrap_or(found);
            if Count::from_word(local, life) != Count::Ended {
                if place.evicts.is_none()
                    && !self.expired(slot, place.control, local, clock.now_s())
                {
                    return None;
                }
                // Relaxed: advisory.
                let usage = Usage::from_word(slot.usage.load(Ordering::Relaxed));
                // The slot must still be this life's, or the word judged is another key's.
                if slot.control.load(Ordering::Relaxed) != place.control.word() {
                    return None;
                }
                // END. If a hit came in since `local` was read, this fails and the key lives on. If
                // not, no hit can be added in this life any more. Release: pairs with `ended`.
                slot.local
                    .compare_exchange(
                        local,
                        Count::Ended.word(life),
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    )
                    .ok()?;
                if place.evicts.is_some() {
                    claimant.evicted(usage);
                }
            }
        }
        let control = Control::new(State::Claimed, life.next(), key.fingerprint);
        // CLAIM. AcqRel: what the last life wrote is seen by this one, and whoever sees this claim sees
        // that the last life ended.
        slot.control
            .compare_exchange(
                place.control.word(),
                control.word(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;
        Some(Candidate {
            control,
            evicts: None,
            ..place
        })
    }

    /// Completes a claim of the key, this thread's own or one it found: writes the identity, gives way
    /// to or removes other claims of the same key, and makes the slot live.
    fn promote(
        &self,
        key: &Key,
        mut place: Candidate,
        clock: &impl Clock,
        claimant: &impl Claimant,
    ) -> Outcome {
        // The place only ever moves towards the start of the search order.
        'place: for _ in 0..=Probe::<BUCKET>::SLOTS_MAX {
            if !self.prepare(key, place, clock, claimant) {
                return Outcome::Again;
            }
            claimant.claimed(place.index, place.control.life());
            // RIVALS. Of two threads that claim different slots for the same key, each fenced between
            // its claim and its look at the other's slot, at least one sees the other's claim.
            W::fence();
            let mut probe = Probe::<BUCKET>::new(key.fingerprint, self.buckets);
            while let Some(index) = probe.next() {
                if index == place.index {
                    continue;
                }
                let slot = &self.slots[index];
                // Acquire, pairs with PROMOTE and CLAIM.
                let control = Control::from_word(slot.control.load(Ordering::Acquire));
                match control.state() {
                    // Nobody claims a slot behind an empty one of the same bucket.
                    State::Empty => probe.skip_bucket(),
                    State::Released => {}
                    State::Live => {
                        if control.tags(key.fingerprint)
                            && self.identifies(slot, control.life(), key)
                            && !self.ended(slot, control)
                        {
                            self.release(place);
                            return Outcome::Live(Located { index, control });
                        }
                    }
                    State::Claimed if self.claims(slot, control, key) => {
                        let rival = Candidate {
                            order: probe.order(),
                            index,
                            control,
                            evicts: None,
                        };
                        if rival.order < place.order {
                            self.release(place);
                            place = rival;
                            continue 'place;
                        }
                        if !self.release(rival) {
                            // It went live or away in this moment; look again.
                            return Outcome::Again;
                        }
                    }
                    State::Claimed => {}
                }
            }
            let live = place.control.with_state(State::Live);
            // PROMOTE. Release: whoever sees the slot live sees its identity. It fails when a rival
            // released this claim, or when a helper was here first.
            return match self.slots[place.index].control.compare_exchange(
                place.control.word(),
                live.word(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => Outcome::Live(Located {
                    index: place.index,
                    control: live,
                }),
                Err(found) if found == live.word() => Outcome::Live(Located {
                    index: place.index,
                    control: live,
                }),
                Err(_) => Outcome::Again,
            };
        }
        Outcome::Again
    }

    /// Gives a claim up, so that anybody may have the slot. Returns whether it was still a claim.
    fn release(&self, place: Candidate) -> bool {
        // Release: the next claim of this slot sees what was written to it.
        self.slots[place.index]
            .control
            .compare_exchange(
                place.control.word(),
                place.control.with_state(State::Released).word(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Writes what makes a claimed slot the key's and clears what the last life left. Any number of
    /// threads may do this for one claim; they write the same. `false`: the claim is gone.
    fn prepare(
        &self,
        key: &Key,
        place: Candidate,
        clock: &impl Clock,
        claimant: &impl Claimant,
    ) -> bool {
        let slot = &self.slots[place.index];
        let life = place.control.life();
        let window = key.period.window_at(clock.now_s()).number();
        let start = Count::Hits { window, count: 0 };
        // Words of this life are right already, whoever wrote them.
        let of_this_life = |word: u64| words::life_of(word) == life;
        // A life begins in its first window, so that nobody takes the slot for an expired one. A helper may
        // have seen a later one; what another life left reads as a window far away.
        let counting = |word: u64| match Count::from_word(word, life) {
            Count::Hits { window: found, .. } => found
                .checked_sub(window)
                .is_some_and(|ahead| ahead < HELPERS_AHEAD_MAX),
            Count::Ended => false,
        };
        // Not zero: a word that says which life cleared it cannot be mistaken for an earlier one's.
        let nothing = Count::Ended.word(life);
        let cleared = |word: u64| word == nothing;
        // Relaxed: advisory. Before the slot is live, or the next claim would take it for one of no use.
        let usage = Usage::begin(claimant.source(), clock.now_ms());
        slot.usage.store(usage.word(), Ordering::Relaxed);
        self.settle(
            slot,
            place,
            &slot.identity,
            words::identity(life, key.fingerprint),
            of_this_life,
        ) && self.settle(
            slot,
            place,
            &slot.shape,
            words::shape(life, key.fingerprint, key.period),
            of_this_life,
        ) && self.settle(slot, place, &slot.previous, nothing, cleared)
            && self.settle(slot, place, &slot.remote[0], nothing, cleared)
            && self.settle(slot, place, &slot.remote[1], nothing, cleared)
            && self.settle(slot, place, &slot.local, start.word(life), counting)
            && self.identifies(slot, life, key)
    }

    /// Brings one word of a claimed slot from what the last life left to what this one begins with.
    fn settle(
        &self,
        slot: &Slot<W>,
        place: Candidate,
        word: &W,
        value: u64,
        settled: impl Fn(u64) -> bool,
    ) -> bool {
        for _ in 0..ATTEMPTS_MAX {
            // Acquire: the control word is looked at after it. While that still says claimed, `found`
            // is what an earlier life left or what this claim wrote; once it says live, hands off.
            let found = word.load(Ordering::Acquire);
            if slot.control.load(Ordering::Relaxed) != place.control.word() {
                return false;
            }
            if settled(found) {
                return true;
            }
            // Release: pairs with the acquire above. It fails when a helper settled the word, or when
            // somebody who worked on an earlier claim of this slot woke up late: look again.
            let _ = word.compare_exchange(found, value, Ordering::Release, Ordering::Relaxed);
        }
        false
    }
}
