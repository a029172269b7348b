//! The wire between the hosts: a thread that carries packets from one TUN device to another, and
//! mistreats them on the way.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use tun_rs::SyncDevice;

use super::carrier::Carrier;
use super::impairment::{Dice, Impairment};

/// What has happened on one direction of a link, in packets unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed to the receiver, second copies included.
    pub forwarded: u64,
    /// Lost by a throw of the dice, or because the receiver or the wire had no room.
    pub lost: u64,
    /// Not carried because the link was cut.
    pub cut: u64,
    /// Given a second copy.
    pub doubled: u64,
    /// Bytes handed to the receiver, IP headers included.
    pub bytes: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) impairment: Impairment,
    pub(super) dice: Dice,
    /// How many packets the dice were thrown for.
    pub(super) thrown: u64,
    pub(super) counters: Counters,
}

/// The end of the wire at one host.
pub(super) struct End {
    /// The host's addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// The host's TUN device.
    pub(super) device: SyncDevice,
}

/// What the handle and the thread share.
pub(super) struct Shared {
    links: Mutex<Vec<Vec<Link>>>,
    /// Readable when the thread is to look up.
    pub(super) bell: OwnedFd,
    pub(super) stop: AtomicBool,
}

impl Shared {
    /// The links, first by sender, then by receiver.
    pub(super) fn links(&self) -> MutexGuard<'_, Vec<Vec<Link>>> {
        // Plain numbers: nobody leaves them half written.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wire. Hosts are named by their index in the lab, from 0; one that is not there is a mistake in the
/// caller and ends in a panic. Dropping it cuts everything for good.
pub struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Connects these ends, perfectly at first. What will go wrong depends on `seed`.
    pub(super) fn connect(seed: u64, ends: Vec<End>) -> io::Result<Self> {
        let link = |from, to| Link {
            impairment: Impairment::NONE,
            dice: Dice::new(seed, from, to),
            thrown: 0,
            counters: Counters::default(),
        };
        let row = |from| (0..ends.len()).map(|to| link(from, to)).collect();
        let shared = Arc::new(Shared {
            links: Mutex::new((0..ends.len()).map(row).collect()),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
        });
        let carrier = Carrier::new(Arc::clone(&shared), ends)?;
        let thread = std::thread::Builder::new()
            .name("lab-wire".to_owned())
            .spawn(move || carrier.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Changes every link, in both directions.
    pub fn set_all(&self, impairment: Impairment) {
        self.change_all(|it| *it = impairment);
    }

    /// Changes what happens to packets from one host to another, not to those that come back.
    pub fn set(&self, from: usize, to: usize, impairment: Impairment) {
        self.shared.links()[from][to].impairment = impairment;
    }

    /// Lets nothing pass between the hosts of one side and those of the other. What is on its way
    /// already arrives.
    pub fn partition(&self, side: &[usize], other: &[usize]) {
        let mut links = self.shared.links();
        for (&one, &another) in side
            .iter()
            .flat_map(|it| other.iter().map(move |o| (it, o)))
        {
            links[one][another].impairment.cut = true;
            links[another][one].impairment.cut = true;
        }
    }

    /// Cuts one direction.
    pub fn cut(&self, from: usize, to: usize) {
        self.shared.links()[from][to].impairment.cut = true;
    }

    /// Mends every cut. Other settings stay.
    pub fn heal(&self) {
        self.change_all(|it| it.cut = false);
    }

    /// What has happened from one host to another.
    pub fn counters(&self, from: usize, to: usize) -> Counters {
        self.shared.links()[from][to].counters
    }

    fn change_all(&self, change: impl Fn(&mut Impairment)) {
        let mut links = self.shared.links();
        for link in links.iter_mut().flatten() {
            change(&mut link.impairment);
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("links", &*self.shared.links())
            .finish_non_exhaustive()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Full means that it rings already.
        let _ = rustix::io::write(&self.shared.bell, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
