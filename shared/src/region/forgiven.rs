//! What resets forgave, for the daemon's next run.
//!
//! A slot says what counts, not how much was forgiven; and what peers counted is heard of anew by each run. So
//! the hits that were forgiven are noted beside the slots. The daemon alone reads and writes these notes. One
//! that a kill left half written fails its check, and is none.

use siphasher::sip::SipHasher13;

use super::Region;
use crate::clock::Clock;
use crate::fingerprint::Fingerprint;
use crate::sync::{AtomicWord, Ordering};
use crate::table::Key;
use crate::table::words::{high_half, low_half};
use crate::window::{Period, Window};

/// Words of a note.
const NOTE_WORDS: usize = 8;

/// Hits of a key in a window that were forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key.
    pub key: Key,
    /// The number of the window.
    pub window: u32,
    /// How many.
    pub hits: u32,
}

impl Note {
    fn read(cell: &[AtomicWord]) -> Option<Self> {
        // Relaxed all: one process reads and writes, and the check tells what is whole.
        let mut words = [0; 5];
        for (word, place) in words.iter_mut().zip(cell) {
            *word = place.load(Ordering::Relaxed);
        }
        let [high, low, period, count, check] = words;
        if check != check_of([high, low, period, count]) {
            return None;
        }
        Some(Self {
            key: Key {
                fingerprint: Fingerprint { high, low },
                period: Period::from_code(u32::try_from(period).ok()?)?,
            },
            window: high_half(count),
            hits: low_half(count),
        })
    }

    fn write(&self, cell: &[AtomicWord]) {
        let Fingerprint { high, low } = self.key.fingerprint;
        let count = u64::from(self.window) << 32 | u64::from(self.hits);
        let words = [high, low, self.key.period.code().into(), count];
        let all = words.into_iter().chain([check_of(words)]);
        for (word, place) in all.zip(cell) {
            place.store(word, Ordering::Relaxed);
        }
    }

    fn is_of(&self, key: &Key, window: u32) -> bool {
        self.key == *key && self.window == window
    }
}

fn check_of(words: [u64; 4]) -> u64 {
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    SipHasher13::new_with_keys(0, 0x0066_6f72_6769_7665).hash(&bytes)
}

impl Region {
    /// Notes that so many hits of a key in a window are forgiven by now. If that is news, a token bucket that
    /// the key has is full.
    ///
    /// Where there is no place for another note, one whose window is over gives way, or else any one.
    pub(super) fn note_forgiven(&self, key: &Key, window: Window, hits: u32, clock: &impl Clock) {
        let now_s = clock.now_s();
        let is_over = |note: &Note| {
            let now = note.key.period.window_at(now_s).number();
            now.abs_diff(note.window) > 1
        };
        let cells = || self.forgiven_words().chunks_exact(NOTE_WORDS);
        let known = cells().find_map(|cell| {
            let note = Note::read(cell)?;
            note.is_of(key, window.number())
                .then_some((cell, note.hits))
        });
        if known.is_some_and(|(_, known)| known >= hits) {
            return;
        }
        let free = || cells().find(|cell| Note::read(cell).is_none_or(|note| is_over(&note)));
        let any = || {
            let count = cells().len().max(1) as u64;
            let place = usize::try_from(key.fingerprint.low % count).ok()?;
            cells().nth(place)
        };
        if let Some(cell) = known.map(|(cell, _)| cell).or_else(free).or_else(any) {
            let note = Note {
                key: *key,
                window: window.number(),
                hits,
            };
            note.write(cell);
        }
        self.fill_bucket(key, clock);
    }

    /// What was noted, by this run or an earlier one; windows that are over may be among it.
    pub fn forgiven(&self) -> impl Iterator<Item = Note> {
        let cells = self.forgiven_words().chunks_exact(NOTE_WORDS);
        cells.filter_map(Note::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::region::{OwnedRegion, RegionOptions};
    use crate::table::Beside;
    use crate::window::Unit;

    fn region() -> OwnedRegion {
        let options = RegionOptions {
            max_keys: 100,
            ..RegionOptions::default()
        };
        Region::anonymous(&options).unwrap()
    }

    fn key(number: u64) -> Key {
        Key {
            fingerprint: Fingerprint {
                high: 7,
                low: number,
            },
            period: Unit::Hour.into(),
        }
    }

    #[test]
    fn a_note_is_kept_until_more_is_forgiven() {
        let owned = region();
        let clock = ManualClock::at(3_600_000);
        let region = owned.region();
        let window = key(1).period.window_at(clock.now_s());
        for hits in [5, 3, 9] {
            region.note_forgiven(&key(1), window, hits, &clock);
        }
        region.note_forgiven(&key(2), window, 1, &clock);
        let noted: Vec<_> = region
            .forgiven()
            .map(|note| (note.key, note.window, note.hits))
            .collect();
        let number = window.number();
        assert_eq!(noted, [(key(1), number, 9), (key(2), number, 1)]);
    }

    #[test]
    fn notes_of_windows_that_are_over_give_way_first() {
        let owned = region();
        let clock = ManualClock::at(3_600_000);
        let region = owned.region();
        let note = |number: u64| {
            let window = key(number).period.window_at(clock.now_s());
            region.note_forgiven(&key(number), window, 1, &clock);
        };
        let room = region.forgiven_words().len() as u64 / NOTE_WORDS as u64;
        (0..room).for_each(note);
        // All are near: the new one is noted all the same.
        note(room + 7);
        assert_eq!(region.forgiven().count() as u64, room);
        assert!(region.forgiven().any(|note| note.key == key(room + 7)));
        clock.advance_s(7_200);
        let fresh = room + 100..room + 110;
        fresh.clone().for_each(note);
        let kept = |number| region.forgiven().any(|note| note.key == key(number));
        assert!(fresh.clone().all(kept));
    }

    #[test]
    fn the_same_forgiveness_fills_a_bucket_once() {
        let owned = region();
        let clock = ManualClock::at(3_600_000);
        let region = owned.region();
        let window = key(1).period.window_at(clock.now_s());
        let beside = |forgiven| Beside {
            counted: 9,
            forgiven,
        };
        let put = |forgiven| {
            region
                .put_forgiven(&key(1), window, beside(forgiven), &clock)
                .unwrap();
        };
        region.put_remote(&key(1), window, 9, &clock).unwrap();
        let slot = region.reading(&key(1)).unwrap().place.index;
        let remembered = || region.memory_word(slot).unwrap().load(Ordering::Relaxed);
        put(5);
        let full = remembered();
        clock.advance_s(60);
        // Of peers that tell it again.
        put(5);
        put(3);
        assert_eq!(remembered(), full);
        put(6);
        assert_ne!(remembered(), full);
    }

    #[test]
    fn half_a_note_is_none() {
        let owned = region();
        let clock = ManualClock::at(3_600_000);
        let region = owned.region();
        let window = key(1).period.window_at(clock.now_s());
        region.note_forgiven(&key(1), window, 5, &clock);
        region.forgiven_words()[3].fetch_add(1, Ordering::Relaxed);
        assert_eq!(region.forgiven().count(), 0);
    }
}
