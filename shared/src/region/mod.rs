//! The region: one memory-mapped file that the daemon creates and every Envoy worker on the host counts
//! in.
//!
//! * [`RegionView`] reads; the inspection tool has nothing more.
//! * [`Region`] counts; the Envoy module and the daemon's service use it.
//! * [`OwnedRegion`] publishes rules and says the owner is alive; the daemon alone has one.

mod claim;
mod counted;
mod error;
mod examine;
mod forgiven;
mod labels;
pub mod layout;
mod lock;
mod mapping;
mod name;
mod owner;
mod place;
mod rules_area;
mod stats;
mod view;

use std::fs::OpenOptions;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use claim::Claim;
pub use error::{AttachError, LoadRulesError, OwnError, PublishError};
pub use examine::{check_rules_fit, examine};
pub use forgiven::Note;
pub use labels::Label;
use layout::{Header, LAYOUT_VERSION, Layout, MAGIC, READY, Shape};
pub use lock::RegionLock;
use mapping::Mapping;
pub use name::Name;
pub use owner::{Opened, OwnedRegion, Published};
pub use place::{MadeDirectory, Risk, User, is_own_socket};
pub use rules_area::RulesRoom;
pub(crate) use stats::Hits;
pub use stats::RuleStats;
pub use view::{Counter, Evictions, Fill, RegionView};

use crate::clock::{Clock, unix_time_ms};
use crate::fingerprint::KeyHasher;
use crate::sync::{AtomicWord, Ordering};
use crate::table::dirty::Dirty;
use crate::table::words::{Life, low_half};
use crate::table::{
    Beside, CountError, Counted, Gate, Key, Place, Put, Share, SlotReading, Source, Usage,
};
use crate::token_bucket::{Mark, Memory, TIMES, remember};
use crate::window::Window;

/// Where a region is unless somebody says otherwise: in a directory of the daemon's own, which it makes.
pub const DEFAULT_PATH: &str = "/dev/shm/hivemind/region";

/// The id that no region has: to the mesh, hits that were forgiven are what this actor counted. It comes before
/// all others, so that in a list by id nobody hears of counts before hearing that they were forgiven.
pub const FORGIVEN_ID: u64 = 0;

/// How to make a region.
#[derive(Clone, Debug)]
pub struct RegionOptions {
    /// Live keys it has room for, 1 to 2^26. About 200 bytes each with the default label size.
    pub max_keys: u32,
    /// Permission bits of the file.
    pub mode: u32,
    /// Bytes kept of each key in readable form: 64 to 1,024, a multiple of 64.
    pub label_bytes: u64,
    /// Bytes for the compiled rules, twice: 4,096 to 2^26, a multiple of 4,096.
    pub rules_bytes: u64,
    /// The mesh's hash key. `None`: an existing region keeps its own, a new one draws one.
    pub hash_key: Option<[u8; 16]>,
}

impl Default for RegionOptions {
    fn default() -> Self {
        Self {
            max_keys: 262_144,
            mode: 0o600,
            label_bytes: 64,
            rules_bytes: 1 << 20,
            hash_key: None,
        }
    }
}

impl RegionOptions {
    fn shape(&self) -> Shape {
        Shape {
            max_keys: self.max_keys,
            label_bytes: self.label_bytes,
            rules_bytes: self.rules_bytes,
        }
    }
}

/// What became of a count whose hits were forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgiven {
    /// The window it is in.
    pub window: Window,
    /// Hits that counted, everywhere.
    pub before: u64,
    /// Those that still do: none, unless there are more than can be forgiven, 2^32 − 1.
    pub after: u64,
}

/// A region that can be counted in.
#[derive(Debug)]
pub struct Region {
    view: RegionView,
    hasher: KeyHasher,
}

impl Deref for Region {
    type Target = RegionView;

    fn deref(&self) -> &RegionView {
        &self.view
    }
}

/// Hits to be counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a, G> {
    /// Of which key.
    pub(crate) key: &'a Key,
    /// How many.
    pub(crate) addend: u64,
    /// The time of the request, Unix seconds.
    pub(crate) now_s: u64,
    /// Whether they are to be counted at all.
    pub(crate) gate: &'a G,
    /// Statistics index of the rule that asks.
    pub(crate) stats_index: u32,
    /// Hits that its limit allows in a window.
    pub(crate) allowed: u32,
}

impl Region {
    /// Attaches to the region a daemon made: one of root, of the user this process runs as, or of a group of
    /// this process. Whoever owns the file decides what is limited.
    ///
    /// # Errors
    /// [`AttachError`] names what is wrong with the file. Nothing is changed.
    pub fn attach(path: &Path) -> Result<Self, AttachError> {
        Self::attach_to(path, None)
    }

    /// The same, to a region that may belong to one more user.
    ///
    /// # Errors
    /// [`AttachError`] names what is wrong with the file. Nothing is changed.
    pub fn attach_to(path: &Path, trusted: Option<User>) -> Result<Self, AttachError> {
        let file = view::open(path, OpenOptions::new().read(true).write(true))?;
        place::check_trusted(&file, path, trusted)?;
        RegionView::of_file(&file, path, Mapping::read_write).map(Self::of_view)
    }

    /// A region in memory of this process alone, for tests and benchmarks.
    ///
    /// # Errors
    /// When the sizes are out of range or there is no memory.
    pub fn anonymous(options: &RegionOptions) -> io::Result<OwnedRegion> {
        let layout = Layout::of(options.shape())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "sizes out of range"))?;
        let bytes = usize::try_from(layout.size_bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "sizes out of range"))?;
        let mapping = Mapping::anonymous(bytes)?;
        let mapping = Arc::new(mapping);
        write_header(&mapping, &layout, &Identity::draw(options.hash_key)?)?;
        let view = RegionView::of_mapping(mapping, None).map_err(io::Error::other)?;
        Ok(OwnedRegion::anonymous(Arc::new(Self::of_view(view))))
    }

    fn of_view(view: RegionView) -> Self {
        let hasher = KeyHasher::new(&view.hash_key());
        Self { view, hasher }
    }

    /// Makes fingerprints with this region's hash key.
    #[inline]
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Counts hits; see [`crate::table::Table::count_if`]. `label` writes the key in readable form when it is new.
    ///
    /// # Errors
    /// [`CountError`]; nothing was counted then, and the region's own counters say so.
    #[inline(always)]
    pub(crate) fn count<'k, E>(
        &self,
        call: &Call<'_, impl Gate>,
        clock: &impl Clock,
        label: impl Fn() -> (&'k [u8], E),
    ) -> Result<Counted, CountError>
    where
        E: Iterator<Item = (&'k [u8], &'k [u8])>,
    {
        let Call {
            key,
            addend,
            now_s,
            gate,
            stats_index,
            ..
        } = *call;
        let table = self.table().ok_or(CountError::Full)?;
        let source = Source::of_hits(stats_index);
        let claim = Claim {
            region: self,
            source,
            on_claim: |slot, life| self.write_label(slot, life, label()),
        };
        let counted = table.count_if(key, addend, now_s, clock, gate, claim);
        match counted {
            Ok(counted) => {
                if let Some(slot) = counted.slot {
                    let usage = usage_of(call, source, &counted);
                    // Before the mark: whoever sweeps it wants to know the rule.
                    table.note_usage(slot.index, usage);
                    if counted.after > counted.before
                        && let Some(dirty) = self.dirty()
                    {
                        dirty.mark(slot.index);
                    }
                    // Of a key that came from peers it may not be known what it reads like: the first hit here
                    // says so.
                    if counted.before == 0 && !self.is_labelled(slot) {
                        self.write_label(slot.index, slot.life, label());
                    }
                }
                Ok(counted)
            }
            Err(error) => {
                self.note_error(error);
                Err(error)
            }
        }
    }

    /// Raises what counts for a key beside this host's own hits, also for one that is new here; see
    /// [`crate::table::Table::put_remote`].
    ///
    /// # Errors
    /// [`CountError`]; the region's own counters say so, as for hits.
    pub fn put_remote(
        &self,
        key: &Key,
        window: Window,
        hits: i64,
        clock: &impl Clock,
    ) -> Result<(), CountError> {
        self.put(key, window, hits, Put::Raise, clock)
    }

    /// Sets what counts for a key beside this host's own hits after some were forgiven, notes that for the next
    /// run of the daemon, and fills the key's token bucket, unless so many hits are noted already.
    ///
    /// # Errors
    /// [`CountError`]; the region's own counters say so, as for hits.
    pub fn put_forgiven(
        &self,
        key: &Key,
        window: Window,
        beside: Beside,
        clock: &impl Clock,
    ) -> Result<(), CountError> {
        self.put(key, window, beside.hits(), Put::Set, clock)?;
        self.note_forgiven(key, window, beside.forgiven, clock);
        Ok(())
    }

    fn put(
        &self,
        key: &Key,
        window: Window,
        hits: i64,
        put: Put,
        clock: &impl Clock,
    ) -> Result<(), CountError> {
        let table = self.table().ok_or(CountError::Full)?;
        let claim = Claim {
            region: self,
            source: Source::PEERS,
            on_claim: |_, _| {},
        };
        table
            .put_remote(key, window, hits, put, clock, claim)
            .inspect_err(|&error| self.note_error(error))
    }

    /// The slot of a key, as it is now; `None` when it has none.
    pub fn reading(&self, key: &Key) -> Option<SlotReading> {
        self.table()?.read_key(key)
    }

    /// What [`Self::forgive`] would forgive, with nothing done about it.
    pub fn forgivable(&self, key: &Key, clock: &impl Clock) -> Vec<Forgiven> {
        let Some(reading) = self.reading(key) else {
            return Vec::new();
        };
        let windows = reading.near_windows(clock.now_s());
        let counted = windows.filter_map(|window| {
            let before = reading.total_in(window.number());
            let after = before.saturating_sub(u32::MAX.into());
            (before > 0).then_some(Forgiven {
                window,
                before,
                after,
            })
        });
        counted.collect()
    }

    /// Forgives every hit that counts for a key, in each window that may still matter; says what it was.
    /// Where there is a mesh, that has to do it, or peers do not hear of it.
    ///
    /// # Errors
    /// [`CountError`]: others interfered too often; hits of some windows may be forgiven.
    pub fn forgive(&self, key: &Key, clock: &impl Clock) -> Result<Vec<Forgiven>, CountError> {
        let mut forgiven = self.forgivable(key, clock);
        for Forgiven { window, after, .. } in &mut forgiven {
            let Some(reading) = self.reading(key) else {
                continue;
            };
            let local = reading.local_in(window.number());
            let counted = u32::try_from(reading.remote_in(window.number())).unwrap_or(0);
            let beside = Beside {
                counted,
                forgiven: counted.saturating_add(local),
            };
            self.put_forgiven(key, *window, beside, clock)?;
            // That more was noted by a run with a mesh, whose peers had counted more, does not matter here.
            self.fill_bucket(key, clock);
            *after = u64::from(local).saturating_add_signed(beside.hits());
        }
        Ok(forgiven)
    }

    /// Remembers that a token bucket is full now, and forgets what it began the window with and what flowed past
    /// it: hits in this window and the one before were the reason or the measure.
    fn fill_bucket(&self, key: &Key, clock: &impl Clock) {
        let Some(slot) = self.table().and_then(|table| table.place(key)) else {
            return;
        };
        let period = key.period;
        let window = period.window_at(clock.now_s());
        let length_ms = period.milliseconds();
        let passed_ms = length_ms - window.milliseconds_left(clock.now_ms()).min(length_ms);
        let time = u128::from(passed_ms) * u128::from(TIMES) / u128::from(length_ms.max(1));
        let full = Memory {
            window: window.number(),
            mark: Mark::FullAt(u32::try_from(time).unwrap_or(u32::MAX)),
        };
        if let Some(word) = self.memory_word(slot.index) {
            remember(word, slot.life, |found| {
                ((), (found != full).then_some(full))
            });
        }
    }

    /// Visits every slot that was counted in since the last call.
    pub fn sweep(&self, mut visit: impl FnMut(&SlotReading)) {
        if let (Some(table), Some(dirty)) = (self.table(), self.dirty()) {
            dirty.sweep(|slot| {
                if let Some(reading) = table.read(slot) {
                    visit(&reading);
                }
            });
        }
    }

    /// Visits every live slot.
    pub fn scan(&self, mut visit: impl FnMut(&SlotReading)) {
        if let Some(table) = self.table() {
            (0..table.slot_count())
                .filter_map(|slot| table.read(slot))
                .for_each(|reading| visit(&reading));
        }
    }

    /// Adds a call to a rule's statistics.
    #[inline]
    pub(crate) fn record(&self, stats_index: u32, hits: Hits) {
        if let Some(cell) = self.stats_cell(stats_index) {
            cell.record(hits);
        }
    }

    /// The marks of changed slots.
    #[inline]
    pub fn dirty(&self) -> Option<Dirty<'_>> {
        let [slots, summary] = self.dirty_words();
        Dirty::new(slots, summary)
    }

    /// Whether a slot is known to have the right readable key already, for this life.
    #[inline]
    fn is_labelled(&self, slot: Place) -> bool {
        labels::is_of(self.label_words(slot.index), slot.life)
    }

    #[cold]
    fn write_label<'k>(
        &self,
        slot: usize,
        life: Life,
        (domain, entries): (&'k [u8], impl Iterator<Item = (&'k [u8], &'k [u8])>),
    ) {
        labels::write(self.label_words(slot), life, domain, entries);
    }

    #[cold]
    fn note_error(&self, error: CountError) {
        match error {
            CountError::Full => self.bump(|header| &header.table_full),
            CountError::Contended => self.bump(|header| &header.contended),
        }
    }

    fn bump(&self, field: impl FnOnce(&Header) -> &AtomicWord) {
        // Relaxed: a sum for people.
        field(self.raw_header()).fetch_add(1, Ordering::Relaxed);
    }
}

/// What counted hits say about the use of their key.
#[inline]
fn usage_of<G: Gate>(call: &Call<'_, G>, source: Source, counted: &Counted) -> Usage {
    // Of a limit that did not admit the hits, nothing is left for them.
    let used = if counted.refused {
        u64::MAX
    } else {
        counted.total_after()
    };
    Usage {
        source,
        since_ms: 0,
        spans_windows: !G::IS_OPEN,
        share: Share::of(used, call.allowed),
        last_use_s: low_half(call.now_s),
    }
}

/// What is random in a new region.
struct Identity {
    region_id: u64,
    hash_key: [u8; 16],
}

impl Identity {
    fn draw(hash_key: Option<[u8; 16]>) -> io::Result<Self> {
        let region_id = draw_random()?;
        let drawn_key = draw_random()?;
        Ok(Self {
            // One in 2^64 would draw the id that is no region's.
            region_id: match u64::from_le_bytes(region_id) {
                FORGIVEN_ID => FORGIVEN_ID + 1,
                id => id,
            },
            hash_key: hash_key.unwrap_or(drawn_key),
        })
    }
}

/// Bytes that nobody can guess.
fn draw_random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut random = [0; BYTES];
    let mut filled = 0;
    while filled < BYTES {
        let rest = &mut random[filled..];
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(random)
}

/// Fills the header of zeroed memory; the ready word comes last.
fn write_header(mapping: &Arc<Mapping>, layout: &Layout, identity: &Identity) -> io::Result<()> {
    let section = mapping
        .section::<Header>(0, 1)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let header = &section[0];
    // Relaxed all but the last: READY publishes them.
    let store = |word: &AtomicWord, value: u64| word.store(value, Ordering::Relaxed);
    let [first, last] = [0, 8].map(|at| {
        let mut half = [0; 8];
        half.copy_from_slice(&identity.hash_key[at..at + 8]);
        u64::from_le_bytes(half)
    });
    store(&header.layout_version, LAYOUT_VERSION);
    store(&header.size_bytes, layout.size_bytes);
    store(&header.region_id, identity.region_id);
    store(&header.created_unix_ms, unix_time_ms());
    store(&header.hash_key_first, first);
    store(&header.hash_key_last, last);
    store(&header.max_keys, u64::from(layout.shape.max_keys));
    store(&header.buckets, u64::from(layout.buckets));
    store(&header.label_bytes, layout.shape.label_bytes);
    store(&header.rules_bytes, layout.shape.rules_bytes);
    for (word, offset) in header.section_offsets.iter().zip(layout.section_offsets()) {
        store(word, offset);
    }
    store(&header.magic, MAGIC);
    // READY. Release, pairs with the acquire in `RegionView::of_mapping`.
    header.ready.store(READY, Ordering::Release);
    Ok(())
}
