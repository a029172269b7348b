//! The connections of one port, in the order in which they have to go.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hivemind_shared::sync::AtomicWord;
use tokio::sync::Notify;

use super::cause::{Counts, Refusal};
use super::limits::CLOSING_MAX;
use super::member::{Member, now_ms};
use super::{Cause, OtherProtocol};

/// How long after its last call a connection is in use.
const IN_USE_MS: u64 = 1_000;

/// One port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) bound: usize,
    order: Mutex<Order>,
    /// A connection has closed.
    released: Notify,
    pub(super) accepted: AtomicWord,
    pub(super) closed: Counts<{ Cause::ALL.len() }>,
    pub(super) refused: Counts<{ Refusal::ALL.len() }>,
    pub(super) other_protocols: Counts<{ OtherProtocol::ALL.len() }>,
}

/// Whether there is room for another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Yes,
    /// There is none, and every connection is in use.
    No,
    /// There will be: connections are closing.
    Soon,
}

/// Connections by when they were last used as far as is known here, and then by when they came. Those that
/// were never used are first. A connection that was used since is moved when it comes to the front, so that
/// no call has to do so.
#[derive(Debug, Default)]
struct Order {
    members: BTreeMap<(u64, u64), Arc<Member>>,
    /// Connections that were told to close, and are not in the order any more.
    closing: usize,
}

impl Port {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            order: Mutex::default(),
            released: Notify::new(),
            accepted: AtomicWord::new(0),
            closed: Counts::default(),
            refused: Counts::default(),
            other_protocols: Counts::default(),
        }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more, by closing the one that is idle for longest if it has to.
    pub(super) fn room(&self) -> Room {
        let mut order = self.order();
        if order.members.len() < self.bound {
            return Room::Yes;
        }
        if order.closing >= CLOSING_MAX {
            return Room::Soon;
        }
        match order.take_oldest(now_ms()) {
            Some(oldest) => {
                if oldest.close(Cause::Displaced) {
                    self.closed.add(Cause::Displaced as usize);
                }
                Room::Yes
            }
            None => Room::No,
        }
    }

    /// Waits until a connection closes.
    pub(super) async fn released(&self) {
        self.released.notified().await;
    }

    pub(super) fn add(&self, member: Arc<Member>) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.order().members.insert((0, member.sequence), member);
    }

    pub(super) fn remove(&self, member: &Member) {
        let mut order = self.order();
        let place = (member.placed_ms.load(Ordering::Relaxed), member.sequence);
        if order.members.remove(&place).is_none() {
            order.closing -= 1;
        }
        drop(order);
        self.released.notify_one();
    }

    /// Connections that are open, those that are closing included.
    pub(super) fn open(&self) -> usize {
        let order = self.order();
        order.members.len() + order.closing
    }

    /// Has every connection closed that is overdue.
    pub(super) fn close_overdue(&self, head_ms: u64, write_ms: u64) {
        let now = now_ms();
        for member in self.order().members.values() {
            if let Some(cause) = member.overdue(now, head_ms, write_ms) {
                self.close(member, cause);
            }
        }
    }

    /// Has one of its connections closed.
    pub(super) fn close(&self, member: &Member, cause: Cause) {
        if member.close(cause) {
            self.closed.add(cause as usize);
        }
    }

    /// The connection with buffered bytes that was active the longest ago, other than `not`.
    pub(super) fn least_active_with_bytes(&self, not: u64) -> Option<Arc<Member>> {
        self.order()
            .members
            .values()
            .filter(|member| member.has_unit() && member.closing().is_none())
            .filter(|member| member.sequence != not)
            .min_by_key(|member| member.active_ms())
            .cloned()
    }
}

impl Order {
    /// Takes out the connection that has to go first; `None` when all are in use.
    fn take_oldest(&mut self, now_ms: u64) -> Option<Arc<Member>> {
        loop {
            let entry = self.members.first_entry()?;
            let (placed_ms, _) = *entry.key();
            let member = entry.get();
            let used_ms = member.used_ms();
            if member.closing().is_none() {
                if used_ms > placed_ms {
                    let member = entry.remove();
                    member.placed_ms.store(used_ms, Ordering::Relaxed);
                    self.members.insert((used_ms, member.sequence), member);
                    continue;
                }
                if placed_ms != 0 && placed_ms.saturating_add(IN_USE_MS) > now_ms {
                    return None;
                }
            }
            self.closing += 1;
            return Some(entry.remove());
        }
    }
}
