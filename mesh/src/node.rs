//! One node's mesh.

use std::net::SocketAddr;

use crate::counters::Counters;
use crate::outbox::Outbox;
use crate::seal::KeyRing;
use crate::settings::{Local, Settings};
use crate::status::Status;
use crate::time::Now;

/// One node's mesh: everything between the datagrams of its peers and the counters of its region.
#[derive(Debug)]
pub struct Mesh {}

impl Mesh {
    /// A mesh that knows nobody yet. It scans the counters once: what an earlier run counted is news to
    /// peers that have not heard it.
    pub fn new(
        _settings: Settings,
        _local: Local,
        _keys: &KeyRing,
        _seed: u64,
        _now: Now,
        _counters: &mut impl Counters,
    ) -> Self {
        Self {}
    }

    /// Says hello to these addresses, which bootstrap names lead to; again and again is fine.
    pub fn join(&mut self, _now: Now, _addresses: &[SocketAddr], _out: &mut Outbox) {}

    /// Nobody to join: this node is the first, and ready at once.
    pub fn join_nobody(&mut self) {}

    /// Takes a datagram in. It is opened in place.
    pub fn receive(
        &mut self,
        _now: Now,
        _from: SocketAddr,
        _datagram: &mut [u8],
        _counters: &mut impl Counters,
        _out: &mut Outbox,
    ) {
    }

    /// Does what is due; call it every [`Settings::tick_us`].
    pub fn tick(&mut self, _now: Now, _counters: &mut impl Counters, _out: &mut Outbox) {}

    /// Tells everybody goodbye, with the last counts.
    pub fn leave(&mut self, _now: Now, _counters: &mut impl Counters, _out: &mut Outbox) {}

    /// Seals and opens with other keys from now on.
    pub fn replace_keys(&mut self, _keys: &KeyRing) {}

    /// Notes datagrams that the system did not send.
    pub fn note_unsent(&mut self, _datagrams: u64) {}

    /// Whether a snapshot was received, or is not waited for any longer.
    pub fn is_joined(&self) -> bool {
        true
    }

    /// How everything is, for operators.
    pub fn status(&self, _now: Now) -> Status {
        Status {
            actor: String::new(),
            name: String::new(),
            address: ([127, 0, 0, 1], 1).into(),
            cluster: String::new(),
            sealed: false,
            joined: true,
            keys: 0,
            actors: 0,
            peers: Vec::new(),
            traffic: Vec::new(),
            drops: Vec::new(),
            probe: crate::status::ProbeStatus::default(),
            overshoot: Vec::new(),
        }
    }
}
