//! Publishing rules: two buffers and a generation number.
//!
//! The daemon writes generation `n` into buffer `n % 2` while readers use the other, then stores `n`.
//! A reader copies the buffer of the generation it saw and then looks whether the generation is still
//! the same; if not, the daemon may have begun to write into that buffer and the reader starts over.

use siphasher::sip::SipHasher13;

use super::error::{LoadRulesError, PublishError};
use super::layout::PAGE_BYTES;
use crate::sync::{AtomicWord, Ordering};

/// Words in front of the rules: length in bytes, check sum, generation, reserved.
const PREFIX_WORDS: usize = 4;

/// How often a reader starts over. The daemon publishes when files change, not in a loop.
const READS_MAX: u32 = 16;

fn checksum(bytes: &[u8], generation: u64) -> u64 {
    SipHasher13::new_with_keys(generation, 0x0072_756c_6573).hash(bytes)
}

/// Which of the two buffers holds a generation.
pub(super) const fn buffer_of(generation: u64) -> usize {
    (generation & 1) as usize
}

/// Bytes of rules that fit into a buffer of this size.
pub(super) const fn room_bytes(rules_bytes: u64) -> u64 {
    rules_bytes.saturating_sub(PREFIX_WORDS as u64 * 8)
}

/// Whether compiled rules of `bytes` fit into a buffer of `rules_bytes`.
pub(super) const fn fit(bytes: u64, rules_bytes: u64) -> Result<(), PublishError> {
    let room_bytes = room_bytes(rules_bytes);
    if bytes <= room_bytes {
        return Ok(());
    }
    Err(PublishError::TooLarge {
        bytes,
        room_bytes,
        needed_bytes: (bytes + (rules_bytes - room_bytes)).next_multiple_of(PAGE_BYTES),
    })
}

/// Writes a generation into its buffer and makes it current. One writer at a time: the owner.
pub(super) fn publish(
    buffer: &[AtomicWord],
    generation_word: &AtomicWord,
    generation: u64,
    bytes: &[u8],
) -> Result<(), PublishError> {
    fit(bytes.len() as u64, buffer.len() as u64 * 8)?;
    // Release fence, pairs with the acquire fence in `read`: a reader that sees any word written below
    // sees the generation before this one too, and so knows that its own, two back, is gone.
    std::sync::atomic::fence(Ordering::Release);
    let (prefix, content) = buffer.split_at(PREFIX_WORDS);
    for (word, chunk) in content.iter().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
    }
    let head = [bytes.len() as u64, checksum(bytes, generation), generation];
    for (word, value) in prefix.iter().zip(head) {
        word.store(value, Ordering::Relaxed);
    }
    // PUBLISH. Release, pairs with the acquire in `read`.
    generation_word.store(generation, Ordering::Release);
    Ok(())
}

/// How much room there is for rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulesRoom {
    /// Bytes that the published rules take.
    pub used_bytes: u64,
    /// Bytes that rules can take.
    pub total_bytes: u64,
}

impl RulesRoom {
    /// Bytes that are left.
    pub const fn available_bytes(self) -> u64 {
        self.total_bytes.saturating_sub(self.used_bytes)
    }
}

/// How much room the current rules take, and how much there is.
pub(super) fn room(buffers: [&[AtomicWord]; 2], generation: u64) -> RulesRoom {
    let buffer = buffers[buffer_of(generation)];
    let total_bytes = (buffer.len().saturating_sub(PREFIX_WORDS) * 8) as u64;
    let length = buffer.first().filter(|_| generation > 0);
    // Relaxed: informational. Whoever is attached can have written anything there.
    let used_bytes = length.map_or(0, |length| length.load(Ordering::Relaxed).min(total_bytes));
    RulesRoom {
        used_bytes,
        total_bytes,
    }
}

/// Copies the current rules and says which generation they are.
pub(super) fn read(
    buffers: [&[AtomicWord]; 2],
    generation_word: &AtomicWord,
) -> Result<(u64, Vec<u8>), LoadRulesError> {
    for _ in 0..READS_MAX {
        // Acquire, pairs with PUBLISH.
        let generation = generation_word.load(Ordering::Acquire);
        if generation == 0 {
            return Err(LoadRulesError::NonePublished);
        }
        let Some((prefix, content)) = buffers[buffer_of(generation)].split_at_checked(PREFIX_WORDS)
        else {
            return Err(LoadRulesError::Unreadable {
                what: "no room for rules",
            });
        };
        let [length, sum, written_as] = [0, 1, 2].map(|at| prefix[at].load(Ordering::Relaxed));
        let copied = usize::try_from(length)
            .ok()
            .and_then(|length| Some((length, content.get(..length.div_ceil(8))?)))
            .map(|(length, words)| {
                let mut bytes = Vec::with_capacity(words.len() * 8);
                for word in words {
                    bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
                }
                bytes.truncate(length);
                bytes
            });
        // Acquire fence, pairs with the release fence in `publish`.
        std::sync::atomic::fence(Ordering::Acquire);
        if generation_word.load(Ordering::Relaxed) != generation {
            continue;
        }
        // Nobody writes to the buffer of the current generation: reading again would show the same.
        let what = match copied {
            Some(bytes) if written_as == generation && checksum(&bytes, generation) == sum => {
                return Ok((generation, bytes));
            }
            Some(_) => "their check sum is wrong",
            None => "their length is beyond the buffer",
        };
        return Err(LoadRulesError::Unreadable { what });
    }
    Err(LoadRulesError::Unreadable {
        what: "they changed while being read",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> Vec<AtomicWord> {
        (0..count).map(|_| AtomicWord::new(0)).collect()
    }

    struct Area {
        buffers: [Vec<AtomicWord>; 2],
        generation: AtomicWord,
    }

    impl Area {
        fn new() -> Self {
            Self {
                buffers: [words(64), words(64)],
                generation: AtomicWord::new(0),
            }
        }

        fn publish(&self, generation: u64, bytes: &[u8]) -> Result<(), PublishError> {
            publish(
                &self.buffers[buffer_of(generation)],
                &self.generation,
                generation,
                bytes,
            )
        }

        fn read(&self) -> Result<(u64, Vec<u8>), LoadRulesError> {
            read([&self.buffers[0], &self.buffers[1]], &self.generation)
        }
    }

    #[test]
    fn what_was_published_last_is_read() {
        let area = Area::new();
        assert_eq!(area.read(), Err(LoadRulesError::NonePublished));
        area.publish(1, b"first").unwrap();
        area.publish(2, b"second rules").unwrap();
        assert_eq!(area.read(), Ok((2, b"second rules".to_vec())));
    }

    #[test]
    fn room_is_what_the_current_rules_leave_whatever_the_words_say() {
        let area = Area::new();
        let room = |area: &Area| {
            let generation = area.generation.load(Ordering::Relaxed);
            let room = room([&area.buffers[0], &area.buffers[1]], generation);
            (room.used_bytes, room.available_bytes())
        };
        assert_eq!(room(&area), (0, 480));
        area.publish(1, &[7; 380]).unwrap();
        assert_eq!(room(&area), (380, 100));
        area.publish(2, &[7; 3]).unwrap();
        assert_eq!(room(&area), (3, 477));
        area.buffers[0][0].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(room(&area), (480, 0));
    }

    #[test]
    fn rules_that_do_not_fit_leave_the_old_ones() {
        let area = Area::new();
        area.publish(1, b"first").unwrap();
        assert!(matches!(
            area.publish(2, &[0; 481]),
            Err(PublishError::TooLarge {
                bytes: 481,
                room_bytes: 480,
                needed_bytes: 4_096
            })
        ));
        assert_eq!(area.read(), Ok((1, b"first".to_vec())));
        area.publish(2, &[7; 480]).unwrap();
        assert_eq!(area.read().unwrap().1.len(), 480);
    }

    #[test]
    fn a_buffer_overwritten_halfway_is_not_taken_for_rules() {
        let area = Area::new();
        area.publish(1, b"the rules in force").unwrap();
        area.buffers[1][PREFIX_WORDS].store(0, Ordering::Relaxed);
        assert_eq!(
            area.read(),
            Err(LoadRulesError::Unreadable {
                what: "their check sum is wrong"
            })
        );
        area.buffers[1][0].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(
            area.read(),
            Err(LoadRulesError::Unreadable {
                what: "their length is beyond the buffer"
            })
        );
    }

    #[test]
    fn readers_see_whole_generations_while_they_change() {
        let area = Area::new();
        area.publish(1, &[1; 400]).unwrap();
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut last = 0;
                        while last < 2_000 {
                            let (generation, bytes) = match area.read() {
                                Ok(read) => read,
                                // The one thing that may happen to a reader that is too slow.
                                Err(LoadRulesError::Unreadable { what }) => {
                                    assert_eq!(what, "they changed while being read");
                                    continue;
                                }
                                Err(error) => panic!("{error}"),
                            };
                            assert!(generation >= last, "went back");
                            let expected = u8::try_from(generation % 251).unwrap();
                            assert!(bytes.iter().all(|&byte| byte == expected));
                            last = generation;
                        }
                    })
                })
                .collect();
            for generation in 2..=2_000_u64 {
                let content = [u8::try_from(generation % 251).unwrap(); 400];
                area.publish(generation, &content).unwrap();
            }
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }
}
