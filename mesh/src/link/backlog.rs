//! Counts that are to be sent to one peer alone.

use std::collections::{BTreeSet, VecDeque};

use crate::book::{ActorIndex, KeyId};

/// A key's counts by one actor. What is sent is what they are by then.
pub(crate) type Item = (ActorIndex, KeyId);

/// What waits; each item once in each queue.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Lost on the way: sent first. With the time since which the peer lacks it, monotonic microseconds.
    lost: VecDeque<(Item, u64)>,
    /// Older counts that the peer asked for.
    copies: VecDeque<Item>,
    waiting_lost: BTreeSet<Item>,
    waiting_copies: BTreeSet<Item>,
}

impl Backlog {
    /// Adds what was lost on the way, unless it waits already.
    pub(crate) fn push_lost(&mut self, item: Item, since_us: u64) {
        if self.waiting_lost.insert(item) {
            self.lost.push_back((item, since_us));
        }
    }

    /// Adds what the peer asked for.
    pub(crate) fn push_copy(&mut self, item: Item) {
        if self.waiting_copies.insert(item) {
            self.copies.push_back(item);
        }
    }

    /// The next of what was lost.
    pub(crate) fn front_lost(&self) -> Option<(Item, u64)> {
        self.lost.front().copied()
    }

    /// Takes that.
    pub(crate) fn pop_lost(&mut self) {
        if let Some((item, _)) = self.lost.pop_front() {
            self.waiting_lost.remove(&item);
        }
    }

    /// The next of what was asked for.
    pub(crate) fn front_copy(&self) -> Option<Item> {
        self.copies.front().copied()
    }

    /// Takes that.
    pub(crate) fn pop_copy(&mut self) {
        if let Some(item) = self.copies.pop_front() {
            self.waiting_copies.remove(&item);
        }
    }

    /// How many items were asked for that are still to be sent.
    pub(crate) fn copies(&self) -> usize {
        self.copies.len()
    }

    /// Whether nothing was asked for that is still to be sent.
    pub(crate) fn has_no_copies(&self) -> bool {
        self.copies.is_empty()
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.lost.len() + self.copies.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.copies.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{Book, OWN};

    #[test]
    fn an_item_waits_once_in_each_queue_and_what_was_lost_does_not_wait_for_copies() {
        let mut book = Book::new(1, 10, [1, 2]);
        let id = crate::book::tests::some_key(&mut book);
        let other = book.actor_or_new(2, true).unwrap();
        let [own, copy] = [(OWN, id), (other, id)];
        let mut backlog = Backlog::default();
        backlog.push_lost(own, 7);
        backlog.push_lost(own, 9);
        backlog.push_copy(copy);
        backlog.push_copy(copy);
        assert_eq!(backlog.len(), 2);
        backlog.push_copy(own);
        assert_eq!(backlog.front_lost(), Some((own, 7)));
        // The peer lacks it since the first time.
        assert_eq!(
            (backlog.front_lost(), backlog.front_copy()),
            (Some((own, 7)), Some(copy))
        );
        backlog.pop_lost();
        assert_eq!((backlog.front_lost(), backlog.len()), (None, 2));
        backlog.push_lost(own, 9);
        assert_eq!(backlog.front_lost(), Some((own, 9)));
        backlog.pop_copy();
        backlog.pop_copy();
        assert!(backlog.has_no_copies() && !backlog.is_empty());
        backlog.clear();
        assert!(backlog.is_empty());
    }
}
