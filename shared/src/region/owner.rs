//! Owning a region: one daemon at a time creates it, publishes rules and says it is alive.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{OwnError, PublishError};
use super::layout::{Header, Layout, MAGIC};
use super::lock::RegionLock;
use super::mapping::Mapping;
use super::place;
use super::view::{self, FileIdentity, RegionView};
use super::{Identity, Region, RegionOptions, draw_random, rules_area, write_header};
use crate::rules::{RuleSet, assign_stats, encode};
use crate::sync::{AtomicWord, Ordering};

/// How an owner came by its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was none.
    Created,
    /// The region of an earlier run goes on, with its counters and its actor id.
    Resumed,
    /// The file there could not be used, for this reason, and a new region took its place.
    Replaced {
        /// What was wrong with it.
        reason: String,
    },
}

/// Rules that were put in force.
#[derive(Clone, Debug)]
pub struct Published {
    /// Their generation: one more than that of the rules before.
    pub generation: u64,
    /// The rules as readers of the region find them, with their statistics places.
    pub rules: RuleSet,
}

/// A region and the right to publish in it. The right ends when this is dropped or the process dies.
#[derive(Debug)]
pub struct OwnedRegion {
    region: Arc<Region>,
    /// None for a region in memory, and once the right was left to another process.
    lock: Option<RegionLock>,
    path: PathBuf,
    /// What [`fixed_words`] are.
    fixed: Vec<u64>,
    /// The number of the present run, or of the last one before it has begun.
    incarnation: AtomicWord,
    /// The generation of the published rules.
    generation: AtomicWord,
}

impl OwnedRegion {
    /// Takes the region at `path`, or makes it. Counters of an earlier run are kept if the file is a
    /// region of this version and of the wanted sizes and hash key; otherwise a new region takes its
    /// place in one step, and modules that are attached to the old one move over by themselves.
    ///
    /// # Errors
    /// [`OwnError`]: owned by somebody else, no room, impossible sizes, or refused by the system.
    pub fn open(path: &Path, options: &RegionOptions) -> Result<(Self, Opened), OwnError> {
        let layout = lay_out(options)?;
        Self::open_laid_out(RegionLock::take(path, options.mode)?, options, &layout)
    }

    /// As [`Self::open`], with the right to own the region in hand already.
    ///
    /// # Errors
    /// [`OwnError`]: no room, impossible sizes, or refused by the system.
    pub fn open_locked(
        lock: RegionLock,
        options: &RegionOptions,
    ) -> Result<(Self, Opened), OwnError> {
        let layout = lay_out(options)?;
        Self::open_laid_out(lock, options, &layout)
    }

    fn open_laid_out(
        lock: RegionLock,
        options: &RegionOptions,
        layout: &Layout,
    ) -> Result<(Self, Opened), OwnError> {
        let path = lock.path().to_owned();
        let fresh = lock.is_fresh()?;
        if !fresh {
            refuse_foreign(lock.file(), &path)?;
        }
        let is_shared = lock.is_shared();
        let resumed = if fresh {
            Err(None)
        } else {
            resume(lock.file(), &path, options, layout).map_err(Some)
        };
        let (region, lock, opened) = match resumed {
            Ok(region) => (region, lock, Opened::Resumed),
            Err(reason) => {
                let (region, file) = create(&path, options, layout)?;
                if reason.is_some() {
                    mark_replaced(lock.file(), &path);
                }
                let opened = match reason {
                    None => Opened::Created,
                    Some(reason) => Opened::Replaced { reason },
                };
                (region, RegionLock::held(file, &path), opened)
            }
        };
        let owned = Self::new(Arc::new(region), Some(lock), path);
        owned.sign();
        // What an earlier run left there is closed by now; one that hands over answers until it has.
        if !is_shared {
            owned.set_admin_address(None);
        }
        Ok((owned, opened))
    }

    fn new(region: Arc<Region>, lock: Option<RegionLock>, path: PathBuf) -> Self {
        let header = region.raw_header();
        // Relaxed: who could write them meanwhile is no owner.
        let read = |word: &AtomicWord| word.load(Ordering::Relaxed);
        Self {
            fixed: fixed_words(header).map(read).collect(),
            incarnation: AtomicWord::new(read(&header.incarnation)),
            generation: AtomicWord::new(read(&header.rules_generation)),
            region,
            lock,
            path,
        }
    }

    /// Says that this process is the owner.
    pub fn sign(&self) {
        let pid = u64::from(std::process::id());
        // Relaxed all: informational, and this process is the only writer from now on.
        let header = self.region.raw_header();
        header.owner_pid.store(pid, Ordering::Relaxed);
        for (own, word) in [
            (&self.incarnation, &header.incarnation),
            (&self.generation, &header.rules_generation),
        ] {
            own.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Puts right what another process that is attached wrote over the owner's words in the header: those that
    /// whoever attaches checks, that the region was replaced, and whose it is. Says whether there was anything.
    pub fn mend(&self) -> bool {
        let header = self.region.raw_header();
        let pid = u64::from(std::process::id());
        let own = [
            (&header.replaced, 0),
            (&header.owner_pid, pid),
            (
                &header.incarnation,
                self.incarnation.load(Ordering::Relaxed),
            ),
            (
                &header.rules_generation,
                self.generation.load(Ordering::Relaxed),
            ),
        ];
        let fixed = fixed_words(header).zip(self.fixed.iter().copied());
        let mut is_mended = false;
        for (word, value) in own.into_iter().chain(fixed) {
            if word.load(Ordering::Relaxed) != value {
                // READY and PUBLISH. Release: the ready word comes last, and the rules were there before.
                word.store(value, Ordering::Release);
                is_mended = true;
            }
        }
        is_mended
    }

    /// Removes the file, if it is still the one at the path: for a region that was made by a start which failed.
    pub fn remove(&self) {
        if let (Some(_), Some(identity)) = (&self.lock, self.region.identity()) {
            place::remove(&self.path, identity);
        }
    }

    /// A second handle on the right to own the region, for the process that is to own it next: the right
    /// lasts until both are gone. `None` for a region in memory, or when the right was left already.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub fn share_lock(&self) -> io::Result<Option<OwnedFd>> {
        self.lock.as_ref().map(RegionLock::share).transpose()
    }

    /// Leaves the right to own the region to the process that shares it. Counting in it goes on.
    pub fn let_go(&mut self) {
        self.lock = None;
    }

    pub(super) fn anonymous(region: Arc<Region>) -> Self {
        Self::new(region, None, PathBuf::new())
    }

    /// The region, to share with everything that counts.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the owner is alive, at this Unix time in milliseconds.
    pub fn beat(&self, now_ms: u64) {
        // Relaxed: for people.
        self.region
            .raw_header()
            .heartbeat_unix_ms
            .store(now_ms, Ordering::Relaxed);
    }

    /// Begins another run of this actor: its number is larger than that of every earlier run, also when
    /// the clock was set back, and this time (Unix milliseconds) unless it would be too small. A number of more
    /// than a day from now is of a clock that was wrong, and peers do not believe it: then it is this time.
    pub fn next_incarnation(&self, unix_ms: u64) -> u64 {
        const DAY_MS: u64 = 86_400_000;
        let word = &self.region.raw_header().incarnation;
        // Relaxed both: this process is the only writer, and the word orders nothing.
        let next = word.load(Ordering::Relaxed).saturating_add(1).max(unix_ms);
        let next = if next - unix_ms > DAY_MS {
            unix_ms
        } else {
            next
        };
        word.store(next, Ordering::Relaxed);
        self.incarnation.store(next, Ordering::Relaxed);
        next
    }

    /// Tells tools where the daemon's admin port is; `None` once it is closed.
    pub fn set_admin_address(&self, address: Option<SocketAddr>) {
        let header = self.region.raw_header();
        // Relaxed all but ADMIN: nobody trusts the address while there is no port.
        header.admin_port.store(0, Ordering::Relaxed);
        let Some(address) = address else { return };
        let (family, octets) = match address.ip() {
            IpAddr::V4(ip) => (4_u64, ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => (6, ip.octets()),
        };
        for (word, half) in header.admin_address.iter().zip(octets.chunks_exact(8)) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(half);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let port = family << 16 | u64::from(address.port());
        // ADMIN. Release, pairs with the acquire in `RegionView::admin_address`.
        header.admin_port.store(port, Ordering::Release);
    }

    /// Puts rules in force for everybody who is attached, from their next request on.
    ///
    /// Rules that were published before keep their statistics, whatever else changed; those of new ones
    /// begin at 0. Statistics places assigned by the caller are not looked at.
    ///
    /// # Errors
    /// [`PublishError`]: they do not fit; the published rules stay.
    pub fn publish_rules(&mut self, rules: &RuleSet) -> Result<Published, PublishError> {
        let previous = self.region.load_rules().ok().map(|(_, rules)| rules);
        let mut rules = rules.clone();
        assign_stats(&mut rules, previous.as_ref(), self.region.stats_capacity());
        let places = |rules: &RuleSet| -> HashSet<(String, u32)> {
            let rules_with_paths = rules.rules();
            rules_with_paths
                .map(|(id, rule)| (rules.path(id).to_string(), rule.stats_index))
                .collect()
        };
        let kept = previous.as_ref().map(places).unwrap_or_default();
        for (_, stats_index) in places(&rules).difference(&kept) {
            if let Some(cell) = self.region.stats_cell(*stats_index) {
                cell.reset();
            }
        }
        let header = self.region.raw_header();
        // Relaxed: this process is the only writer.
        let generation = header
            .rules_generation
            .load(Ordering::Relaxed)
            .wrapping_add(1)
            .max(1);
        let buffer = self.region.rules_words(rules_area::buffer_of(generation));
        rules_area::publish(
            buffer,
            &header.rules_generation,
            generation,
            &encode(&rules),
        )?;
        self.generation.store(generation, Ordering::Relaxed);
        Ok(Published { generation, rules })
    }
}

/// The words of a header that never change once it is written, the ready word last.
fn fixed_words(header: &Header) -> impl Iterator<Item = &AtomicWord> {
    [
        &header.magic,
        &header.layout_version,
        &header.size_bytes,
        &header.region_id,
        &header.created_unix_ms,
        &header.hash_key_first,
        &header.hash_key_last,
        &header.max_keys,
        &header.buckets,
        &header.label_bytes,
        &header.rules_bytes,
    ]
    .into_iter()
    .chain(&header.section_offsets)
    .chain([&header.ready])
}

pub(super) fn lay_out(options: &RegionOptions) -> Result<Layout, OwnError> {
    Layout::of(options.shape()).ok_or(OwnError::Shape {
        max_keys: options.max_keys,
        label_bytes: options.label_bytes,
        rules_bytes: options.rules_bytes,
    })
}

/// Leaves a file alone that is no region of any version: the path may be a mistake.
pub(super) fn refuse_foreign(file: &File, path: &Path) -> Result<(), OwnError> {
    let mut start = [0; 8];
    let read = file.read_at(&mut start, 0).map_err(|source| OwnError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    // A region that was never finished begins with zeros.
    let unfinished = start == [0; 8];
    if read == start.len() && (unfinished || u64::from_le_bytes(start) == MAGIC) {
        return Ok(());
    }
    Err(OwnError::Foreign {
        path: path.to_owned(),
    })
}

/// Goes on with the region in a locked file, or says why not.
fn resume(
    file: &File,
    path: &Path,
    options: &RegionOptions,
    layout: &Layout,
) -> Result<Region, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        // Whoever owns the file can change its mode and content at will.
        return Err(format!(
            "it belongs to user {}, not to {user}",
            metadata.uid()
        ));
    }
    let mapped = open_again(file, path).map_err(|error| error.to_string())?;
    let view = RegionView::of_file(&mapped, path, Mapping::read_write)
        .map_err(|error| error.to_string())?;
    check_same(&view, options, layout)?;
    file.set_permissions(Permissions::from_mode(options.mode))
        .map_err(|error| error.to_string())?;
    // A copy that was put back may have holes, and a copy of a replaced region says so.
    rustix::fs::fallocate(
        file,
        rustix::fs::FallocateFlags::empty(),
        0,
        layout.size_bytes,
    )
    .map_err(|error| error.to_string())?;
    // Relaxed: whoever sees it looks at the path.
    view.raw_header().replaced.store(0, Ordering::Relaxed);
    Ok(Region::of_view(view))
}

/// Whether a region is of the configured sizes and hash key; what differs, if not.
pub(super) fn check_same(
    view: &RegionView,
    options: &RegionOptions,
    layout: &Layout,
) -> Result<(), String> {
    if view.shape() != layout.shape {
        return Err(format!(
            "its sizes differ from the configured ones ({:?})",
            view.shape()
        ));
    }
    if options.hash_key.is_some_and(|key| key != view.hash_key()) {
        return Err("its hash key differs from the configured one".to_owned());
    }
    Ok(())
}

/// Opens a locked file once more, to be mapped. A mapping keeps what it was made through, and with that its
/// lock: a process that leaves the right to own the region still counts in it for a while.
fn open_again(file: &File, path: &Path) -> io::Result<File> {
    let again =
        view::open(path, OpenOptions::new().read(true).write(true)).map_err(io::Error::other)?;
    let [one, other] = [file, &again].map(|file| file.metadata());
    if FileIdentity::of(&one?) == FileIdentity::of(&other?) {
        Ok(again)
    } else {
        Err(io::Error::other("another file was put in its place"))
    }
}

/// Tells those who are attached to an unusable region that it has a successor.
fn mark_replaced(file: &File, path: &Path) {
    if let Ok(view) = RegionView::of_file(file, path, Mapping::read_write) {
        // Relaxed: whoever sees it looks at the path.
        view.raw_header().replaced.store(1, Ordering::Relaxed);
    }
}

/// Makes a new region beside `path`, complete and locked, and moves it there in one step.
fn create(
    path: &Path,
    options: &RegionOptions,
    layout: &Layout,
) -> Result<(Region, File), OwnError> {
    let failed = |action| {
        move |source| OwnError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    // What a killed process left behind holds as much memory as a region.
    place::remove_leftovers(path);
    let random = draw_random().map_err(failed("draw random numbers for"))?;
    let temporary = place::temporary(path, u64::from_le_bytes(random));
    let made = make(&temporary, path, options, layout).and_then(|made| {
        std::fs::rename(&temporary, path).map_err(failed("put in place"))?;
        // Somebody who removed the file at `path` let another daemon in.
        if !made.0.is_current(path) {
            let source = io::Error::other("another process put its own file there");
            return Err(failed("put in place")(source));
        }
        Ok(made)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    made
}

fn make(
    temporary: &Path,
    path: &Path,
    options: &RegionOptions,
    layout: &Layout,
) -> Result<(Region, File), OwnError> {
    let failed = |action| {
        move |source| OwnError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let file = place::create_new(temporary, options.mode).map_err(failed("create"))?;
    file.try_lock()
        .map_err(|error| failed("lock")(error.into()))?;
    // All memory now: a page that cannot be had later would end the Envoy that touches it.
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        layout.size_bytes,
    )
    .map_err(|error| OwnError::NoRoom {
        path: path.to_owned(),
        bytes: layout.size_bytes,
        source: error.into(),
    })?;
    let identity = Identity::draw(options.hash_key).map_err(failed("draw random numbers for"))?;
    let bytes = usize::try_from(layout.size_bytes)
        .map_err(|error| failed("map")(io::Error::other(error)))?;
    let mapped = open_again(&file, temporary).map_err(failed("open"))?;
    let mapping = Arc::new(Mapping::read_write(&mapped, bytes).map_err(failed("map"))?);
    write_header(&mapping, layout, &identity).map_err(failed("write the header of"))?;
    let metadata = file.metadata().map_err(failed("examine"))?;
    let view = RegionView::of_mapping(mapping, Some(FileIdentity::of(&metadata)))
        .map_err(|error| failed("check")(io::Error::other(error)))?;
    Ok((Region::of_view(view), file))
}
