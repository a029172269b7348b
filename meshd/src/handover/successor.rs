//! The owner's half: lets newcomers in, one at a time, and hands over to the first that wants everything.

use std::future::pending;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use super::belongings::{self, Belongings, Role};
use super::door::{Door, same_user};
use super::message::{Message, PROTOCOL, receive, send};
use super::succession::{Kept, Party, Succession};
use crate::mesh::MeshService;
use crate::region_owner::RegionOwner;

/// How long a newcomer has for each of its words, as long as it owns nothing.
const WORD_TIMEOUT: Duration = Duration::from_secs(10);

/// How often to say that a newcomer that owns the region is not ready yet.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// How long to leave the door alone after it failed: the usual cause is that file descriptors have run
/// out.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// What is handed over.
#[derive(Debug)]
pub struct Household<'a> {
    /// The region.
    pub owner: &'a RegionOwner,
    /// The mesh, if there is one.
    pub mesh: Option<&'a MeshService>,
    /// The sockets, the door among them.
    pub belongings: &'a Belongings,
    /// How this meshd came to have all this.
    pub succession: &'a Succession,
}

/// The meshd that serves now.
#[derive(Debug)]
pub struct Successor {
    /// Its process, if that can be seen from here.
    pub pid: Option<i32>,
    /// The Unix sockets it uses of those it was offered: their files are its own now.
    pub kept: Vec<Role>,
}

impl Household<'_> {
    /// Lets newcomers in until one of them serves. Without a door, for ever. Whoever stops waiting in the
    /// middle has possibly handed over already: the region's owner rests then, and stays so.
    pub async fn handed_over(&self, door: Option<&Door>) -> Successor {
        let Some(door) = door else {
            return pending().await;
        };
        loop {
            match self.welcome(door).await {
                Ok(successor) => return successor,
                Err(error) => {
                    warn!(%error, "nobody can be let in at the door, trying again");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    async fn welcome(&self, door: &Door) -> io::Result<Successor> {
        let door = UnixListener::from_std(door.share()?)?;
        loop {
            let (socket, _) = door.accept().await?;
            let pid = match same_user(&socket) {
                Ok(pid) => pid,
                Err(error) => {
                    warn!(%error, "somebody was sent away from the door");
                    continue;
                }
            };
            let mut newcomer = Newcomer {
                socket,
                pid,
                node: String::new(),
            };
            match self.talk(&mut newcomer).await {
                Ok(Talk::Serves(kept)) => {
                    let successor = newcomer.party();
                    if let Some(told) = self.succession.short_stay(&successor, Instant::now()) {
                        warn!("{told}");
                    }
                    return Ok(Successor { pid, kept });
                }
                Ok(Talk::Refused) => {}
                Ok(Talk::Left) => {
                    info!(newcomer = pid, "the newcomer has left, this meshd goes on");
                }
                Err(error) => {
                    warn!(newcomer = pid, %error, "the newcomer is not to be understood, this meshd goes on");
                }
            }
        }
    }

    /// Hands over, if it comes to that.
    async fn talk(&self, newcomer: &mut Newcomer) -> io::Result<Talk> {
        match newcomer.next_word().await? {
            Some(Message::Ask {
                protocol: PROTOCOL,
                node,
            }) => newcomer.node = node,
            Some(Message::Ask { protocol, .. }) => {
                let reason = format!(
                    "hand-overs of version {protocol} are unknown here, stop this meshd first"
                );
                newcomer.say(&Message::Refusal { reason }, &[])?;
                return Ok(Talk::Left);
            }
            Some(_) => return Err(out_of_turn()),
            None => return Ok(Talk::Left),
        }
        let party = newcomer.party();
        if let Err(Kept { reason, is_news }) = self.succession.admit(&party, Instant::now()) {
            if is_news {
                warn!("this meshd does not hand over: {reason}");
            }
            newcomer.say(&Message::Refusal { reason }, &[])?;
            return Ok(Talk::Refused);
        }
        info!(newcomer = %party, "a newcomer asks to take over");
        // The file may be another one than last time.
        let Some(lock) = self.owner.share_lock()? else {
            return Ok(Talk::Left);
        };
        let mut offer = Belongings::default();
        offer.add(Role::RegionLock, lock)?;
        let (mut labels, mut handles) = offer.parts();
        let (more_labels, more_handles) = self.belongings.parts();
        labels.extend(more_labels);
        handles.extend(more_handles);
        let own = self.succession.own();
        let offer = Message::Offer {
            labels,
            network: belongings::network(),
            node: own.node.clone(),
            pid: own.pid.filter(|_| newcomer.pid.is_some()),
            in_a_row: self.succession.with_another(Instant::now()),
        };
        newcomer.say(&offer, &handles)?;
        match newcomer.next_word().await? {
            Some(Message::Take) => {}
            Some(_) => return Err(out_of_turn()),
            None => return Ok(Talk::Left),
        }

        self.owner.rest();
        let estate = self.mesh.map(MeshService::rest).unwrap_or_default();
        // From here on the newcomer is the owner, until it serves or is no more.
        let told = newcomer.say(&Message::Yours(estate), &[]);
        let kept = match told {
            Ok(()) => newcomer.is_ready().await,
            Err(error) => Err(error),
        };
        if !matches!(kept, Ok(Some(_))) {
            self.owner.go_on();
        }
        Ok(kept?.map_or(Talk::Left, Talk::Serves))
    }
}

/// How a conversation ended.
enum Talk {
    /// The newcomer serves, and uses these Unix sockets.
    Serves(Vec<Role>),
    /// It left before it served.
    Left,
    /// It was told that this meshd stays.
    Refused,
}

/// A newcomer that was let in.
struct Newcomer {
    socket: UnixStream,
    /// `None` when it cannot be seen from here.
    pid: Option<i32>,
    /// Its name, once it has told it.
    node: String,
}

impl Newcomer {
    fn party(&self) -> Party {
        Party {
            node: self.node.clone(),
            pid: self.pid.and_then(|pid| u32::try_from(pid).ok()),
        }
    }

    fn say(&self, message: &Message, handles: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.socket, message, handles)
    }

    /// What it says next, `None` when it has left.
    async fn word(&self) -> io::Result<Option<Message>> {
        let heard = self
            .socket
            .async_io(Interest::READABLE, || receive(&self.socket));
        // It has no handles to give.
        Ok(heard.await?.map(|(message, _)| message))
    }

    /// The same, within [`WORD_TIMEOUT`].
    async fn next_word(&self) -> io::Result<Option<Message>> {
        tokio::time::timeout(WORD_TIMEOUT, self.word()).await?
    }

    /// Waits until it serves; `None` when it ended instead.
    async fn is_ready(&self) -> io::Result<Option<Vec<Role>>> {
        loop {
            let Ok(word) = tokio::time::timeout(REPORT_INTERVAL, self.word()).await else {
                warn!(
                    newcomer = self.pid,
                    "the newcomer has the region but does not serve yet; if it hangs, kill it and this \
                     meshd goes on"
                );
                continue;
            };
            match word {
                Ok(Some(Message::Ready { kept })) => return Ok(Some(kept)),
                Ok(None) => return Ok(None),
                // It may own the region all the same: only its end is the end of that.
                Ok(Some(_)) => warn!(newcomer = self.pid, "the newcomer speaks out of turn"),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    warn!(newcomer = self.pid, %error, "the newcomer is not to be understood");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn out_of_turn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message out of turn")
}
