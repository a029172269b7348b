//! What runs beside the server, and in which order it ends.

use std::io;
use std::sync::Arc;

use crate::background::Background;
use crate::handover::belongings::{Belongings, Role};
use crate::handover::door::Door;
use crate::handover::predecessor::Predecessor;
use crate::handover::succession::Succession;
use crate::mesh::MeshService;
use crate::ports_file::Ports;
use crate::region_owner::RegionOwner;
use crate::rules_source::RulesState;
use crate::server::health::Health;
use crate::server::listen::SocketFile;
use crate::server::tls::Tls;
use crate::sockets::Sockets;
use crate::telemetry::log::LogControl;

/// What runs beside the server.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) owner: Arc<RegionOwner>,
    pub(crate) rules: Arc<RulesState>,
    /// None once it was stopped.
    pub(crate) background: Option<Background>,
    /// None when it is off or was stopped.
    pub(crate) mesh: Option<MeshService>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) health: Health,
    /// What is logged.
    pub(crate) log: LogControl,
    pub(crate) door: Option<Door>,
    pub(crate) ports: Ports,
    /// What the next meshd is offered.
    pub(crate) belongings: Belongings,
    /// How this meshd came to have all this.
    pub(crate) succession: Succession,
    /// The meshd before this one, until this one serves.
    pub(crate) predecessor: Option<Predecessor>,
}

impl Parts {
    /// Ends everything, if it was not ended before.
    pub(crate) fn stop(&mut self) {
        self.owner.set_admin_address(None);
        // After the server, so that its last counts go along; before the region they are in.
        if let Some(mesh) = self.mesh.take() {
            if self.predecessor.is_some() {
                // It goes on where this one has never been.
                mesh.rest();
            }
            mesh.stop();
        }
        if let Some(background) = self.background.take() {
            background.stop();
        }
        // Before the region: who owns that next opens a door of its own.
        self.close();
    }

    /// Tells the meshd before this one, if there is one, that this one serves.
    pub(super) fn relieve_predecessor(&mut self, socket_file: Option<&mut SocketFile>) {
        let Some(predecessor) = self.predecessor.take() else {
            return;
        };
        let door = self.door.as_mut().map(|door| &mut door.file);
        for file in [socket_file, door].into_iter().flatten() {
            file.adopt();
        }
        predecessor.relieve();
    }

    /// Lets no newcomer in any more, and forgets what there was for it.
    pub(super) fn close(&mut self) {
        self.door = None;
        self.belongings = Belongings::default();
    }

    /// Leaves everything to the next meshd but the connections there are.
    pub(super) fn leave(&mut self) {
        if let Some(door) = &mut self.door {
            door.file.leave();
        }
        self.stop();
        self.owner.let_go();
    }
}

/// Second handles on all sockets, for the next meshd.
pub(crate) fn share(sockets: &Sockets, door: Option<&Door>) -> io::Result<Belongings> {
    let mut belongings = sockets.share()?;
    if let Some(door) = door {
        belongings.add(Role::Door, door)?;
    }
    Ok(belongings)
}
