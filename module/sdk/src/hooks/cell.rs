//! What the module's filter pointer points to, and the proof that hooks do not overlap on it.

#![allow(unsafe_code, reason = "turns a filter into a pointer and back")]

use std::cell::RefCell;

use crate::abi::envoy_dynamic_module_type_http_filter_module_ptr;
use crate::{EnvoyHttpFilterImpl, HttpFilter};

/// A module's filter.
type Filter = Box<dyn HttpFilter<EnvoyHttpFilterImpl>>;

/// Most empty cells a thread keeps.
const SPARE_MAX: usize = 256;

thread_local! {
    #[allow(clippy::vec_box, reason = "Envoy points to cells, so they must not move")]
    /// Empty cells, for the streams to come: a pointer to a trait object is two words, Envoy keeps one,
    /// so every filter needs a cell, but not every filter needs to allocate it.
    static SPARE: RefCell<Vec<Box<FilterCell>>> = const { RefCell::new(Vec::new()) };
}

/// One stream's filter.
///
/// Envoy calls hooks of one stream on one thread, but a hook may run inside another one's callback: a
/// local reply tells every filter of it before the callback returns. A second `&mut` to the filter
/// would be undefined behaviour, so the cell knows who is in, and a hook that finds it taken leaves
/// it alone.
pub(super) struct FilterCell {
    filter: RefCell<Option<Filter>>,
}

impl FilterCell {
    /// Hands the filter to Envoy.
    #[inline]
    pub(super) fn into_raw(filter: Filter) -> envoy_dynamic_module_type_http_filter_module_ptr {
        // A thread that is about to end has no spare cells any more.
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
        let cell = match spare {
            Ok(Some(mut cell)) => {
                *cell.filter.get_mut() = Some(filter);
                cell
            }
            _ => Box::new(Self {
                filter: RefCell::new(Some(filter)),
            }),
        };
        Box::into_raw(cell).cast_const().cast()
    }

    /// Runs a hook on the filter, or returns `unentered` when there is none or it is in use.
    ///
    /// # Safety
    /// `raw` is null or came from [`Self::into_raw`] on this thread and was not destroyed.
    #[inline]
    pub(super) unsafe fn enter<R>(
        raw: envoy_dynamic_module_type_http_filter_module_ptr,
        unentered: R,
        hook: impl FnOnce(&mut dyn HttpFilter<EnvoyHttpFilterImpl>) -> R,
    ) -> R {
        // SAFETY: the caller vouches for the pointer; the cell is only ever borrowed shared.
        let cell = unsafe { raw.cast::<Self>().as_ref() };
        let Some(Ok(mut filter)) = cell.map(|cell| cell.filter.try_borrow_mut()) else {
            return unentered;
        };
        match filter.as_deref_mut() {
            Some(filter) => hook(filter),
            None => unentered,
        }
    }

    /// Drops the filter and takes the cell back.
    ///
    /// # Safety
    /// As for [`Self::enter`]; the pointer is not used again.
    #[inline]
    pub(super) unsafe fn destroy(raw: envoy_dynamic_module_type_http_filter_module_ptr) {
        // SAFETY: the caller vouches for the pointer.
        let Some(cell) = (unsafe { raw.cast::<Self>().as_ref() }) else {
            return;
        };
        let Ok(filter) = cell.filter.try_borrow_mut().map(|mut filter| filter.take()) else {
            // One of its hooks is still on the stack below us. A leak is harmless; a use after free
            // would not be.
            return;
        };
        // SAFETY: made by `Box::into_raw` in `into_raw`, not in use, and by contract not used again.
        let cell = unsafe { Box::from_raw(raw.cast::<Self>().cast_mut()) };
        // Nothing to do for a thread that is about to end: the cell is freed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(cell);
            }
        });
        // Last of all: it is the module's code, and may panic.
        drop(filter);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    struct Counting(Rc<Cell<u32>>);

    impl HttpFilter<EnvoyHttpFilterImpl> for Counting {}

    impl Drop for Counting {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_filter_in_use_is_neither_entered_again_nor_destroyed() {
        let drops = Rc::new(Cell::new(0));
        let raw = FilterCell::into_raw(Box::new(Counting(Rc::clone(&drops))));
        let inner = || {
            // SAFETY: made above, on this thread, and in use, which is what is tested.
            unsafe { FilterCell::destroy(raw) };
            // SAFETY: still there.
            unsafe { FilterCell::enter(raw, "unentered", |_| "entered") }
        };
        // SAFETY: made above, on this thread.
        let outcome = unsafe { FilterCell::enter(raw, "no filter", |_| inner()) };
        assert_eq!(outcome, "unentered");
        assert_eq!(drops.get(), 0);
        // SAFETY: still there, see above.
        unsafe { FilterCell::destroy(raw) };
        assert_eq!(drops.get(), 1);
    }

    #[test]
    fn cells_are_used_again_and_filters_are_not() {
        let drops = Rc::new(Cell::new(0));
        let filter = || Box::new(Counting(Rc::clone(&drops)));
        let mut seen = Vec::new();
        for round in 1..=3 {
            let raw = FilterCell::into_raw(filter());
            seen.push(raw);
            // SAFETY: made above, on this thread, for the last time.
            unsafe { FilterCell::destroy(raw) };
            assert_eq!(drops.get(), round);
        }
        assert!(seen.iter().all(|raw| *raw == seen[0]));
        let [one, other] = [filter(), filter()].map(|filter| FilterCell::into_raw(filter));
        assert_ne!(one, other, "two streams at once");
        for raw in [one, other] {
            // SAFETY: made above, on this thread, for the last time.
            unsafe { FilterCell::destroy(raw) };
        }
        assert_eq!(drops.get(), 5);
    }

    #[test]
    fn a_thread_keeps_only_so_many_cells() {
        let drops = Rc::new(Cell::new(0));
        let many = 0..SPARE_MAX + 10;
        let cells: Vec<_> = many
            .map(|_| FilterCell::into_raw(Box::new(Counting(Rc::clone(&drops)))))
            .collect();
        for raw in cells {
            // SAFETY: made above, on this thread, for the last time.
            unsafe { FilterCell::destroy(raw) };
        }
        SPARE.with_borrow(|spare| assert_eq!(spare.len(), SPARE_MAX));
    }

    #[test]
    fn no_filter_is_no_crash() {
        // SAFETY: null is allowed.
        let result = unsafe { FilterCell::enter(std::ptr::null(), 7, |_| 8) };
        assert_eq!(result, 7);
        // SAFETY: as above.
        unsafe { FilterCell::destroy(std::ptr::null()) };
    }
}
