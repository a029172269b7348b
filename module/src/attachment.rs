//! Finding the region, and finding it again.
//!
//! A process has one [`Attachment`] for each path, however many configurations name it. Requests read
//! its state without a lock. Once a second, by the coarse clock, the first request of that second looks
//! whether the file at the path is still the one that is mapped, and tries to attach when it is not: so
//! a region that appears later, comes back or is replaced is found within a second of traffic, and a
//! missing one costs no more than one failed `open` a second.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use envoy_proxy_dynamic_modules_rust_sdk::{envoy_log_info, envoy_log_warn};
use hivemind_shared::clock::CoarseClock;
use hivemind_shared::decision::Limiter;
use hivemind_shared::region::{AttachError, Region, User};
use hivemind_shared::sync::{AtomicWord, Ordering};

use crate::health::{Health, Notice};

/// What there is to decide with.
#[derive(Debug)]
pub(crate) enum State {
    /// A region.
    Attached(Limiter<CoarseClock>),
    /// None, and why.
    Detached(AttachError),
}

/// The region at one path, or the search for it.
#[derive(Debug)]
pub(crate) struct Attachment {
    path: PathBuf,
    /// Who may own the region besides those who may everywhere.
    trusted: Option<User>,
    // Shared on its own, for the threads' caches.
    state: Arc<ArcSwap<State>>,
    /// The second in which somebody looked at the path last.
    looked_at_s: AtomicWord,
    /// Held while somebody looks, so that two slow looks do not overtake each other.
    looking: Mutex<()>,
    health: Health,
}

/// This process's attachments, by path.
static ATTACHMENTS: Mutex<Vec<Weak<Attachment>>> = Mutex::new(Vec::new());

/// The attachment of this path and owner, which all configurations that name them share. A new one looks at once.
pub(crate) fn of(path: &Path, trusted: Option<User>, now_s: u64) -> Arc<Attachment> {
    let mut attachments = lock(&ATTACHMENTS);
    attachments.retain(|attachment| attachment.strong_count() > 0);
    let known = attachments
        .iter()
        .filter_map(Weak::upgrade)
        .find(|known| known.path == path && known.trusted == trusted);
    known.unwrap_or_else(|| {
        let attachment = Arc::new(Attachment::new(path, trusted, now_s));
        attachments.push(Arc::downgrade(&attachment));
        attachment
    })
}

impl Attachment {
    fn new(path: &Path, trusted: Option<User>, now_s: u64) -> Self {
        let attachment = Self {
            path: path.to_owned(),
            trusted,
            state: Arc::new(ArcSwap::from_pointee(State::Detached(
                AttachError::NotReady,
            ))),
            looked_at_s: AtomicWord::new(now_s),
            looking: Mutex::new(()),
            health: Health::default(),
        };
        attachment.attach(now_s);
        attachment
    }

    /// The state as it is; threads keep a cache of it.
    pub(crate) fn state(&self) -> &Arc<ArcSwap<State>> {
        &self.state
    }

    /// Makes sure that somebody looked at the path in this second. Called for every request.
    #[inline]
    pub(crate) fn look(&self, now_s: u64) {
        // Relaxed: whoever changes the second looks, and publishes what was found through `state`.
        let looked_at_s = self.looked_at_s.load(Ordering::Relaxed);
        // Not "later than": a clock that steps back must not stop the looking.
        if looked_at_s != now_s {
            self.look_again(looked_at_s, now_s);
        }
    }

    /// Notes that a request could not be decided, and why; logs it when that is news.
    #[cold]
    pub(crate) fn report(&self, cause: &'static str, error: &dyn std::error::Error, now_s: u64) {
        if self.health.failed(cause, now_s) == Notice::New {
            envoy_log_warn!(
                "hivemind: requests cannot be decided by the region at {} ({cause}): {error}; the \
                 failure mode applies",
                self.path.display()
            );
        }
    }

    #[cold]
    fn look_again(&self, looked_at_s: u64, now_s: u64) {
        let claimed = self.looked_at_s.compare_exchange(
            looked_at_s,
            now_s,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if claimed.is_err() {
            return;
        }
        let Ok(_looking) = self.looking.try_lock() else {
            return;
        };
        match &**self.state.load() {
            State::Attached(limiter) if limiter.region().is_current(&self.path) => {
                if self.health.steady(now_s) == Notice::New {
                    envoy_log_info!("hivemind: requests are decided again");
                }
            }
            _ => self.attach(now_s),
        }
    }

    fn attach(&self, now_s: u64) {
        match Region::attach_to(&self.path, self.trusted) {
            Ok(region) => {
                envoy_log_info!(
                    "hivemind: counting in region {:016x} at {}",
                    region.region_id(),
                    self.path.display()
                );
                let limiter = Limiter::new(Arc::new(region), CoarseClock);
                self.state.store(Arc::new(State::Attached(limiter)));
                self.health.recovered();
            }
            Err(error) => {
                self.report(error.cause(), &error, now_s);
                let same_as_before = matches!(
                    &**self.state.load(),
                    State::Detached(before) if before.cause() == error.cause()
                );
                if !same_as_before {
                    self.state.store(Arc::new(State::Detached(error)));
                }
            }
        }
    }
}

/// Locks, also after a panic elsewhere: nothing behind these locks can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use hivemind_shared::region::{OwnedRegion, RegionOptions};
    use tempfile::TempDir;

    use super::*;

    /// A directory for a region, and what an attachment makes of it.
    struct Place {
        directory: TempDir,
        attachment: Attachment,
        now_s: u64,
    }

    impl Place {
        /// The place with this file in it, if any, before anybody looks.
        fn with(bytes: Option<&[u8]>) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("region");
            if let Some(bytes) = bytes {
                fs::write(&path, bytes).unwrap();
            }
            let now_s = 1_000;
            Self {
                attachment: Attachment::new(&path, None, now_s),
                directory,
                now_s,
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("region")
        }

        fn make_region(&self) -> OwnedRegion {
            let options = RegionOptions {
                max_keys: 1_000,
                ..RegionOptions::default()
            };
            OwnedRegion::open(&self.path(), &options).unwrap().0
        }

        fn look(&self) -> Result<u64, &'static str> {
            self.attachment.look(self.now_s);
            match &**self.attachment.state().load() {
                State::Attached(limiter) => Ok(limiter.region().region_id()),
                State::Detached(error) => Err(error.cause()),
            }
        }

        fn look_next_second(&mut self) -> Result<u64, &'static str> {
            self.now_s += 1;
            self.look()
        }
    }

    #[test]
    fn a_region_that_is_there_is_attached_at_once() {
        let mut place = Place::with(None);
        let region = place.make_region();
        let attachment = Attachment::new(&place.path(), None, place.now_s);
        place.attachment = attachment;
        assert_eq!(place.look(), Ok(region.region().region_id()));
    }

    #[test]
    fn a_region_that_is_made_later_is_found_in_the_next_second() {
        let mut place = Place::with(None);
        assert_eq!(place.look(), Err("region_missing"));
        let region = place.make_region();
        assert_eq!(
            place.look(),
            Err("region_missing"),
            "looked twice in one second"
        );
        assert_eq!(place.look_next_second(), Ok(region.region().region_id()));
    }

    #[test]
    fn a_region_that_is_removed_is_let_go_and_its_successor_found() {
        let mut place = Place::with(None);
        let first = place.make_region();
        let first_id = first.region().region_id();
        assert_eq!(place.look_next_second(), Ok(first_id));
        drop(first);
        fs::remove_file(place.path()).unwrap();
        assert_eq!(place.look(), Ok(first_id), "looked twice in one second");
        assert_eq!(place.look_next_second(), Err("region_missing"));
        let second = place.make_region();
        assert_ne!(second.region().region_id(), first_id);
        assert_eq!(place.look_next_second(), Ok(second.region().region_id()));
    }

    #[test]
    fn a_region_that_is_replaced_in_one_step_is_exchanged() {
        let mut place = Place::with(None);
        let first = place.make_region();
        assert_eq!(place.look_next_second(), Ok(first.region().region_id()));
        let elsewhere = Place::with(None);
        let second = elsewhere.make_region();
        fs::rename(elsewhere.path(), place.path()).unwrap();
        assert_eq!(place.look_next_second(), Ok(second.region().region_id()));
    }

    #[test]
    fn a_region_that_is_away_for_a_moment_is_found_again() {
        let mut place = Place::with(None);
        let region = place.make_region();
        let id = region.region().region_id();
        assert_eq!(place.look_next_second(), Ok(id));
        let away = place.directory.path().join("away");
        for _ in 0..3 {
            fs::rename(place.path(), &away).unwrap();
            assert_eq!(place.look_next_second(), Err("region_missing"));
            fs::rename(&away, place.path()).unwrap();
            assert_eq!(place.look_next_second(), Ok(id));
        }
    }

    #[test]
    fn a_region_is_kept_whatever_another_process_says_of_its_replacement() {
        let mut place = Place::with(None);
        let _region = place.make_region();
        place.look_next_second().unwrap();
        let before = place.attachment.state().load_full();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(place.path())
            .unwrap();
        // The header's word `replaced`.
        file.write_all_at(&1_u64.to_le_bytes(), 272).unwrap();
        for _ in 0..3 {
            place.look_next_second().unwrap();
        }
        let after = place.attachment.state().load_full();
        assert!(Arc::ptr_eq(&before, &after), "attached again for nothing");
    }

    #[test]
    fn a_clock_that_steps_back_does_not_stop_the_looking() {
        let mut place = Place::with(None);
        let region = place.make_region();
        place.now_s -= 500;
        assert_eq!(place.look(), Ok(region.region().region_id()));
    }

    #[test]
    fn files_that_are_no_region_have_their_causes_and_stay_as_they_are() {
        let model = Place::with(None);
        drop(model.make_region());
        let whole = fs::read(model.path()).unwrap();
        let mut other_version = whole.clone();
        other_version[8] ^= 0x40;
        let mut unready = whole.clone();
        unready[16..24].fill(0);
        let mut damaged = whole.clone();
        damaged[64..72].fill(0xff);
        let random: Vec<u8> = (0_u32..9_000)
            .flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes())
            .collect();
        let cases: [(&[u8], &str); 8] = [
            (b"", "region_not_ready"),
            (b"not a region", "region_truncated"),
            (&random, "region_foreign"),
            (&whole[..4_096], "region_truncated"),
            (&whole[..whole.len() - 1], "region_truncated"),
            (&other_version, "region_version"),
            (&unready, "region_not_ready"),
            (&damaged, "region_damaged"),
        ];
        for (bytes, cause) in cases {
            let mut place = Place::with(Some(bytes));
            assert_eq!(place.look(), Err(cause));
            assert_eq!(fs::read(place.path()).unwrap(), bytes);
            fs::remove_file(place.path()).unwrap();
            let region = place.make_region();
            assert_eq!(
                place.look_next_second(),
                Ok(region.region().region_id()),
                "after {cause}"
            );
        }
    }

    #[test]
    fn a_directory_is_no_region() {
        let place = Place::with(None);
        let attachment = Attachment::new(place.directory.path(), None, 1);
        let state = attachment.state().load();
        assert!(matches!(&**state, State::Detached(error) if error.cause() == "region_unreadable"));
    }

    #[test]
    fn configurations_that_name_one_path_share_one_attachment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("region");
        let one = of(&path, None, 1);
        let other = of(&path, None, 1);
        assert!(Arc::ptr_eq(&one, &other));
        let elsewhere = of(&directory.path().join("other"), None, 1);
        assert!(!Arc::ptr_eq(&one, &elsewhere));
        let of_another_user = of(&path, Some(User::of_id(65_532)), 1);
        assert!(!Arc::ptr_eq(&one, &of_another_user));
        drop((one, other, of_another_user));
        let registered = lock(&ATTACHMENTS)
            .iter()
            .filter_map(Weak::upgrade)
            .any(|known| known.path == path);
        assert!(
            !registered,
            "the last configuration is gone, and the mapping with it"
        );
    }
}
