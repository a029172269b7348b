//! Reading a region: everything the inspection tool may do, and the reading half of everybody else.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::error::{AttachError, LoadRulesError};
use super::labels::{self, Label};
use super::layout::{self, Header, LAYOUT_VERSION, Layout, MAGIC, READY, STATS_CELLS, Shape};
use super::mapping::{Mapping, Section};
use super::place;
use super::rules_area::{self, RulesRoom};
use super::stats::{RuleStats, StatsCell};
use crate::fingerprint::{Fingerprint, KeyHasher};
use crate::rules::RuleSet;
use crate::sync::{AtomicWord, Ordering};
use crate::table::words::Life;
use crate::table::{Slot, SlotReading, Table};
use crate::window::{Period, Window};

/// Which file a mapping is of, however it is named by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A region that was checked and can be read.
#[derive(Debug)]
pub struct RegionView {
    layout: Layout,
    identity: Option<FileIdentity>,
    header: Section<Header>,
    slots: Section<Slot>,
    labels: Section<AtomicWord>,
    dirty_slots: Section<AtomicWord>,
    dirty_summary: Section<AtomicWord>,
    stats: Section<StatsCell>,
    forgiven: Section<AtomicWord>,
    rules: [Section<AtomicWord>; 2],
    memories: Section<AtomicWord>,
}

/// One counter, as a reader saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The key's identity.
    pub fingerprint: Fingerprint,
    /// The period it is counted in.
    pub period: Period,
    /// The window the counts are for: the one of the time asked about.
    pub window: Window,
    /// This host's hits in that window.
    pub local: u64,
    /// What peers reported for it, less what resets forgave: negative where that were hits of this host.
    pub remote: i64,
    /// The domain and entries; `None` when the label is lost, or the key came from a peer that has not said it.
    pub label: Option<Label>,
    /// Statistics index of the rule that decided last; `None` when the request brought its own limit, and when
    /// only peers have asked.
    pub rule_stats_index: Option<u32>,
    /// Whether only peers have asked for it.
    pub is_of_peers: bool,
    /// When it was last counted here, Unix seconds.
    pub last_use_s: u32,
}

impl Counter {
    /// Hits that count in that window, everywhere.
    pub const fn total(&self) -> u64 {
        self.local.saturating_add_signed(self.remote)
    }
}

/// Keys that gave their slot up to another one while they still counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// Of rules that are published.
    pub of_rules: u64,
    /// Of per-request overrides.
    pub of_requests: u64,
    /// Of those that only peers had asked for.
    pub of_peers: u64,
}

impl Evictions {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.of_rules
            .saturating_add(self.of_requests)
            .saturating_add(self.of_peers)
    }
}

/// How full the counter table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Slots whose key is in its current window.
    pub live: u64,
    /// Slots that hold a key whose window has passed; free for the next key.
    pub expired: u64,
    /// Slots there are.
    pub slots: u64,
}

impl RegionView {
    /// Opens a region, live or copied, for reading.
    ///
    /// # Errors
    /// [`AttachError`] names what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, AttachError> {
        let file = open(path, OpenOptions::new().read(true))?;
        Self::of_file(&file, path, Mapping::read_only)
    }

    /// Maps an open file and checks it.
    pub(super) fn of_file(
        file: &File,
        path: &Path,
        map: impl FnOnce(&File, usize) -> io::Result<Mapping>,
    ) -> Result<Self, AttachError> {
        let metadata = file
            .metadata()
            .map_err(|source| attach_io_error(path, source))?;
        if !metadata.is_file() {
            return Err(AttachError::NotAFile {
                path: path.to_owned(),
            });
        }
        if metadata.len() == 0 {
            return Err(AttachError::NotReady);
        }
        let Ok(bytes) = usize::try_from(metadata.len()) else {
            return Err(AttachError::Damaged {
                what: "size beyond the address space",
            });
        };
        let mapping = map(file, bytes).map_err(|source| attach_io_error(path, source))?;
        Self::of_mapping(Arc::new(mapping), Some(FileIdentity::of(&metadata)))
    }

    /// Checks that a mapping holds a region. Any bytes at all end in a region or in an error.
    pub(super) fn of_mapping(
        mapping: Arc<Mapping>,
        identity: Option<FileIdentity>,
    ) -> Result<Self, AttachError> {
        let found_bytes = mapping.len() as u64;
        let header_section = mapping
            .section::<Header>(0, 1)
            .ok_or(AttachError::Truncated {
                found_bytes,
                expected_bytes: size_of::<Header>() as u64,
            })?;
        let layout = check_header(&header_section[0])?;
        let truncated = AttachError::Truncated {
            found_bytes,
            expected_bytes: layout.size_bytes,
        };
        if found_bytes < layout.size_bytes {
            return Err(truncated);
        }
        let words = |section: layout::Section| mapping.section(section.offset, section.bytes / 8);
        let view = || {
            Some(Self {
                layout,
                identity,
                slots: mapping.section(layout.slots.offset, layout.slot_count())?,
                labels: words(layout.labels)?,
                dirty_slots: words(layout.dirty_slots)?,
                dirty_summary: words(layout.dirty_summary)?,
                stats: mapping.section(layout.stats.offset, STATS_CELLS)?,
                forgiven: words(layout.forgiven)?,
                rules: [words(layout.rules[0])?, words(layout.rules[1])?],
                memories: words(layout.memories)?,
                header: header_section,
            })
        };
        view().ok_or(truncated)
    }

    /// Whether `path` still names the file that is mapped. No word in the file has a say in that: whoever is
    /// attached can write it.
    pub fn is_current(&self, path: &Path) -> bool {
        self.identity
            .is_some_and(|identity| place::is_at(path, identity))
    }

    /// Which file is mapped; none for a region in memory.
    pub(super) const fn identity(&self) -> Option<FileIdentity> {
        self.identity
    }

    /// Random number drawn when the region was created: the actor id of this node's counters.
    pub fn region_id(&self) -> u64 {
        self.header(|header| &header.region_id)
    }

    /// When the region was created, Unix milliseconds.
    pub fn created_unix_ms(&self) -> u64 {
        self.header(|header| &header.created_unix_ms)
    }

    /// Process id of the daemon that owned the region last.
    pub fn owner_pid(&self) -> u64 {
        self.header(|header| &header.owner_pid)
    }

    /// When the daemon last said it was alive, Unix milliseconds; 0 before the first time.
    pub fn heartbeat_unix_ms(&self) -> u64 {
        self.header(|header| &header.heartbeat_unix_ms)
    }

    /// Number of the daemon's present or last run on the mesh; 0 before the first.
    pub fn incarnation(&self) -> u64 {
        self.header(|header| &header.incarnation)
    }

    /// Where the daemon's admin port listens; `None` when no daemon runs that has one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        // Acquire, pairs with ADMIN: the address is there.
        let word = self.header(|header| &header.admin_port);
        let port = u16::try_from(word & 0xffff)
            .ok()
            .filter(|&port| port != 0)?;
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.header(|header| &header.admin_address[0]).to_le_bytes());
        octets[8..].copy_from_slice(&self.header(|header| &header.admin_address[1]).to_le_bytes());
        let ip = Ipv6Addr::from(octets);
        match word >> 16 {
            4 => Some(SocketAddr::new(ip.to_ipv4_mapped()?.into(), port)),
            6 => Some(SocketAddr::new(ip.into(), port)),
            _ => None,
        }
    }

    /// How often rules were published; 0 when none were.
    #[inline]
    pub fn rules_generation(&self) -> u64 {
        self.header(|header| &header.rules_generation)
    }

    /// How much room there is for rules, and how much those in force take.
    pub fn rules_room(&self) -> RulesRoom {
        let buffers = [0, 1].map(|buffer| self.rules_words(buffer));
        rules_area::room(buffers, self.rules_generation())
    }

    /// Keys that were given a slot since the region was created.
    pub fn keys_claimed(&self) -> u64 {
        self.header(|header| &header.keys_claimed)
    }

    /// Keys that were evicted while they still counted, since the region was created.
    pub fn evictions(&self) -> Evictions {
        let rules = self.stats.iter().map(StatsCell::evicted_keys);
        Evictions {
            of_rules: rules.fold(0, u64::saturating_add),
            of_requests: self.header(|header| &header.evicted_request_keys),
            of_peers: self.header(|header| &header.evicted_peer_keys),
        }
    }

    /// Hits, or news of peers, that got no slot since the region was created.
    pub fn table_full(&self) -> u64 {
        self.header(|header| &header.table_full)
    }

    /// Hits given up because others changed the slot too often.
    pub fn contended(&self) -> u64 {
        self.header(|header| &header.contended)
    }

    /// Version of the file's layout.
    pub fn layout_version(&self) -> u64 {
        self.header(|header| &header.layout_version)
    }

    /// Live keys the region was made for.
    pub fn max_keys(&self) -> u32 {
        self.layout.shape.max_keys
    }

    /// Slots of the counter table.
    pub fn slot_count(&self) -> u64 {
        self.layout.slot_count()
    }

    /// Length of the file.
    pub fn size_bytes(&self) -> u64 {
        self.layout.size_bytes
    }

    /// Rules that can have statistics of their own.
    pub fn stats_capacity(&self) -> u32 {
        u32::try_from(STATS_CELLS).unwrap_or(u32::MAX)
    }

    /// The sizes it was made from.
    pub fn shape(&self) -> Shape {
        self.layout.shape
    }

    /// The live counters, in no order. Read while others count: each is right by itself.
    pub fn counters(&self, now_s: u64) -> impl Iterator<Item = Counter> + '_ {
        let table = self.table();
        (0..self.slots.len()).filter_map(move |index| {
            let reading = table?.read(index)?;
            let window = reading.key.period.window_at(now_s);
            let local = u64::from(reading.local.within(window.number()));
            let remote = reading.remote_in(window.number());
            (local.saturating_add_signed(remote) > 0).then(|| Counter {
                fingerprint: reading.key.fingerprint,
                period: reading.key.period,
                window,
                local,
                remote,
                label: labels::read(self.label_words(index), reading.place.life),
                rule_stats_index: reading.rule_stats_index(),
                is_of_peers: reading.is_of_peers,
                last_use_s: reading.last_use_s,
            })
        })
    }

    /// Every live slot with its place, in no order, as they are.
    pub fn readings(&self) -> impl Iterator<Item = (usize, SlotReading)> + '_ {
        self.readings_in(0..self.slots.len())
    }

    /// The live ones among some slots.
    pub fn readings_in(
        &self,
        slots: Range<usize>,
    ) -> impl Iterator<Item = (usize, SlotReading)> + '_ {
        let table = self.table();
        let end = slots.end.min(self.slots.len());
        (slots.start..end).filter_map(move |slot| Some((slot, table?.read(slot)?)))
    }

    /// What the key of a slot reads as in this life of the slot; `None` when that is lost, or the key came
    /// from a peer that has not said it.
    pub fn label(&self, slot: usize, life: Life) -> Option<Label> {
        labels::read(self.label_words(slot), life)
    }

    /// Makes the fingerprints of this region's keys.
    pub fn key_hasher(&self) -> KeyHasher {
        KeyHasher::new(&self.hash_key())
    }

    /// How full the counter table is at a time.
    pub fn fill(&self, now_s: u64) -> Fill {
        let mut fill = Fill {
            slots: self.slot_count(),
            ..Fill::default()
        };
        let Some(table) = self.table() else {
            return fill;
        };
        for reading in (0..self.slots.len()).filter_map(|index| table.read(index)) {
            if reading.counts_at(now_s) {
                fill.live += 1;
            } else {
                fill.expired += 1;
            }
        }
        fill
    }

    /// What the rule with this statistics index has seen.
    pub fn rule_stats(&self, index: u32) -> RuleStats {
        self.stats_cell(index)
            .map(StatsCell::read)
            .unwrap_or_default()
    }

    /// Copies and decodes the published rules.
    ///
    /// # Errors
    /// [`LoadRulesError`]: none published, or not readable.
    pub fn load_rules(&self) -> Result<(u64, RuleSet), LoadRulesError> {
        let buffers = [0, 1].map(|buffer| self.rules_words(buffer));
        let (generation, bytes) = rules_area::read(buffers, &self.raw_header().rules_generation)?;
        Ok((generation, crate::rules::decode(&bytes)?))
    }

    #[inline]
    pub(super) fn table(&self) -> Option<Table<'_>> {
        Table::new(&self.slots)
    }

    #[inline]
    pub(super) fn label_words(&self, slot: usize) -> &[AtomicWord] {
        let words = usize::try_from(self.layout.shape.label_bytes / 8).unwrap_or(0);
        let start = slot.saturating_mul(words);
        self.labels
            .get(start..start.saturating_add(words))
            .unwrap_or_default()
    }

    pub(super) fn forgiven_words(&self) -> &[AtomicWord] {
        &self.forgiven
    }

    pub(crate) fn memory_word(&self, slot: usize) -> Option<&AtomicWord> {
        self.memories.get(slot)
    }

    #[inline]
    pub(super) fn dirty_words(&self) -> [&[AtomicWord]; 2] {
        [&self.dirty_slots, &self.dirty_summary]
    }

    pub(super) fn rules_words(&self, buffer: usize) -> &[AtomicWord] {
        &self.rules[buffer & 1]
    }

    #[inline]
    pub(super) fn stats_cell(&self, index: u32) -> Option<&StatsCell> {
        self.stats.get(index as usize)
    }

    #[inline]
    pub(super) fn raw_header(&self) -> &Header {
        // The section was made with one header in it.
        &self.header[0]
    }

    /// Reads one word of the header.
    #[inline]
    fn header(&self, field: impl FnOnce(&Header) -> &AtomicWord) -> u64 {
        // Acquire, pairs with PUBLISH for the generation and ADMIN for the admin port; the other words
        // need no order.
        field(self.raw_header()).load(Ordering::Acquire)
    }

    pub(super) fn hash_key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.header(|header| &header.hash_key_first).to_le_bytes());
        key[8..].copy_from_slice(&self.header(|header| &header.hash_key_last).to_le_bytes());
        key
    }
}

/// Checks a header and returns the layout it claims, if it is the one its own sizes make.
fn check_header(header: &Header) -> Result<Layout, AttachError> {
    let magic = header.magic.load(Ordering::Relaxed);
    if magic == 0 {
        return Err(AttachError::NotReady);
    }
    if magic != MAGIC {
        return Err(AttachError::Foreign { found: magic });
    }
    let version = header.layout_version.load(Ordering::Relaxed);
    if version != LAYOUT_VERSION {
        return Err(AttachError::OtherVersion {
            found: version,
            expected: LAYOUT_VERSION,
        });
    }
    // Acquire, pairs with READY in `write_header`: the rest of the header is there.
    match header.ready.load(Ordering::Acquire) {
        READY => {}
        0 => return Err(AttachError::NotReady),
        _ => return Err(AttachError::Damaged { what: "ready word" }),
    }
    let read = |word: &AtomicWord| word.load(Ordering::Relaxed);
    let shape = Shape {
        max_keys: u32::try_from(read(&header.max_keys))
            .map_err(|_| AttachError::Damaged { what: "max_keys" })?,
        label_bytes: read(&header.label_bytes),
        rules_bytes: read(&header.rules_bytes),
    };
    let layout = Layout::of(shape).ok_or(AttachError::Damaged { what: "sizes" })?;
    let offsets = header.section_offsets.iter().map(read);
    let as_laid_out = read(&header.buckets) == u64::from(layout.buckets)
        && read(&header.size_bytes) == layout.size_bytes
        && offsets.eq(layout.section_offsets());
    as_laid_out.then_some(layout).ok_or(AttachError::Damaged {
        what: "section offsets",
    })
}

/// Opens a region's file, whatever is at the path, without waiting for anybody or following a link.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, AttachError> {
    place::open_without_following(path, options).map_err(|source| attach_io_error(path, source))
}

fn attach_io_error(path: &Path, source: io::Error) -> AttachError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        AttachError::Missing { path }
    } else if place::is_link_error(&source) {
        AttachError::NotAFile { path }
    } else {
        AttachError::Unreadable { path, source }
    }
}
