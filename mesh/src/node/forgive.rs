//! Forgiving hits: a reset of counters, which counts that only grow cannot be taken back for.

use hivemind_shared::region::Forgiven;
use hivemind_shared::table::Key;
use hivemind_shared::window::Window;

use super::Mesh;
use crate::book::{FORGIVEN, Half, KeyId};
use crate::counters::Counters;
use crate::drops::DropCause;
use crate::time::Now;

impl Mesh {
    /// Forgives every hit that is known to be counted for a key, here and by peers, in each window that may
    /// still matter, and lets all peers know with the next tick. Says what counted; nothing where the key has
    /// no counter here.
    ///
    /// Hits that others counted and this node has not heard of yet still count, as do later ones. Of two nodes
    /// that forgive at once, the one that forgave more has its say.
    pub fn forgive(&mut self, now: Now, key: &Key, counters: &mut impl Counters) -> Vec<Forgiven> {
        self.notice_clock_steps(now, counters);
        let Some(reading) = counters.read(key) else {
            return Vec::new();
        };
        let mut forgiven = Vec::new();
        for window in reading.near_windows(now.unix_s()) {
            let before = reading.total_in(window.number());
            if before == 0 {
                continue;
            }
            let id = self.book.forgive(now.unix_s(), &reading, window.number());
            if let Some(id) = id {
                self.spread(now, id, key, window, counters);
            }
            let half = id.and_then(|id| self.half(id, window));
            forgiven.push(Forgiven {
                window,
                before,
                after: half.map_or(before, Half::total),
            });
        }
        forgiven
    }

    /// Makes known what was forgiven: to those who decide here, and to all peers.
    fn spread(
        &mut self,
        now: Now,
        id: KeyId,
        key: &Key,
        window: Window,
        counters: &mut impl Counters,
    ) {
        if let Some(half) = self.half(id, window) {
            let put = counters.put_forgiven(key, window, half.beside_local());
            if put.is_err() {
                self.drops.add(DropCause::NoRoom);
            }
        }
        for index in self.up.clone() {
            if let Some(link) = self.link_mut(index) {
                link.backlog.push_lost((FORGIVEN, id), now.monotonic_us);
            }
        }
        // With more left of the limit, hits that were no hurry may be one now, and the other way round.
        self.queue(now, id, counters);
    }

    fn half(&self, id: KeyId, window: Window) -> Option<&Half> {
        self.book.entry(id)?.half(window.number())
    }
}
