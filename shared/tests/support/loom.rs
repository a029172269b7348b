//! What the models share: words and a clock, and how far interleavings are explored.

use hivemind_shared::clock::Clock;
use hivemind_shared::sync::{Ordering, Word};

/// A loom word.
#[derive(Debug, Default)]
pub(crate) struct ModelWord(loom::sync::atomic::AtomicU64);

impl Word for ModelWord {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, success, failure)
    }

    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        self.0.fetch_or(bits, order)
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }

    fn fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    fn order_seq_cst_accesses() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// A clock that always shows the same.
#[derive(Clone, Copy)]
pub(crate) struct Fixed(pub(crate) u64);

impl Clock for Fixed {
    fn now_s(&self) -> u64 {
        self.0
    }

    fn now_ms(&self) -> u64 {
        self.0 * 1_000
    }
}

/// Explores `body`, with so many threads interrupted at a time that is not of their choosing.
pub(crate) fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(body);
}
