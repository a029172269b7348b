//! The newcomer's half: waits for the region, and takes over from the meshd that has it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hivemind_shared::region::{MadeDirectory, OwnError, RegionLock};
use tracing::{debug, info, warn};

use super::belongings::{self, Belongings, Role};
use super::door::{self, Door, be_patient};
use super::message::{Estate, Message, PROTOCOL, receive, send};
use super::succession::{Party, TakenOver};
use crate::config::Config;
use crate::failure::Failure;
use crate::region_owner::OpenError;
use crate::sockets::Sockets;

/// How often to see whether the region is free.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// How long to leave an owner alone that opened and did not hand over.
const KNOCK_INTERVAL: Duration = Duration::from_secs(1);

/// A time nobody waits for to the end.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// The region's owner did not leave it in time.
#[derive(Debug, thiserror::Error)]
#[error("{owned}. It did not hand over within {timeout:?} (region.takeover_timeout): {obstacle}")]
pub struct TakeoverError {
    owned: OwnError,
    timeout: Duration,
    obstacle: Obstacle,
}

/// Why the owner did not hand over.
#[derive(Debug)]
enum Obstacle {
    /// Nobody opens.
    Closed(PathBuf, io::Error),
    /// Nobody answers.
    Silent,
    /// It said no, for this reason.
    Refused(String),
    /// It ended the conversation.
    Ended,
    /// It is not to be understood.
    Unclear(io::Error),
}

impl Obstacle {
    /// Whether nobody was bothered: whoever it is may open the door in a moment.
    fn is_nobody(&self) -> bool {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Closed(_, error) if absent.contains(&error.kind()))
    }

    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Silent,
            io::ErrorKind::BrokenPipe => Self::Ended,
            _ => Self::Unclear(error),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(path, source) => write!(
                f,
                "there is no way in at {} ({source}); a meshd that cannot hand over has to be stopped",
                path.display()
            ),
            Self::Silent => f.write_str("it does not answer; it may hang"),
            Self::Refused(reason) => write!(f, "it says: {reason}"),
            Self::Ended => f.write_str("it ended the conversation"),
            Self::Unclear(source) => write!(f, "its answers are of no use ({source})"),
        }
    }
}

/// What a meshd begins with.
#[derive(Debug)]
pub struct Beginning {
    /// The directory of the region, if it was made for it.
    pub directory: Option<MadeDirectory>,
    /// The right to the region.
    pub lock: RegionLock,
    /// Everything it listens on.
    pub sockets: Sockets,
    /// Where the next one knocks; none where there cannot be one.
    pub door: Option<Door>,
    /// The meshd before, which serves until it is told that this one does; none when there was none.
    pub predecessor: Option<Predecessor>,
}

/// A meshd that rests, and goes on when this is dropped.
#[derive(Debug)]
pub struct Predecessor {
    socket: OwnedFd,
    kept: Vec<Role>,
    /// What it knew.
    pub estate: Estate,
    /// Who it is, and since when this one has the region.
    pub taken_over: TakenOver,
}

impl Predecessor {
    /// Tells it that this process serves: it ends now.
    pub fn relieve(self) {
        let kept = self.kept;
        info!(from = %self.taken_over.from, "taken over from the meshd before");
        if let Err(error) = send(&self.socket, &Message::Ready { kept }, &[]) {
            debug!(%error, "the meshd before this one has ended already");
        }
    }
}

/// Gets the right to the region and all sockets: at once where nobody has them, otherwise from the one who
/// has, for whom `region.takeover_timeout` is the time.
///
/// # Errors
///
/// [`Failure`]: the region cannot be had, or a socket. The meshd that has them goes on then.
pub fn begin(config: &Config) -> Result<Beginning, Failure> {
    let region = &config.region;
    let timeout = region.takeover_timeout;
    let now = Instant::now();
    // Beyond what a clock can say is for ever.
    let deadline = now.checked_add(timeout).unwrap_or(now + FOR_EVER);
    let mut knock_at = now;
    let mut obstacle = None;
    loop {
        let owned = match RegionLock::take(&region.path, region.mode.bits()) {
            Ok(lock) => return undisturbed(lock, config),
            Err(owned @ OwnError::Owned { .. }) if !timeout.is_zero() => owned,
            Err(error) => return Err(OpenError::from(error).into()),
        };
        if obstacle.is_none()
            && let OwnError::Owned { pid, .. } = &owned
        {
            info!(
                owner = pid,
                ?timeout,
                "waiting for the meshd that owns the region to hand over"
            );
        }
        if Instant::now() >= knock_at {
            let met = match Conversation::begin(config, deadline) {
                Ok(conversation) => match conversation.take_over(config)? {
                    Ok(beginning) => return Ok(beginning),
                    Err(met) => met,
                },
                Err(met) => met,
            };
            debug!(obstacle = %met, "no hand-over yet");
            if !met.is_nobody() {
                knock_at = Instant::now() + KNOCK_INTERVAL;
            }
            obstacle = Some(met);
        }
        if Instant::now() >= deadline {
            return Err(Failure::Takeover(TakeoverError {
                owned,
                timeout,
                obstacle: obstacle.unwrap_or(Obstacle::Silent),
            }));
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
}

/// Begins where nobody else is.
fn undisturbed(mut lock: RegionLock, config: &Config) -> Result<Beginning, Failure> {
    let sockets = Sockets::open(config, &mut Belongings::default())?;
    Ok(Beginning {
        directory: lock.take_directory(),
        sockets,
        door: open_door(lock.path()),
        lock,
        predecessor: None,
    })
}

fn open_door(region: &Path) -> Option<Door> {
    let opened = Door::open(region).inspect_err(|error| {
        let path = door::path(region);
        warn!(path = %path.display(), %error, "there is no door for the next meshd: it has to wait until this one is stopped");
    });
    opened.ok()
}

/// What is said with the owner.
struct Conversation {
    socket: OwnedFd,
    deadline: Instant,
    offer: Belongings,
    from: Party,
    in_a_row: u32,
}

impl Conversation {
    /// Asks the owner, and takes what it offers.
    fn begin(config: &Config, deadline: Instant) -> Result<Self, Obstacle> {
        let region = &config.region;
        let patience = deadline.saturating_duration_since(Instant::now());
        let socket = door::knock(&region.path, patience).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Obstacle::Silent,
            _ => Obstacle::Closed(door::path(&region.path), error),
        })?;
        let ask = Message::Ask {
            protocol: PROTOCOL,
            node: config.node.name.clone(),
        };
        say(&socket, &ask)?;
        match hear(&socket, deadline)? {
            (
                Message::Offer {
                    labels,
                    network,
                    node,
                    pid,
                    in_a_row,
                },
                handles,
            ) => {
                let mut offer = Belongings::new(labels, handles);
                let here = belongings::network();
                offer.drop_ports_elsewhere(network.as_deref(), here.as_deref());
                Ok(Self {
                    socket,
                    deadline,
                    offer,
                    from: Party { node, pid },
                    in_a_row,
                })
            }
            (message, _) => Err(unexpected(message)),
        }
    }

    /// Opens what else is needed, and takes over.
    ///
    /// # Errors
    ///
    /// [`Failure`] when something cannot be opened: there is no point in asking again.
    fn take_over(mut self, config: &Config) -> Result<Result<Beginning, Obstacle>, Failure> {
        let sockets = Sockets::open(config, &mut self.offer)?;
        let region = &config.region.path;
        let Some(lock) = self.offer.take(Role::RegionLock) else {
            return Ok(Err(unclear("it offers ports without the region")));
        };
        let lock = match RegionLock::of_shared(lock, region) {
            Ok(Some(lock)) => lock,
            // Removed and made again a moment ago: there will be another offer.
            Ok(None) | Err(OwnError::Owned { .. }) => return Ok(Err(Obstacle::Ended)),
            Err(error) => return Err(OpenError::from(error).into()),
        };
        let door = self.offer.take(Role::Door);
        let told =
            say(&self.socket, &Message::Take).and_then(|()| hear(&self.socket, self.deadline));
        let estate = match told {
            Ok((Message::Yours(estate), _)) => estate,
            Ok((message, _)) => return Ok(Err(unexpected(message))),
            Err(obstacle) => return Ok(Err(obstacle)),
        };
        let taken_over = TakenOver {
            from: self.from,
            at: Instant::now(),
            in_a_row: self.in_a_row,
        };
        let mut kept = Vec::new();
        if sockets.shares_grpc_socket() {
            kept.push(Role::GrpcSocket);
        }
        let door = match door {
            Some(socket) => {
                kept.push(Role::Door);
                Some(Door::of_shared(region, socket))
            }
            None => open_door(region),
        };
        Ok(Ok(Beginning {
            directory: None,
            lock,
            sockets,
            door,
            predecessor: Some(Predecessor {
                socket: self.socket,
                kept,
                estate,
                taken_over,
            }),
        }))
    }
}

fn say(socket: &OwnedFd, message: &Message) -> Result<(), Obstacle> {
    send(socket, message, &[]).map_err(Obstacle::of)
}

fn hear(socket: &OwnedFd, deadline: Instant) -> Result<(Message, Vec<OwnedFd>), Obstacle> {
    let patience = deadline.saturating_duration_since(Instant::now());
    be_patient(socket, patience)
        .and_then(|()| receive(socket))
        .map_err(Obstacle::of)?
        .ok_or(Obstacle::Ended)
}

fn unexpected(message: Message) -> Obstacle {
    match message {
        Message::Refusal { reason } => Obstacle::Refused(reason),
        _ => unclear("the answer is to another question"),
    }
}

fn unclear(what: &'static str) -> Obstacle {
    Obstacle::Unclear(io::Error::other(what))
}
