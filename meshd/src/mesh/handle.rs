//! How the rest of meshd talks to the mesh's thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hivemind_mesh::seal::KeyRing;
use hivemind_mesh::status::{PeerState, Status};
use hivemind_shared::region::Forgiven;
use hivemind_shared::table::Key;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::alone::Found;
use crate::handover::Estate;
use crate::region_owner::RegionRun;

/// How long the thread has to answer; it looks up every few milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What the thread can be told.
#[derive(Debug)]
pub(super) enum Command {
    /// Where peers of the meshd before this one were.
    Join(Vec<SocketAddr>),
    /// Where bootstrap peers may be.
    Found(Found),
    /// Other keys to seal and open with.
    ReplaceKeys(KeyRing),
    /// What is wrong with the key file, or that nothing is any more.
    KeyFile(Option<String>),
    /// Counts are in another region from now on.
    MoveTo(RegionRun),
    /// Send nothing and take nothing in until [`Command::MoveTo`], and tell what the next one has to
    /// know.
    Rest(mpsc::Sender<Estate>),
    /// How is everything?
    Tell(oneshot::Sender<Arc<Status>>),
    /// The hits of these keys count no longer, here and at peers. What counted?
    Forgive(
        Vec<Key>,
        oneshot::Sender<Result<Vec<Forgiven>, NotForgiven>>,
    ),
    /// Say goodbye and end.
    Stop,
}

/// Why hits were not forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForgiven {
    /// What each peer has counted is not known yet.
    NotJoined,
    /// Another meshd goes on under the same name: its mesh has to do it.
    Rests,
    /// The thread has ended.
    Ended,
    /// The thread does not answer. It may have done it, or do it later.
    NoAnswer,
}

/// The way to the mesh's thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct MeshHandle {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    published: Arc<ArcSwapOption<Status>>,
}

/// The thread's end of it.
#[derive(Debug)]
pub(super) struct Inbox {
    commands: mpsc::Receiver<Command>,
    wake: Arc<OwnedFd>,
    published: Arc<ArcSwapOption<Status>>,
}

impl MeshHandle {
    /// A handle and what it leads to.
    ///
    /// # Errors
    ///
    /// When the operating system has no more file descriptors.
    pub(super) fn new() -> io::Result<(Self, Inbox)> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, inbox) = mpsc::channel();
        let published = Arc::default();
        let handle = Self {
            commands,
            wake: Arc::clone(&wake),
            published: Arc::clone(&published),
        };
        let inbox = Inbox {
            commands: inbox,
            wake,
            published,
        };
        Ok((handle, inbox))
    }

    /// Tells the thread something; false when it has ended.
    pub(super) fn tell(&self, command: Command) -> bool {
        let is_there = self.commands.send(command).is_ok();
        // Fails only when it has been woken 2^64 times and not looked up once.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        is_there
    }

    /// How the mesh was within the last second; `None` before it has begun.
    pub fn last_status(&self) -> Option<Arc<Status>> {
        self.published.load_full()
    }

    /// How the mesh is now; how it was when its thread does not answer.
    pub async fn status(&self) -> Option<Arc<Status>> {
        let (answer, told) = oneshot::channel();
        if self.tell(Command::Tell(answer))
            && let Ok(Ok(status)) = tokio::time::timeout(ANSWER_TIMEOUT, told).await
        {
            return Some(status);
        }
        self.last_status()
    }

    /// Forgives all hits that are known to be counted for these keys, here and at every peer; says what counted.
    ///
    /// # Errors
    ///
    /// [`NotForgiven`]; only after [`NotForgiven::NoAnswer`] may hits be forgiven all the same.
    pub async fn forgive(&self, keys: Vec<Key>) -> Result<Vec<Forgiven>, NotForgiven> {
        let (answer, told) = oneshot::channel();
        if !self.tell(Command::Forgive(keys, answer)) {
            return Err(NotForgiven::Ended);
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(NotForgiven::Ended),
            Err(_) => Err(NotForgiven::NoAnswer),
        }
    }

    /// Whether [`Self::forgive`] would forgive anything now.
    ///
    /// # Errors
    ///
    /// As of that.
    pub async fn can_forgive(&self) -> Result<(), NotForgiven> {
        self.forgive(Vec::new()).await.map(drop)
    }

    /// Whether no peer is known to be there.
    pub(super) fn is_alone(&self) -> bool {
        self.last_status().is_none_or(|status| {
            let mut peers = status.peers.iter();
            !peers.any(|peer| peer.state == PeerState::Alive)
        })
    }
}

impl Inbox {
    /// The next command, if there is one.
    pub(super) fn next(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(mpsc::TryRecvError::Empty) => None,
            // There is nobody left who could ask for anything.
            Err(mpsc::TryRecvError::Disconnected) => Some(Command::Stop),
        }
    }

    /// Is readable when there may be commands.
    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Forgets that it was woken; to be called before looking for commands.
    pub(super) fn quiet(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    /// Shows how everything is.
    pub(super) fn publish(&self, status: Arc<Status>) {
        self.published.store(Some(status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_slow_may_forgive_later_and_one_that_has_ended_does_not() {
        let (handle, inbox) = MeshHandle::new().unwrap();
        assert_eq!(handle.forgive(Vec::new()).await, Err(NotForgiven::NoAnswer));
        // It was asked all the same.
        assert!(matches!(inbox.next(), Some(Command::Forgive(..))));
        let asked = {
            let handle = handle.clone();
            tokio::spawn(async move { handle.can_forgive().await })
        };
        tokio::task::yield_now().await;
        drop(inbox);
        assert_eq!(asked.await.unwrap(), Err(NotForgiven::Ended));
        assert_eq!(handle.can_forgive().await, Err(NotForgiven::Ended));
    }
}
