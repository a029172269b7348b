//! What is where in a region file. Offsets, never pointers; every number is in the header, and an
//! opener that computes other numbers from the same sizes refuses the file.

use crate::sync::AtomicWord;
use crate::table::{BUCKET_SLOTS, Slot};

/// The version of everything in this folder. A change of any offset, size or meaning is a new version.
pub const LAYOUT_VERSION: u64 = 3;

/// First word of a region: `HIVEMIND` in ASCII, most significant byte first.
pub const MAGIC: u64 = u64::from_be_bytes(*b"HIVEMIND");

/// The ready word, stored last: a region without it is not finished.
pub const READY: u64 = u64::from_be_bytes(*b"isready!");

/// Sections begin on page boundaries.
pub const PAGE_BYTES: u64 = 4_096;

/// Largest `max_keys`: 2^26 keys, a region of about 13 GiB.
pub const MAX_KEYS_MAX: u32 = 1 << 26;

/// Smallest and largest size of one rules buffer.
pub const RULES_BYTES_RANGE: std::ops::RangeInclusive<u64> = 4_096..=(1 << 26);

/// Smallest and largest size of a label, a multiple of 64.
pub const LABEL_BYTES_RANGE: std::ops::RangeInclusive<u64> = 64..=1_024;

/// Rules that can have statistics of their own.
pub const STATS_CELLS: u64 = 4_096;

/// Bytes of one rule's statistics: a cache line.
pub const STATS_CELL_BYTES: u64 = 64;

/// Notes of what resets forgave that there is room for.
pub const FORGIVEN_CELLS: u64 = 256;

/// Bytes of one note.
pub const FORGIVEN_CELL_BYTES: u64 = 64;

/// The first page. Every field is a word that is read and written atomically, so that no bytes a
/// hostile writer puts there are more than a wrong number.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicWord,
    /// [`LAYOUT_VERSION`] of the writer.
    pub layout_version: AtomicWord,
    /// [`READY`] once everything else is there.
    pub ready: AtomicWord,
    /// Size of the whole file.
    pub size_bytes: AtomicWord,
    /// Random; the actor id of this node's counters.
    pub region_id: AtomicWord,
    /// When the file was created, Unix milliseconds.
    pub created_unix_ms: AtomicWord,
    /// The hash key's first eight bytes, little endian.
    pub hash_key_first: AtomicWord,
    /// The hash key's last eight bytes.
    pub hash_key_last: AtomicWord,
    /// Live keys the region was made for.
    pub max_keys: AtomicWord,
    /// Buckets of the counter table.
    pub buckets: AtomicWord,
    /// Bytes of one label.
    pub label_bytes: AtomicWord,
    /// Bytes of one rules buffer.
    pub rules_bytes: AtomicWord,
    /// Where each section begins, in the order of [`Layout`].
    pub section_offsets: [AtomicWord; 9],
    _reserved_shape: [AtomicWord; 11],
    /// Process id of the daemon that owns the region.
    pub owner_pid: AtomicWord,
    /// When the daemon last said it was alive, Unix milliseconds.
    pub heartbeat_unix_ms: AtomicWord,
    /// 1 when the daemon has put another file in this one's place.
    pub replaced: AtomicWord,
    /// Number of the daemon's present run; larger in every later run.
    pub incarnation: AtomicWord,
    /// Where the daemon's admin port is: family (4 or 6) times 65,536 plus port; 0 while it is nowhere.
    pub admin_port: AtomicWord,
    /// The admin port's address in its IPv6 form: first and last eight bytes, little endian.
    pub admin_address: [AtomicWord; 2],
    _reserved_owner: [AtomicWord; 1],
    /// How often rules were published; its lowest bit says which buffer holds them.
    pub rules_generation: AtomicWord,
    _reserved_rules: [AtomicWord; 7],
    /// Keys that were given a slot.
    pub keys_claimed: AtomicWord,
    /// Hits, or news of peers, that got no slot.
    pub table_full: AtomicWord,
    /// Hits given up because others changed the slot too often.
    pub contended: AtomicWord,
    /// Keys of per-request overrides that were evicted while they counted.
    pub evicted_request_keys: AtomicWord,
    /// Keys that only peers had asked for that were evicted while they counted.
    pub evicted_peer_keys: AtomicWord,
    _reserved_events: [AtomicWord; 3],
    _reserved: [AtomicWord; 456],
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Header>() == 4_096);
    assert!(align_of::<Header>() == 4_096);
    assert!(offset_of!(Header, magic) == 0);
    assert!(offset_of!(Header, layout_version) == 8);
    assert!(offset_of!(Header, ready) == 16);
    assert!(offset_of!(Header, size_bytes) == 24);
    assert!(offset_of!(Header, region_id) == 32);
    assert!(offset_of!(Header, created_unix_ms) == 40);
    assert!(offset_of!(Header, hash_key_first) == 48);
    assert!(offset_of!(Header, max_keys) == 64);
    assert!(offset_of!(Header, buckets) == 72);
    assert!(offset_of!(Header, label_bytes) == 80);
    assert!(offset_of!(Header, rules_bytes) == 88);
    assert!(offset_of!(Header, section_offsets) == 96);
    assert!(offset_of!(Header, owner_pid) == 256);
    assert!(offset_of!(Header, heartbeat_unix_ms) == 264);
    assert!(offset_of!(Header, replaced) == 272);
    assert!(offset_of!(Header, incarnation) == 280);
    assert!(offset_of!(Header, admin_port) == 288);
    assert!(offset_of!(Header, admin_address) == 296);
    assert!(offset_of!(Header, rules_generation) == 320);
    assert!(offset_of!(Header, keys_claimed) == 384);
    assert!(offset_of!(Header, table_full) == 392);
    assert!(offset_of!(Header, contended) == 400);
    assert!(offset_of!(Header, evicted_request_keys) == 408);
    assert!(offset_of!(Header, evicted_peer_keys) == 416);
};

/// The sizes a region is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Live keys the region is made for.
    pub max_keys: u32,
    /// Bytes of one label.
    pub label_bytes: u64,
    /// Bytes of one rules buffer.
    pub rules_bytes: u64,
}

/// A part of the file: where it begins and how long it is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where it begins; a multiple of [`PAGE_BYTES`].
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// Where everything is, in file order after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The sizes this follows from.
    pub shape: Shape,
    /// Buckets of the counter table.
    pub buckets: u32,
    /// The counters.
    pub slots: Section,
    /// What each slot's key reads as.
    pub labels: Section,
    /// One bit a slot.
    pub dirty_slots: Section,
    /// One bit a word of those.
    pub dirty_summary: Section,
    /// Statistics by rule.
    pub stats: Section,
    /// What resets forgave.
    pub forgiven: Section,
    /// The two rules buffers.
    pub rules: [Section; 2],
    /// One word a slot: what is remembered of a token bucket beside its counts.
    pub memories: Section,
    /// Length of the file.
    pub size_bytes: u64,
}

impl Layout {
    /// Lays out a region of this shape. `None` when a size is out of its range.
    pub fn of(shape: Shape) -> Option<Self> {
        let sizes_ok = (1..=MAX_KEYS_MAX).contains(&shape.max_keys)
            && LABEL_BYTES_RANGE.contains(&shape.label_bytes)
            && shape.label_bytes.is_multiple_of(64)
            && RULES_BYTES_RANGE.contains(&shape.rules_bytes)
            && shape.rules_bytes.is_multiple_of(PAGE_BYTES);
        if !sizes_ok {
            return None;
        }
        // Half as many slots again as keys: with two buckets of sixteen to choose from, all of `max_keys` find
        // one (a test holds this).
        let slots_wanted = u64::from(shape.max_keys).saturating_mul(3).div_ceil(2);
        let buckets = u32::try_from(slots_wanted.div_ceil(BUCKET_SLOTS as u64))
            .ok()?
            .max(2);
        let slots = u64::from(buckets) * BUCKET_SLOTS as u64;
        let dirty_words = slots.div_ceil(64);
        let mut end = size_of::<Header>() as u64;
        let mut section = |bytes: u64| {
            let section = Section { offset: end, bytes };
            end = (end + bytes).next_multiple_of(PAGE_BYTES);
            section
        };
        Some(Self {
            shape,
            buckets,
            slots: section(slots * size_of::<Slot>() as u64),
            labels: section(slots * shape.label_bytes),
            dirty_slots: section(dirty_words * 8),
            dirty_summary: section(dirty_words.div_ceil(64) * 8),
            stats: section(STATS_CELLS * STATS_CELL_BYTES),
            forgiven: section(FORGIVEN_CELLS * FORGIVEN_CELL_BYTES),
            rules: [section(shape.rules_bytes), section(shape.rules_bytes)],
            memories: section(slots * 8),
            size_bytes: end,
        })
    }

    /// The section offsets in the order of the header.
    pub fn section_offsets(&self) -> [u64; 9] {
        [
            self.slots.offset,
            self.labels.offset,
            self.dirty_slots.offset,
            self.dirty_summary.offset,
            self.stats.offset,
            self.forgiven.offset,
            self.rules[0].offset,
            self.rules[1].offset,
            self.memories.offset,
        ]
    }

    /// Slots of the counter table.
    pub fn slot_count(&self) -> u64 {
        u64::from(self.buckets) * BUCKET_SLOTS as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(max_keys: u32) -> Shape {
        Shape {
            max_keys,
            label_bytes: 64,
            rules_bytes: 1 << 20,
        }
    }

    #[test]
    fn sections_are_on_pages_and_do_not_overlap() {
        let layout = Layout::of(shape(262_144)).unwrap();
        let mut end = 4_096;
        for section in [
            layout.slots,
            layout.labels,
            layout.dirty_slots,
            layout.dirty_summary,
            layout.stats,
            layout.forgiven,
            layout.rules[0],
            layout.rules[1],
            layout.memories,
        ] {
            assert_eq!(section.offset % PAGE_BYTES, 0);
            assert!(section.offset >= end);
            end = section.offset + section.bytes;
        }
        assert!(layout.size_bytes >= end);
    }

    #[test]
    fn the_default_region_fits_a_containers_64_mebibytes_of_shared_memory() {
        assert!(Layout::of(shape(262_144)).unwrap().size_bytes < 60 << 20);
    }

    #[test]
    fn sizes_out_of_range_have_no_layout() {
        assert!(Layout::of(shape(0)).is_none());
        assert!(Layout::of(shape(MAX_KEYS_MAX + 1)).is_none());
        assert!(
            Layout::of(Shape {
                label_bytes: 65,
                ..shape(1)
            })
            .is_none()
        );
        assert!(
            Layout::of(Shape {
                rules_bytes: 4_097,
                ..shape(1)
            })
            .is_none()
        );
        assert!(Layout::of(shape(MAX_KEYS_MAX)).is_some());
        assert_eq!(Layout::of(shape(1)).unwrap().buckets, 2);
    }
}
