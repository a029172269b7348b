//! Several hosts on one Linux machine: each in a network namespace of its own, joined by a wire in user
//! space that misbehaves by seed.
//!
//! A lab needs root, or user namespaces: see [`as_root_of_a_namespace`]. Processes, regions and files
//! are those of the machine; the network alone is apart.

mod carrier;
mod host;
mod impairment;
mod node;
mod packet;
mod privilege;
mod wire;
mod worker;

use std::io;

pub use host::{Host, HostError, INTERFACE};
pub use impairment::Impairment;
pub use node::{Node, NodeError, Port};
pub use privilege::{Obstacle, Place, PrivilegeError, SKIP_VARIABLE, as_root_of_a_namespace};
pub use wire::{Counters, Wire};
pub use worker::{Counting, Counts, Key, Worker, WorkerError};

use crate::site::Tools;

/// Something about a lab went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// There is no host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no wire.
    #[error("the wire between the hosts: {0}")]
    Wire(#[source] io::Error),
    /// A host could not be furnished.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Hosts and the wire between them, with nothing on them.
#[derive(Debug)]
pub struct Network {
    /// The hosts; the first one is 10.77.0.1, the second 10.77.0.2.
    pub hosts: Vec<Host>,
    /// The wire; it knows the hosts by their index.
    pub wire: Wire,
}

impl Network {
    /// Starts up to 254 hosts. What goes wrong on the wire depends on `seed`.
    ///
    /// # Errors
    ///
    /// [`LabError`] when the system does not allow it.
    pub fn start(hosts: u8, seed: u64) -> Result<Self, LabError> {
        let started: Result<Vec<_>, HostError> = (1..=hosts).map(Host::start).collect();
        let (hosts, ends) = started?.into_iter().unzip();
        let wire = Wire::connect(seed, ends).map_err(LabError::Wire)?;
        Ok(Self { hosts, wire })
    }
}

/// A network whose every host has a region and a meshd, not started yet.
#[derive(Debug)]
pub struct Lab {
    /// The hosts.
    pub nodes: Vec<Node>,
    /// The wire; it knows the nodes by their index.
    pub wire: Wire,
}

impl Lab {
    /// Furnishes up to 254 hosts, all with these rules.
    ///
    /// # Errors
    ///
    /// [`LabError`] when the system does not allow it.
    pub async fn start(tools: &Tools, rules: &str, hosts: u8, seed: u64) -> Result<Self, LabError> {
        let Network { hosts, wire } = Network::start(hosts, seed)?;
        let mut nodes = Vec::with_capacity(hosts.len());
        for host in hosts {
            nodes.push(Node::new(host, tools, rules).await?);
        }
        Ok(Self { nodes, wire })
    }
}
