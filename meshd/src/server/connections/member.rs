//! One open connection, as the others see it: what it has, what it waits for, and whether it has to go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hivemind_shared::sync::AtomicWord;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, watch};

use super::cause::Refusal;
use super::limits::PortName;
use super::{Cause, Connections, OtherProtocol};

/// Bytes are told to all connections together in units of so many: most connections never have one, and
/// touch nothing that others touch.
const UNIT: usize = 16 * 1_024;

/// Not to be closed, among the values of `Member::closing`.
const STAYS: usize = usize::MAX;

/// Milliseconds on a clock that never steps; never 0. A few nanoseconds a read, some milliseconds behind.
pub(super) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    seconds * 1_000 + milliseconds + 1
}

// Relaxed throughout: the numbers say how a connection is doing, and guard nothing.

/// One open connection.
#[derive(Debug)]
pub struct Member {
    all: Arc<Connections>,
    pub(super) port: PortName,
    /// Tells it apart from others, and says the order they came in.
    pub(super) sequence: u64,
    /// The place it has in the order of its port; changes under that port's lock alone.
    pub(super) placed_ms: AtomicWord,
    /// When it last had an answer, or until when it is given one; 0 before the first.
    used_ms: AtomicWord,
    /// Since when it owes the rest of a preface or of a head; 0 when it does not.
    head_since_ms: AtomicWord,
    /// Whether what comes is a head, and not the body of a request (HTTP/1).
    awaits_head: AtomicBool,
    /// Since when the operating system takes no more of what is sent; 0 when it does.
    blocked_since_ms: AtomicWord,
    /// Answers, and large parts of answers, that are not sent.
    unsent: AtomicUsize,
    /// When something of an answer was last sent, as far as that is known.
    sent_ms: AtomicWord,
    /// Bytes that are buffered for it.
    bytes: AtomicUsize,
    /// Why it has to go, as its place in [`Cause::ALL`].
    closing: AtomicUsize,
    must_close: Notify,
    /// Whether its client speaks another protocol than the port.
    speaks_other_protocol: AtomicBool,
    /// Whether its calls are its last ones.
    is_leaving: watch::Sender<bool>,
}

impl Member {
    pub(super) fn new(all: Arc<Connections>, port: PortName, sequence: u64) -> Self {
        Self {
            all,
            port,
            sequence,
            placed_ms: AtomicWord::new(0),
            used_ms: AtomicWord::new(0),
            head_since_ms: AtomicWord::new(now_ms()),
            awaits_head: AtomicBool::new(true),
            blocked_since_ms: AtomicWord::new(0),
            unsent: AtomicUsize::new(0),
            sent_ms: AtomicWord::new(0),
            bytes: AtomicUsize::new(0),
            closing: AtomicUsize::new(STAYS),
            must_close: Notify::new(),
            speaks_other_protocol: AtomicBool::new(false),
            is_leaving: watch::Sender::new(false),
        }
    }

    /// All connections.
    pub fn all(&self) -> &Arc<Connections> {
        &self.all
    }

    /// A request of it was refused.
    pub fn refused(&self, refusal: Refusal) {
        self.all.refused(self.port, refusal);
    }

    /// Its client, which is at `peer`, speaks another protocol than the port.
    #[cold]
    pub(super) fn speaks(&self, protocol: OtherProtocol, peer: Option<SocketAddr>) {
        self.speaks_other_protocol.store(true, Ordering::Relaxed);
        self.all.speaks(self.port, protocol, peer);
    }

    /// Whether its client was found to speak another protocol than the port.
    pub fn speaks_other_protocol(&self) -> bool {
        self.speaks_other_protocol.load(Ordering::Relaxed)
    }

    /// A call was answered.
    pub fn used(&self) {
        self.used_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// A request has come as a whole, and is given so long to be answered before its connection counts as
    /// idle.
    pub(super) fn in_use_for(&self, ms: u64) {
        let until = now_ms().saturating_add(ms);
        self.used_ms.store(until, Ordering::Relaxed);
    }

    /// When it was last used; 0 when it never was.
    pub(super) fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Whether it ever had an answer.
    pub fn was_used(&self) -> bool {
        self.used_ms() > 0
    }

    /// When it was last used or read something of its answers.
    pub(super) fn active_ms(&self) -> u64 {
        self.used_ms().max(self.sent_ms.load(Ordering::Relaxed))
    }

    /// Its peer owes the rest of a preface or head from now on, if it did not already.
    pub fn owes_head(&self) {
        let _ =
            self.head_since_ms
                .compare_exchange(0, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Its peer owes no preface and no head.
    pub fn has_head(&self) {
        self.head_since_ms.store(0, Ordering::Relaxed);
    }

    /// Something has come over HTTP/1: if it is not a body, then the beginning of a head.
    pub(super) fn received(&self) {
        if self.awaits_head.load(Ordering::Relaxed) {
            self.owes_head();
        }
    }

    /// A request of HTTP/1 begins, or was answered.
    pub fn is_answering(&self, is_answering: bool) {
        self.awaits_head.store(!is_answering, Ordering::Relaxed);
        self.has_head();
    }

    /// The operating system does not take what is sent, or it does again.
    pub(super) fn blocked(&self, is_blocked: bool) {
        let since = if is_blocked { now_ms() } else { 0 };
        self.blocked_since_ms.store(since, Ordering::Relaxed);
    }

    /// One more part of an answer waits to be sent.
    pub(super) fn begin_part(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// Something of an answer was sent, or a large part of one begins to be.
    pub(super) fn progressed(&self) {
        self.sent_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// A part was sent, or given up.
    pub(super) fn end_part(&self) {
        self.unsent.fetch_sub(1, Ordering::Relaxed);
    }

    /// The time that it has run out of, if any.
    pub(super) fn overdue(&self, now_ms: u64, head_ms: u64, write_ms: u64) -> Option<Cause> {
        let has_passed = |since: &AtomicWord, ms| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && now_ms.saturating_sub(since) > ms
        };
        if has_passed(&self.head_since_ms, head_ms) {
            return Some(Cause::HeaderTimeout);
        }
        let has_unsent = self.unsent.load(Ordering::Relaxed) > 0;
        let is_unread = has_passed(&self.blocked_since_ms, write_ms)
            // Where calls are answered, answers are read: no more than so many may be on their way.
            || has_unsent && now_ms.saturating_sub(self.active_ms()) > write_ms;
        is_unread.then_some(Cause::WriteTimeout)
    }

    /// Bytes that are buffered for it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes so many more bytes, if it may have them. Then others with bytes may have to go.
    pub(super) fn take_bytes(&self, bytes: usize, bound: usize) -> Result<(), Refusal> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        if after > bound {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Refusal::ConnectionBytes);
        }
        let units = after / UNIT - before / UNIT;
        if units > 0 {
            self.all.take_bytes(units * UNIT, self);
        }
        Ok(())
    }

    /// Gives so many bytes back.
    pub(super) fn give_bytes(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let units = before / UNIT - before.saturating_sub(bytes) / UNIT;
        if units > 0 {
            self.all.give_bytes(units * UNIT);
        }
    }

    /// Whether any of its bytes are known to all.
    pub(super) fn has_unit(&self) -> bool {
        self.bytes() >= UNIT
    }

    /// Has it closed; the first cause counts. Whether this was the first.
    pub(super) fn close(&self, cause: Cause) -> bool {
        let is_first = self
            .closing
            .compare_exchange(STAYS, cause as usize, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_first {
            self.must_close.notify_one();
        }
        is_first
    }

    /// Why it has to go, if it does.
    pub(super) fn closing(&self) -> Option<Cause> {
        let place = self.closing.load(Ordering::Relaxed);
        Cause::ALL.get(place).copied()
    }

    /// It closes once the calls in flight have ended.
    pub fn leave(&self) {
        self.is_leaving.send_replace(true);
    }

    /// Waits until it closes once the calls in flight have ended: those without an end of their own end then.
    pub fn leaves(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut is_leaving = self.is_leaving.subscribe();
        async move {
            // An error means that the connection is gone, which is an end as well.
            let _ = is_leaving.wait_for(|is_leaving| *is_leaving).await;
        }
    }

    /// Waits until it has to go. One task waits at a time.
    pub async fn must_close(&self) -> Cause {
        loop {
            if let Some(cause) = self.closing() {
                return cause;
            }
            self.must_close.notified().await;
        }
    }
}
