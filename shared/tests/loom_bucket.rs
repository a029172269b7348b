//! Models of a token bucket's word beside its counter under every interleaving and every reordering the
//! memory model allows, explored by loom. The algorithms are the ones that run on the region.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "support/loom.rs"]
mod support;

use std::num::NonZeroU32;

use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::sync::Word;
use hivemind_shared::table::words::{Control, Life};
use hivemind_shared::table::{Counted, Gate, Key, Slot, Table, Tally};
use hivemind_shared::token_bucket::{Mark, Memory, PARTS, TokenBucket, remember};
use hivemind_shared::window::Unit;
use loom::sync::Arc;
use loom::thread;
use support::{Fixed, ModelWord, model};

/// A bucket of two tokens into which one flows in each second: its windows are of two seconds.
fn bucket() -> TokenBucket {
    let burst = NonZeroU32::new(2).unwrap();
    TokenBucket::new(1, Unit::Second.into(), burst).unwrap()
}

struct BucketSlots {
    slots: Vec<Slot<ModelWord>>,
    memories: Vec<ModelWord>,
}

fn life() -> Life {
    Control::from_word(0).life()
}

/// A bucket of two tokens that may lack two more than it holds: its windows are of four seconds.
fn indebted() -> TokenBucket {
    let burst = NonZeroU32::new(2).unwrap();
    TokenBucket::with_debt(1, Unit::Second.into(), burst, 2).unwrap()
}

/// The gate of the decision, on the model's words.
struct ModelGate<'s> {
    bucket: TokenBucket,
    addend: u64,
    debt: u64,
    now_ms: u64,
    memories: &'s [ModelWord],
}

impl Gate for ModelGate<'_> {
    const IS_OPEN: bool = false;

    fn admits(&self, tally: &Tally) -> bool {
        self.lacking(tally) + self.addend * PARTS <= 2 * PARTS
    }

    fn charges(&self, tally: &Tally) -> u64 {
        if self.debt == 0 {
            return 0;
        }
        (2 + self.debt - self.lacking(tally) / PARTS).min(self.addend)
    }
}

impl ModelGate<'_> {
    fn lacking(&self, tally: &Tally) -> u64 {
        let memory = tally
            .slot
            .map(|slot| (&self.memories[slot.index], slot.life));
        self.bucket.debt_by(tally, self.now_ms, memory)
    }
}

impl BucketSlots {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: (0..2).map(|_| Slot::default()).collect(),
            memories: (0..2).map(|_| ModelWord::default()).collect(),
        })
    }

    fn table(&self) -> Table<'_, ModelWord, 1> {
        Table::new(&self.slots).expect("two buckets or more")
    }

    /// Whether a hit gets a token at a time.
    fn takes_one(&self, now_ms: u64) -> bool {
        let gate = ModelGate {
            bucket: bucket(),
            addend: 1,
            debt: 0,
            now_ms,
            memories: &self.memories,
        };
        !self.count(&gate).refused
    }

    /// Hits that a cost of two is charged at a time.
    fn charged_of_two(&self, now_ms: u64) -> u64 {
        let counted = self.count(&ModelGate {
            bucket: indebted(),
            addend: 2,
            debt: 2,
            now_ms,
            memories: &self.memories,
        });
        counted.after - counted.before
    }

    fn count(&self, gate: &ModelGate<'_>) -> Counted {
        let (key, now_s) = (key(gate.bucket), gate.now_ms / 1_000);
        let counted =
            self.table()
                .count_if(&key, gate.addend, now_s, &Fixed(now_s), gate, |_, _| {});
        counted.expect("there is room")
    }
}

fn key(bucket: TokenBucket) -> Key {
    Key {
        fingerprint: Fingerprint {
            high: 7 << 32,
            low: (7 << 32) | 0xFFFF_FFFF,
        },
        period: bucket.window(),
    }
}

#[test]
fn threads_that_come_at_once_never_share_the_last_token() {
    model(2, || {
        let slots = BucketSlots::new();
        // One token is gone, and none has flowed in since.
        assert!(slots.takes_one(200_000));
        let other = Arc::clone(&slots);
        let beside = thread::spawn(move || other.takes_one(200_000));
        let here = slots.takes_one(200_000);
        let beside = beside.join().unwrap();
        assert!(here != beside, "{here} and {beside}: one token was left");
    });
}

#[test]
fn costs_that_are_reported_at_once_are_charged_up_to_the_debt_and_no_further() {
    model(2, || {
        let slots = BucketSlots::new();
        assert_eq!(slots.charged_of_two(200_000), 2);
        // Two more are all that the debt allows. A second later one has flowed in.
        let other = Arc::clone(&slots);
        let beside = thread::spawn(move || other.charged_of_two(201_000));
        let here = slots.charged_of_two(201_000);
        let beside = beside.join().unwrap();
        assert_eq!(here + beside, 3);
        assert_eq!(slots.charged_of_two(201_000), 0);
        assert_eq!(slots.charged_of_two(202_000), 1);
    });
}

#[test]
fn what_flowed_past_a_full_bucket_is_not_there_to_take() {
    model(2, || {
        let slots = BucketSlots::new();
        // Full until now: what flowed in since second 200 flowed past it. Whoever forgets that finds a third
        // token.
        let other = Arc::clone(&slots);
        let beside = thread::spawn(move || {
            u32::from(other.takes_one(201_000)) + u32::from(other.takes_one(201_000))
        });
        let here = u32::from(slots.takes_one(201_000));
        let taken = here + beside.join().unwrap();
        assert_eq!(taken, 2);
    });
}

#[test]
fn whoever_sees_a_count_sees_what_was_remembered_before_it() {
    model(2, || {
        let words: Arc<[ModelWord; 2]> = Arc::new(Default::default());
        let life = life();
        let memory = |offset| Memory {
            window: 9,
            mark: Mark::Offset(offset),
        };
        let other = Arc::clone(&words);
        let beside = thread::spawn(move || {
            remember(&other[0], life, |_| ((), Some(memory(5))));
            // As a hit is counted.
            other[1].store(1, loom::sync::atomic::Ordering::Release);
        });
        if words[1].load(loom::sync::atomic::Ordering::Acquire) == 1 {
            let seen = remember(&words[0], life, |found| (found, None));
            assert_eq!(seen, memory(5));
        }
        beside.join().unwrap();
    });
}

#[test]
fn a_reset_beside_a_hit_leaves_the_bucket_full_or_what_was_raised_after_it() {
    model(2, || {
        let words: Arc<[ModelWord; 1]> = Arc::new(Default::default());
        let life = life();
        let full = Memory {
            window: 9,
            mark: Mark::FullAt(7),
        };
        let raised = Memory {
            window: 9,
            mark: Mark::Offset(500),
        };
        let other = Arc::clone(&words);
        let beside = thread::spawn(move || {
            remember(&other[0], life, |found| {
                (found == full, (found != raised).then_some(raised))
            })
        });
        remember(&words[0], life, |found| {
            ((), (found != full).then_some(full))
        });
        let saw_full = beside.join().unwrap();
        let left = remember(&words[0], life, |found| (found, None));
        assert_eq!(left, if saw_full { raised } else { full });
    });
}
