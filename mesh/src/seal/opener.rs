//! Opening datagrams.

use std::fmt;

use super::header::{Header, SenderId};
use super::key_ring::KeyRing;
use super::runs::{Run, Runs};
use super::session::{Cluster, SessionKey};
use crate::drops::DropCause;
use crate::time::Now;

/// Senders that are remembered at most, about 2 KiB each. If there are more, those not heard for longest
/// are forgotten: their next datagram is taken like a first one, and a recorded one of theirs as well.
pub const SENDERS_MAX: usize = 2_048;

/// Opens datagrams of peers, each once.
///
/// Of each actor one run is listened to: the first one heard, until there is one of a higher incarnation.
/// What came before this opener began is not known, so a recorded datagram of an actor not heard yet
/// opens. Counts do not mind, as merging keeps the larger one; whoever acts on anything else in a body
/// must bear to see it again.
pub struct Opener {
    cluster: Cluster,
    own: SenderId,
    keys: KeyRing,
    runs: Runs,
}

/// A datagram that was sealed by a member of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'d> {
    /// Who sealed it. The actor may be this host's own: of an earlier run, or of a copied region.
    pub sender: SenderId,
    /// Its number among all that the sender sealed, to whomever.
    pub sequence: u64,
    /// What it says.
    pub body: &'d [u8],
}

impl Opener {
    /// An opener for the process run `own`.
    pub fn new(keys: &KeyRing, cluster: &str, own: SenderId) -> Self {
        Self {
            cluster: Cluster::new(cluster),
            own,
            keys: keys.clone(),
            runs: Runs::new(SENDERS_MAX),
        }
    }

    /// Opens with another ring's keys from now on. What was seen of senders is kept.
    pub fn replace_keys(&mut self, keys: &KeyRing) {
        let before = std::mem::replace(&mut self.keys, keys.clone());
        self.runs
            .retain_keys(|id| keys.find(id).is_some() && keys.find(id) == before.find(id));
    }

    /// How many senders are remembered; at most [`SENDERS_MAX`].
    pub fn senders(&self) -> usize {
        self.runs.len()
    }

    /// Opens a datagram in place.
    ///
    /// The cheapest checks come first, and nothing is remembered of a datagram that does not open.
    ///
    /// # Errors
    /// Why it is to be dropped; its bytes are of no use any more. No cause proves who sent it: until a
    /// datagram has opened, anyone may have made it.
    pub fn open<'d>(&mut self, now: Now, datagram: &'d mut [u8]) -> Result<Opened<'d>, DropCause> {
        let header = Header::parse(datagram)?;
        let Header {
            sender, sequence, ..
        } = header;
        if header.cluster_tag != self.cluster.tag {
            return Err(DropCause::OtherCluster);
        }
        if sender == self.own {
            return Err(DropCause::FromSelf);
        }
        if sender.incarnation > now.incarnation_max() {
            return Err(DropCause::IncarnationAhead);
        }
        let key = self.keys.find(header.key_id).ok_or(DropCause::UnknownKey)?;
        let run = self.runs.of(sender.actor);
        if run.is_some_and(|run| !run.admits(&header, now)) {
            return Err(DropCause::Replayed);
        }
        let (body, derived) = if let Some(known) = run.and_then(|run: &Run| run.key(&header)) {
            (known.open(&header, datagram), None)
        } else {
            let derived =
                SessionKey::derive(&self.keys.material(key), key.id, &self.cluster, sender)
                    .map_err(|_| DropCause::Unauthentic)?;
            (derived.open(&header, datagram), Some(derived))
        };
        let body = body.map_err(|_| DropCause::Unauthentic)?;
        self.runs.note(now, &header, derived);
        Ok(Opened {
            sender,
            sequence,
            body,
        })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("own", &self.own)
            .field("keys", &self.keys)
            .field("senders", &self.senders())
            .finish_non_exhaustive()
    }
}
