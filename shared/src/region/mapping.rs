//! The mapped file itself: the only unsafe code of this crate.
//!
//! Other processes write to the same memory at any time, honest or not. So nothing here ever hands out
//! a reference to plain memory: only to types made of atomic words, for which every bit pattern is a
//! value and every concurrent write is defined behaviour.
#![allow(
    unsafe_code,
    reason = "turns mapped bytes into references; everything else builds on this"
)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use super::layout::Header;
use super::stats::StatsCell;
use crate::sync::AtomicWord;
use crate::table::Slot;

/// Types that may lie in memory which other processes write to.
///
/// # Safety
/// The type is `repr(C)` or a plain word, made of atomics alone, without padding, pointers or niches:
/// any bytes are a valid value, and all access through a shared reference is atomic.
pub(super) unsafe trait Shared {}

// SAFETY: one atomic word.
unsafe impl Shared for AtomicWord {}
// SAFETY: `repr(C)`, eight atomic words.
unsafe impl Shared for Slot {}
// SAFETY: `repr(C)`, eight atomic words.
unsafe impl Shared for StatsCell {}
// SAFETY: `repr(C)`, 512 atomic words; its size is asserted to be their sum.
unsafe impl Shared for Header {}

/// A mapping of a region file, or of anonymous memory in tests.
#[derive(Debug)]
pub(super) struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Maps the whole file for reading and writing.
    pub(super) fn read_write(file: &File, bytes: usize) -> io::Result<Self> {
        Ok(Self {
            raw: MmapOptions::new().len(bytes).map_raw(file)?,
        })
    }

    /// Maps the whole file for reading. Storing through such a mapping ends the process, so only
    /// [`super::RegionView`], which never stores, is built on it.
    pub(super) fn read_only(file: &File, bytes: usize) -> io::Result<Self> {
        Ok(Self {
            raw: MmapOptions::new().len(bytes).map_raw_read_only(file)?,
        })
    }

    /// Zeroed memory of this process alone.
    pub(super) fn anonymous(bytes: usize) -> io::Result<Self> {
        Ok(Self {
            raw: MmapOptions::new().len(bytes).map_anon()?.into(),
        })
    }

    /// Bytes mapped.
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// `count` values from `offset` on; `None` if they do not all lie inside the mapping or the offset
    /// is not aligned for them.
    pub(super) fn section<T: Shared>(
        self: &Arc<Self>,
        offset: u64,
        count: u64,
    ) -> Option<Section<T>> {
        let offset = usize::try_from(offset).ok()?;
        let count = usize::try_from(count).ok()?;
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if end > self.raw.len() || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: `offset` is within the mapping, which is one allocation.
        let start = unsafe { self.raw.as_mut_ptr().add(offset) };
        Some(Section {
            start: NonNull::new(start)?.cast(),
            count,
            _mapping: Arc::clone(self),
        })
    }
}

/// Values of one kind inside a mapping, which they keep alive.
#[derive(Debug)]
pub(super) struct Section<T> {
    start: NonNull<T>,
    count: usize,
    _mapping: Arc<Mapping>,
}

// SAFETY: a section is a shared reference into a mapping that may be used from any thread; `Shared`
// types are made of atomics.
unsafe impl<T: Shared + Send> Send for Section<T> {}
// SAFETY: as above.
unsafe impl<T: Shared + Sync> Sync for Section<T> {}

impl<T: Shared> Deref for Section<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `count` values from `start` lie inside the mapping (checked when the section was made
        // and never changed), which lives as long as the section and is page-aligned, so that `start`
        // is aligned as its offset is. `T: Shared` makes any bytes valid and concurrent writes defined.
        // A file that somebody shortens while it is mapped raises SIGBUS, which is an end of the
        // process, not undefined behaviour.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_section_outside_the_mapping() {
        let mapping = Arc::new(Mapping::anonymous(8_192).unwrap());
        assert_eq!(
            mapping.section::<AtomicWord>(0, 1_024).unwrap().len(),
            1_024
        );
        assert!(mapping.section::<AtomicWord>(0, 1_025).is_none());
        assert!(mapping.section::<AtomicWord>(8_192, 1).is_none());
        assert!(mapping.section::<AtomicWord>(u64::MAX, 1).is_none());
        assert!(mapping.section::<AtomicWord>(0, u64::MAX).is_none());
        assert!(
            Arc::new(Mapping::anonymous(100).unwrap())
                .section::<Header>(0, 1)
                .is_none()
        );
    }

    #[test]
    fn there_is_no_misaligned_section() {
        let mapping = Arc::new(Mapping::anonymous(8_192).unwrap());
        assert!(mapping.section::<AtomicWord>(4, 1).is_none());
        assert!(mapping.section::<Slot>(8, 1).is_none());
    }

    #[test]
    fn a_section_outlives_the_handle_it_was_made_from() {
        let mapping = Arc::new(Mapping::anonymous(8_192).unwrap());
        let section = mapping.section::<AtomicWord>(0, 1).unwrap();
        drop(mapping);
        assert_eq!(section[0].load(crate::sync::Ordering::Relaxed), 0);
    }
}
