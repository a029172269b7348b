//! `mesh`: exchange of counts with peers, and when there is any.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hivemind_mesh::settings::{Preset, Settings};

use super::peer::Peer;
use super::types::{MeshPreset, Ratio};

/// `mesh`: exchange of counts with peers.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// The cluster's name, 1 to 63 characters: datagrams of another are dropped.
    pub cluster: String,
    /// UDP address peers talk to; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Address peers reach this host at, when it is not `bind`.
    pub advertise: Option<SocketAddr>,
    /// Peers to begin with; the others are learned from them.
    pub bootstrap_peers: Vec<Peer>,
    /// The keys datagrams are sealed with.
    pub key_file: Option<PathBuf>,
    /// Whether unsealed datagrams may leave the host.
    pub insecure: bool,
    /// How far apart the hosts are.
    pub preset: MeshPreset,
    /// How often changed counters are looked at, 1 ms to 1 s.
    pub tick: Duration,
    /// The longest a changed count waits before it is sent.
    pub max_staleness: Duration,
    /// The share of what is left of a limit that may go unsent.
    pub epsilon: Ratio,
    /// Largest datagram that is sent, 512 to 8,900 bytes.
    pub max_datagram_bytes: u16,
    /// Bytes sent in a second at most, 65,536 or more; the least urgent counts wait beyond it.
    pub max_send_bytes_per_s: u64,
    /// How long a start waits for the counts of peers before it is ready without them.
    pub snapshot_timeout: Duration,
    /// How long rules may differ from those of a peer, as they do while new ones are brought to all hosts, before
    /// that is a fault: 1 s to 1 day.
    pub rules_grace: Duration,
    /// Size of the UDP socket's receive buffer, as asked of the kernel.
    pub receive_buffer_bytes: u64,
    /// Size of the UDP socket's send buffer, as asked of the kernel.
    pub send_buffer_bytes: u64,
}

/// How the mesh stands by its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshMode {
    /// It runs.
    On,
    /// It does not: there is nobody to share with, and nothing to be safe with.
    Off,
    /// It was asked for, but would send counts in the open, which nobody has allowed.
    Refused,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            cluster: "hivemind".to_owned(),
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7946),
            advertise: None,
            bootstrap_peers: Vec::new(),
            key_file: None,
            insecure: false,
            preset: MeshPreset::Lan,
            tick: Duration::from_millis(5),
            max_staleness: Duration::from_millis(100),
            epsilon: Ratio::DEFAULT_EPSILON,
            max_datagram_bytes: 1_200,
            max_send_bytes_per_s: 4 << 20,
            snapshot_timeout: Duration::from_secs(5),
            rules_grace: Duration::from_secs(60),
            receive_buffer_bytes: 4 << 20,
            send_buffer_bytes: 1 << 20,
        }
    }
}

impl Mesh {
    /// Whether the mesh runs.
    pub fn mode(&self) -> MeshMode {
        if self.key_file.is_some() || self.insecure || self.is_on_loopback() {
            MeshMode::On
        } else if self.bootstrap_peers.is_empty() {
            MeshMode::Off
        } else {
            MeshMode::Refused
        }
    }

    /// Whether datagrams anybody on the network can read and make leave this host.
    pub fn is_open_to_others(&self) -> bool {
        self.insecure && self.key_file.is_none() && !self.is_on_loopback()
    }

    fn is_on_loopback(&self) -> bool {
        self.bind.ip().to_canonical().is_loopback()
    }

    /// The settings as the mesh takes them, for a region with room for `keys_max` keys.
    pub fn settings(&self, keys_max: u32) -> Settings {
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Settings {
            cluster: self.cluster.clone(),
            preset: match self.preset {
                MeshPreset::Lan => Preset::Lan,
                MeshPreset::Wan => Preset::Wan,
            },
            tick_us: us(self.tick),
            max_staleness_us: us(self.max_staleness),
            epsilon: self.epsilon.get(),
            datagram_bytes_max: self.max_datagram_bytes.into(),
            send_bytes_per_s: self.max_send_bytes_per_s,
            snapshot_timeout_us: us(self.snapshot_timeout),
            keys_max: usize::try_from(keys_max).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::setting::FromText;
    use super::*;

    fn mesh(change: impl FnOnce(&mut Mesh)) -> Mesh {
        let mut mesh = Mesh::default();
        change(&mut mesh);
        mesh
    }

    #[test]
    fn a_mesh_without_keys_runs_only_on_loopback_or_when_told_to() {
        let peers = || vec![Peer::from_text("peer").unwrap()];
        assert_eq!(mesh(|_| {}).mode(), MeshMode::Off);
        let named = mesh(|mesh| mesh.bootstrap_peers = peers());
        assert_eq!(named.mode(), MeshMode::Refused);
        for loopback in ["127.0.0.1:0", "[::1]:7946", "[::ffff:127.0.0.1]:1"] {
            let local = mesh(|mesh| mesh.bind = loopback.parse().unwrap());
            assert_eq!(local.mode(), MeshMode::On, "{loopback}");
            assert!(!local.is_open_to_others());
        }
        let keyed = mesh(|mesh| {
            mesh.bootstrap_peers = peers();
            mesh.key_file = Some("keys".into());
        });
        assert_eq!(keyed.mode(), MeshMode::On);
        assert!(!keyed.is_open_to_others());
        let open = mesh(|mesh| mesh.insecure = true);
        assert_eq!(open.mode(), MeshMode::On);
        assert!(open.is_open_to_others());
    }

    #[test]
    fn the_defaults_are_those_of_the_mesh() {
        let (ours, theirs) = (Mesh::default().settings(262_144), Settings::new("hivemind"));
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }
}
