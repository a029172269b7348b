//! Several hosts on one Linux machine: each in a network namespace of its own, joined by a wire in user
//! space that misbehaves by seed.
//!
//! A lab needs root, or user namespaces: see [`as_root_of_a_namespace`]. Processes, regions and files
//! are those of the machine; the network alone is apart.

mod carrier;
mod host;
mod impairment;
mod packet;
mod privilege;
mod wire;

use std::io;

pub use host::{Host, HostError, INTERFACE};
pub use impairment::Impairment;
pub use privilege::{Obstacle, Place, PrivilegeError, SKIP_VARIABLE, as_root_of_a_namespace};
pub use wire::{Counters, Wire};

/// Something about a lab went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// There is no host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no wire.
    #[error("the wire between the hosts: {0}")]
    Wire(#[source] io::Error),
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
