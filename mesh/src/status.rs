//! What the mesh tells operators, as the admin port shows it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How a node's mesh is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// This node's actor id, 16 hexadecimal digits.
    pub actor: String,
    /// Its name.
    pub name: String,
    /// Where peers reach it.
    pub address: SocketAddr,
    /// The cluster.
    pub cluster: String,
    /// Whether datagrams are sealed with a secret key; otherwise anyone can make them.
    pub sealed: bool,
    /// The hash of the rules it decides by, 16 hexadecimal digits; `None` before it is known.
    #[serde(default)]
    pub rules: Option<String>,
    /// Why no peer is there though some should be; `None` while one is, or none should.
    #[serde(default)]
    pub alone: Option<String>,
    /// Whether a snapshot was received or is not waited for any longer.
    pub joined: bool,
    /// Keys with live counts, here or at peers.
    pub keys: usize,
    /// Actors with live counts, gone ones included.
    pub actors: usize,
    /// Peers, the present ones first.
    pub peers: Vec<PeerStatus>,
    /// Traffic by kind.
    pub traffic: Vec<KindTraffic>,
    /// What was dropped, by cause; causes never met are left out.
    pub drops: Vec<CauseCount>,
    /// The probe: a count that every node changes once in a while to see how long it takes to all.
    pub probe: ProbeStatus,
    /// How far each rule may at most be over its limit at this moment because news is on its way.
    pub overshoot: Vec<RuleOvershoot>,
}

/// How a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// There, as far as anybody knows.
    Alive,
    /// Does not answer; others are being asked.
    Suspect,
    /// Gone without a word.
    Down,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its actor id, 16 hexadecimal digits.
    pub actor: String,
    /// Its name; empty until it has said it.
    pub name: String,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Whether it is there.
    pub state: PeerState,
    /// The hash of the rules it decides by, 16 hexadecimal digits; `None` when it does not say.
    #[serde(default)]
    pub rules: Option<String>,
    /// Milliseconds since anything was heard from it; `None` when nothing ever was.
    pub last_heard_ms: Option<u64>,
    /// Smoothed round trip, microseconds; `None` before the first measurement.
    pub round_trip_us: Option<u64>,
    /// Share of datagrams to it that were not acknowledged, 0 to 1, over the last seconds.
    pub loss: f64,
    /// Its wall clock minus ours, milliseconds; `None` before the first measurement.
    pub skew_ms: Option<i64>,
    /// How old its hits are when they arrive here: median, microseconds; `None` without any lately.
    pub staleness_p50_us: Option<u64>,
    /// The same, 99th percentile.
    pub staleness_p99_us: Option<u64>,
    /// Datagrams sent to it.
    pub sent_datagrams: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Datagrams received from it.
    pub received_datagrams: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Counts that wait to be sent to it alone: retransmissions and snapshots.
    pub backlog: usize,
    /// Whether it is known to have all that this node has counted, but for what is on its way.
    pub in_sync: bool,
}

/// Datagrams and bytes of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindTraffic {
    /// The kind: what the datagram was sent for.
    pub kind: String,
    /// Datagrams sent, one for each receiver.
    pub sent_datagrams: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub received_datagrams: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// How often something was dropped for one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseCount {
    /// The cause, as [`crate::drops::DropCause::name`] has it.
    pub cause: String,
    /// How often.
    pub count: u64,
}

/// The last probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Probes sent so far.
    pub sent: u64,
    /// How long the last complete one took until every present peer had it, microseconds.
    pub last_us: Option<u64>,
    /// Median of the last ones, microseconds.
    pub p50_us: Option<u64>,
    /// Their 99th percentile.
    pub p99_us: Option<u64>,
}

/// The present overshoot estimate of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleOvershoot {
    /// The rule's statistics index in the region.
    pub rule: u32,
    /// Hits that may at most have passed beyond the limit of one of its keys.
    pub hits: u64,
}
