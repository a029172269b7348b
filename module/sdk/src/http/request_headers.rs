//! The request's headers, fetched once.
//!
//! Asking Envoy for a header by name is cheap for the few it keeps apart (`:path` and its like). For
//! any other name Envoy first makes an index of all headers, which costs several times as much as
//! looking at each of them once: 3,600 instructions against 950 with twelve headers, in Envoy 1.40. So
//! they are fetched in one go, without copying or allocating, and searched here.

#![allow(unsafe_code, reason = "reads an array that Envoy fills in")]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem::MaybeUninit;

use crate::EnvoyBuffer;
use crate::abi::envoy_dynamic_module_type_http_header_type::RequestHeader;
use crate::abi::{
    callbacks, envoy_dynamic_module_type_envoy_buffer, envoy_dynamic_module_type_envoy_http_header,
    envoy_dynamic_module_type_http_filter_envoy_ptr,
};

/// Most headers that are fetched; with more, Envoy's index is the better way.
const HEADERS_MAX: usize = 64;

/// Room for a request's headers, empty until they are first needed.
pub(super) struct RequestHeaders {
    /// How many of `fetched` are written, once they are.
    count: Cell<Option<usize>>,
    /// Invariant: written to only while `count` is `None`, so never while a slice of it is lent.
    fetched: UnsafeCell<[MaybeUninit<envoy_dynamic_module_type_envoy_http_header>; HEADERS_MAX]>,
}

impl RequestHeaders {
    /// Room with nothing in it.
    #[inline]
    pub(super) fn new() -> Self {
        // Field by field: written as a literal, the array is filled with zeros, 2 KiB in every hook.
        let mut room = MaybeUninit::<Self>::uninit();
        let this = room.as_mut_ptr();
        // SAFETY: `this` points to room for a `Self`.
        let count = unsafe { &raw mut (*this).count };
        // SAFETY: `count` is a field of that room, aligned as it is.
        unsafe { count.write(Cell::new(None)) };
        // SAFETY: `count` is written, and an array of `MaybeUninit` needs no value.
        unsafe { room.assume_init() }
    }

    /// Forgets what was fetched, because Envoy may change it now.
    #[inline]
    pub(super) fn forget(&mut self) {
        *self.count.get_mut() = None;
    }

    /// All headers; `None` when there are too many, or none to be had.
    ///
    /// # Safety
    /// `filter` is live, and until [`Self::forget`] is called it is the same one, and nothing changes
    /// its headers.
    #[inline]
    pub(super) unsafe fn all(
        &self,
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
    ) -> Option<impl Iterator<Item = (EnvoyBuffer<'_>, EnvoyBuffer<'_>)>> {
        let count = match self.count.get() {
            Some(count) => count,
            // SAFETY: as the caller says.
            None => unsafe { self.fetch(filter) }?,
        };
        // SAFETY: `count` headers are written (invariant), and none will be while the slice is lent.
        let headers = unsafe {
            std::slice::from_raw_parts(
                self.fetched
                    .get()
                    .cast::<envoy_dynamic_module_type_envoy_http_header>(),
                count,
            )
        };
        Some(headers.iter().map(|header| {
            let key = envoy_dynamic_module_type_envoy_buffer {
                ptr: header.key_ptr,
                length: header.key_length,
            };
            let value = envoy_dynamic_module_type_envoy_buffer {
                ptr: header.value_ptr,
                length: header.value_length,
            };
            // SAFETY: Envoy keeps the bytes as long as nothing changes the headers, as the caller says.
            let key = unsafe { EnvoyBuffer::from_raw(key) };
            // SAFETY: as above.
            (key, unsafe { EnvoyBuffer::from_raw(value) })
        }))
    }

    /// Has Envoy write the headers, and notes how many.
    ///
    /// # Safety
    /// As for [`Self::all`]; and they are not fetched yet.
    unsafe fn fetch(
        &self,
        filter: envoy_dynamic_module_type_http_filter_envoy_ptr,
    ) -> Option<usize> {
        // SAFETY: `filter` is live.
        let count = unsafe {
            callbacks::envoy_dynamic_module_callback_http_get_headers_size(filter, RequestHeader)
        };
        if count > HEADERS_MAX {
            return None;
        }
        // SAFETY: there is room for `count` headers, and no slice of them is lent (invariant).
        let fetched = unsafe {
            callbacks::envoy_dynamic_module_callback_http_get_headers(
                filter,
                RequestHeader,
                self.fetched.get().cast(),
            )
        };
        if !fetched {
            return None;
        }
        self.count.set(Some(count));
        Some(count)
    }
}

impl fmt::Debug for RequestHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are secrets of whoever sent them.
        f.debug_struct("RequestHeaders")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::HEADERS_MAX;
    use crate::fake_envoy::with;
    use crate::{EnvoyHttpFilter, EnvoyHttpFilterImpl};

    fn envoy() -> EnvoyHttpFilterImpl {
        // SAFETY: the fake looks at no pointer.
        unsafe { EnvoyHttpFilterImpl::new(std::ptr::null_mut()) }
    }

    fn first(envoy: &EnvoyHttpFilterImpl, name: &str) -> Option<Vec<u8>> {
        envoy
            .get_request_header_value(name)
            .map(|value| value.as_slice().to_vec())
    }

    #[test]
    fn headers_are_fetched_once_however_many_are_read() {
        with(|fake| fake.request_headers = vec![("a", b"1"), ("b", b"2"), ("a", b"3")]);
        let envoy = envoy();
        assert_eq!(first(&envoy, "b").as_deref(), Some(b"2".as_slice()));
        assert_eq!(first(&envoy, "a").as_deref(), Some(b"1".as_slice()));
        assert_eq!(first(&envoy, "c"), None);
        assert_eq!(envoy.get_request_header_values("a").len(), 2);
        assert_eq!(with(|fake| fake.header_fetches), 1);
    }

    #[test]
    fn pseudo_headers_and_the_host_are_asked_for_by_name() {
        // Envoy answers "host" with what it keeps as `:authority`; here it is just another name.
        with(|fake| fake.request_headers = vec![(":path", b"/x"), ("host", b"h")]);
        let envoy = envoy();
        assert_eq!(first(&envoy, ":path").as_deref(), Some(b"/x".as_slice()));
        assert_eq!(first(&envoy, "host").as_deref(), Some(b"h".as_slice()));
        assert_eq!(envoy.get_request_header_values(":path").len(), 1);
        assert_eq!(with(|fake| fake.header_fetches), 0);
    }

    #[test]
    fn headers_are_fetched_again_after_a_change() {
        with(|fake| fake.request_headers = vec![("a", b"1")]);
        let mut envoy = envoy();
        assert_eq!(first(&envoy, "a").as_deref(), Some(b"1".as_slice()));
        envoy.add_custom_flag("x");
        with(|fake| fake.request_headers = vec![("a", b"2")]);
        assert_eq!(first(&envoy, "a").as_deref(), Some(b"2".as_slice()));
    }

    #[test]
    fn more_headers_than_there_is_room_for_are_asked_for_by_name() {
        with(|fake| {
            fake.request_headers = vec![("a", b"1"); HEADERS_MAX];
            fake.request_headers.push(("z", b"26"));
        });
        let envoy = envoy();
        assert_eq!(first(&envoy, "z").as_deref(), Some(b"26".as_slice()));
        assert_eq!(envoy.get_request_header_values("a").len(), HEADERS_MAX);
        assert_eq!(with(|fake| fake.header_fetches), 0);
        with(|fake| fake.request_headers.truncate(HEADERS_MAX));
        assert_eq!(first(&envoy, "z"), None);
        assert_eq!(with(|fake| fake.header_fetches), 1);
    }
}
