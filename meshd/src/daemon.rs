//! The running daemon: starts the parts in order, waits to be asked to stop, and stops them in order.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hivemind_shared::yaml::Problems;
use tracing::{info, warn};

use crate::background::Background;
use crate::config::{Config, Loaded};
use crate::descriptors;
use crate::failure::Failure;
use crate::handover::Estate;
use crate::handover::predecessor::{self, Beginning};
use crate::handover::succession::Succession;
use crate::mesh::MeshService;
use crate::mesh::key_file::{self, Keys};
use crate::mesh::socket::MeshSocket;
use crate::panics;
use crate::region_owner::RegionOwner;
use crate::rules_source;
use crate::server::health::{Health, State};
use crate::server::tls;
use crate::serving::{self, Parts};
use crate::telemetry::log;

/// Runs the daemon until a signal stops it.
///
/// # Errors
///
/// [`Failure`] when it could not start. Once it runs, it ends by being asked to.
pub fn run(loaded: &Loaded, ports_file: Option<&Path>) -> Result<(), Failure> {
    let config = &loaded.config;
    // Before anything is opened: wrong keys and rules leave no trace.
    let keys = key_file::load(&config.mesh).map_err(Failure::Config)?;
    let tls = tls::load(&config.server).map_err(Failure::Config)?;
    let (rules, rule_warnings) = rules_source::first(config)?;
    let log = log::init(config.log, loaded.log_filter.as_ref());
    panics::log();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.node.name,
        "meshd starts"
    );
    descriptors::raise_limit();
    let mut warnings = loaded.warnings.clone();
    warnings.extend(tls.iter().flat_map(|tls| tls.warnings()));
    warn_of(config, &warnings, keys.as_ref(), &rule_warnings);

    // Another meshd that has the region and these sockets goes on until this one serves.
    let Beginning {
        // The first, so that it is dropped when everything that was put in it is gone again.
        directory: _directory,
        lock,
        mut sockets,
        door,
        mut predecessor,
    } = predecessor::begin(config)?;
    let rules = rules.again(config);
    let health = Health::starting();
    let owner = Arc::new(RegionOwner::open(
        lock,
        &config.region,
        keys.as_ref().map(|keys| keys.ring.hash_key()),
        rules.rules().cloned(),
        health.clone(),
    )?);
    let creation = owner.creation();
    let background = Background::start(config, &owner, rules, tls.as_ref(), &health)
        .map_err(Failure::system("a thread"))?;
    let ports = sockets
        .ports()
        .map_err(Failure::system("its own addresses"))?;
    let belongings =
        serving::share(&sockets, door.as_ref()).map_err(Failure::system("file descriptors"))?;
    let mesh = start_mesh(
        config,
        sockets.mesh.take().zip(keys),
        &owner,
        &background,
        &health,
        predecessor
            .as_mut()
            .map(|predecessor| std::mem::take(&mut predecessor.estate))
            .unwrap_or_default(),
    )
    .map_err(Failure::system("threads for the mesh"))?;
    let taken_over = predecessor.as_ref().map(|it| it.taken_over.clone());
    let mut parts = Parts {
        succession: Succession::new(&config.node.name, taken_over),
        owner,
        rules: background.rules(),
        background: Some(background),
        mesh,
        tls,
        health,
        log,
        door,
        ports,
        belongings,
        predecessor,
    };
    let served = serving::serve(loaded, ports_file, sockets, &mut parts);
    parts.stop();
    if served.is_ok() {
        creation.keep();
        info!("meshd has stopped");
    }
    served
}

/// Starts the mesh, or says why there is none.
fn start_mesh(
    config: &Config,
    on: Option<(MeshSocket, Keys)>,
    owner: &RegionOwner,
    background: &Background,
    health: &Health,
    before: Estate,
) -> io::Result<Option<MeshService>> {
    if let Some((socket, keys)) = on {
        let rules = background.rules();
        return MeshService::start(config, socket, keys, owner, rules, health, before).map(Some);
    }
    info!(
        "the mesh is off: there is nobody to share counts with. To share them, give every host the \
         same mesh.key_file (`hivectl keygen` makes one), and name some of them in \
         mesh.bootstrap_peers"
    );
    health.update(|components| components.mesh = State::Up);
    Ok(None)
}

/// Logs what is odd but no reason to stop.
fn warn_of(config: &Config, warnings: &[String], keys: Option<&Keys>, rule_warnings: &Problems) {
    let key_warning = keys.and_then(|keys| keys.warning.as_ref());
    for warning in warnings.iter().chain(key_warning) {
        warn!("{warning}");
    }
    rules_source::log_problems(rule_warnings);
    if config.mesh.is_open_to_others() {
        warn!(
            bind = %config.mesh.bind,
            "mesh.insecure is set and there is no mesh.key_file: whoever reaches this port can read \
             and change counts"
        );
    }
}
