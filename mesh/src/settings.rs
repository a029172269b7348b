//! What an operator decides about the mesh.

/// How far apart the hosts are; it sets how patient failure detection and retransmission are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// One data centre: round trips of a few milliseconds.
    Lan,
    /// Several: round trips of a hundred milliseconds and more.
    Wan,
}

/// The settings, with the defaults of [`Settings::new`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name: datagrams of another are dropped.
    pub cluster: String,
    /// How far apart the hosts are.
    pub preset: Preset,
    /// How often changed counters are looked at, microseconds. Shorter is fresher and costs CPU.
    pub tick_us: u64,
    /// The longest a changed count waits before it is sent, microseconds.
    pub max_staleness_us: u64,
    /// The share of what is left of a limit that may go unsent, over all nodes: 0 to 1.
    pub epsilon: f64,
    /// Largest datagram sent, bytes: 512 to 8,900. Larger ones are received all the same. Those of the
    /// membership have up to 1,159 whatever this says, in clusters of more than some dozen.
    pub datagram_bytes_max: usize,
    /// Bytes this node sends in a second at most, to all peers together; beyond it the least urgent
    /// counts wait. Membership and acknowledgements are not held back by it, but counted.
    pub send_bytes_per_s: u64,
    /// How long a joining node waits for a snapshot before it is ready without one, microseconds.
    pub snapshot_timeout_us: u64,
    /// Keys that are kept track of at most.
    pub keys_max: usize,
}

impl Settings {
    /// The defaults for a cluster of this name.
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            preset: Preset::Lan,
            tick_us: 5_000,
            max_staleness_us: 100_000,
            epsilon: 0.01,
            datagram_bytes_max: 1_200,
            send_bytes_per_s: 4 << 20,
            snapshot_timeout_us: 5_000_000,
            keys_max: 262_144,
        }
    }
}

/// This node, as it presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The region's id: the actor of this node's counts.
    pub actor: u64,
    /// The how-many-eth run of this actor; larger in every later run.
    pub incarnation: u64,
    /// Random, drawn for this run.
    pub session: u64,
    /// Where peers reach it.
    pub address: std::net::SocketAddr,
    /// Its name, for people.
    pub name: String,
}

/// What chance is made of. A generator of its own is no part of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Randomness {
    /// Where everything that the protocol draws begins. The same seed is the same run.
    pub seed: u64,
    /// The key of hash tables whose keys peers choose. Nobody else may know it.
    pub hash_key: [u64; 2],
}
