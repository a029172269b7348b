//! The one way to the atomics: algorithms are written against [`Word`], so that the same code runs on
//! the mapped region and, in the models under `tests/`, on loom's atomics.

pub use std::sync::atomic::Ordering;

/// The atomic word every shared structure is made of.
#[allow(
    clippy::disallowed_types,
    reason = "this is where the alias comes from"
)]
pub type AtomicWord = std::sync::atomic::AtomicU64;

/// A 64-bit atomic. Semantics are those of [`std::sync::atomic::AtomicU64`].
pub trait Word: Send + Sync {
    /// Reads the word.
    fn load(&self, order: Ordering) -> u64;
    /// Overwrites the word.
    fn store(&self, value: u64, order: Ordering);
    /// Replaces `current` by `new`, or returns what was there instead.
    ///
    /// # Errors
    /// The value found, when it was not `current`; the word is unchanged.
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;
    /// Sets bits and returns the word before.
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64;
    /// Overwrites the word and returns what was there.
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// A sequentially consistent fence.
    fn fence();
    /// Orders sequentially consistent *accesses* around it. Nothing on real hardware, where such
    /// accesses already are in one total order; a fence in loom, which treats them as acquire-release.
    fn order_seq_cst_accesses();
}

impl Word for AtomicWord {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.compare_exchange(current, new, success, failure)
    }

    #[inline]
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        self.fetch_or(bits, order)
    }

    #[inline]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }

    #[inline]
    fn fence() {
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    #[inline]
    fn order_seq_cst_accesses() {}
}
