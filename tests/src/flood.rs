//! Datagrams that nobody should heed, and very many of them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use hivemind_mesh::seal::{KeyRing, OVERHEAD_BYTES, SealError, Sealer, SenderId};
use hivemind_mesh::wire::sections::Hello;
use hivemind_mesh::wire::{Kind, writer};
use hivemind_shared::clock::unix_time_ms;

/// Where the name of the key is in a datagram.
const KEY_ID: std::ops::Range<usize> = 6..10;

/// How far ahead of the clock the run of a forgery begins, milliseconds: one that is a day ahead is refused
/// unopened.
const AHEAD_MS: u64 = 3_600_000;

/// Datagrams of a kind.
const OF_A_KIND: usize = 200;

/// Somebody without the keys of a cluster.
#[derive(Debug)]
pub struct Forger<'c> {
    /// The cluster's name.
    pub cluster: &'c str,
    /// The keys it has instead.
    pub keys: KeyRing,
    /// Where it wants answers.
    pub address: SocketAddr,
}

impl Forger<'_> {
    /// Datagrams that claim to be from this actor and ask for an answer: sealed with a key of its own,
    /// the same under the name of an honest key, and garbage, as many of each.
    ///
    /// # Errors
    ///
    /// [`SealError`], of which none is possible here.
    pub fn datagrams(&self, actor: u64, honest: &KeyRing) -> Result<Vec<Vec<u8>>, SealError> {
        let sender = SenderId {
            actor,
            // Of an earlier run than the one that is heard, they would be dropped without a closer look.
            incarnation: unix_time_ms() + AHEAD_MS,
            session: 1,
        };
        let hello = Hello {
            wants_answer: true,
            address: self.address,
            name: "forger".to_owned(),
        };
        let mut sealer = Sealer::new(&self.keys, self.cluster, sender);
        let mut datagrams = Vec::new();
        for number in 0..OF_A_KIND {
            let mut foreign = Vec::new();
            sealer.seal(&mut foreign, |body| {
                writer::head(body, Kind::Hello);
                hello.write(body);
            })?;
            let mut renamed = foreign.clone();
            for id in honest.key_ids().take(1) {
                renamed[KEY_ID].copy_from_slice(&id.to_le_bytes());
            }
            // The beginning of a datagram, or bytes as good as random.
            let garbage = match number % 2 {
                0 => foreign[..number % OVERHEAD_BYTES].to_vec(),
                _ => foreign.iter().rev().copied().collect(),
            };
            datagrams.extend([foreign, renamed, garbage]);
        }
        Ok(datagrams)
    }
}

/// Sends these datagrams again and again, this many a second to each target, for so long; hands back how
/// many went to each.
///
/// # Errors
///
/// When the system refuses the socket or a datagram.
pub fn flood(
    datagrams: &[Vec<u8>],
    targets: &[SocketAddr],
    per_s: u64,
    duration: Duration,
) -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let began = Instant::now();
    let mut sent = 0;
    let mut datagrams = datagrams.iter().cycle();
    while began.elapsed() < duration {
        let due = began.elapsed().as_secs_f64() * per_s as f64;
        while (sent as f64) < due
            && let Some(datagram) = datagrams.next()
        {
            for target in targets {
                socket.send_to(datagram, target)?;
            }
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(sent)
}
