//! Whether meshd can do its work: set by its parts, read by the health endpoints.

use serde::Serialize;
use tokio::sync::watch;

/// How one part of meshd is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "lowercase")]
pub enum State {
    /// Works.
    Up,
    /// Works on, though something is wrong that someone should see to; says what.
    Degraded(String),
    /// Does not work; says why.
    Down(String),
}

impl State {
    /// The names of all states.
    pub const NAMES: [&str; 3] = ["up", "degraded", "down"];

    /// Its name, without the detail.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded(_) => "degraded",
            Self::Down(_) => "down",
        }
    }
}

/// Every part that has to work for meshd to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Components {
    /// The region is there, and this meshd owns it.
    pub region: State,
    /// Rules are loaded and published.
    pub rules: State,
    /// The management server rules come from is there; absent where they come from files. It is never
    /// down: without the server, the last rules stay in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xds: Option<State>,
    /// Counts are shared with peers, or need not be; down until those of peers have arrived at the
    /// start, and never again because of peers: without them a host limits by what it sees.
    pub mesh: State,
    /// The files of TLS are good, or there are none.
    pub tls: State,
    /// Numbers for `/metrics` are kept up to date.
    pub metrics: State,
    /// Calls are taken; down from the moment a stop was asked for.
    pub server: State,
}

impl Components {
    /// Whether nothing is down.
    pub fn are_ready(&self) -> bool {
        self.named()
            .all(|(_, state)| !matches!(state, State::Down(_)))
    }

    /// All that there are, with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &State)> {
        let Self {
            region,
            rules,
            xds,
            mesh,
            tls,
            metrics,
            server,
        } = self;
        [
            ("region", Some(region)),
            ("rules", Some(rules)),
            ("xds", xds.as_ref()),
            ("mesh", Some(mesh)),
            ("tls", Some(tls)),
            ("metrics", Some(metrics)),
            ("server", Some(server)),
        ]
        .into_iter()
        .filter_map(|(name, state)| Some((name, state?)))
    }
}

/// The shared state of health; cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(watch::Sender<Components>);

impl Health {
    /// Everything that takes a beginning still down.
    pub fn starting() -> Self {
        let down = || State::Down("starting".to_owned());
        Self(watch::Sender::new(Components {
            region: down(),
            rules: down(),
            xds: None,
            mesh: down(),
            // Read before anything else is begun.
            tls: State::Up,
            metrics: State::Up,
            server: down(),
        }))
    }

    /// Changes the state of components.
    pub fn update(&self, change: impl FnOnce(&mut Components)) {
        self.0.send_if_modified(|components| {
            let before = components.clone();
            change(components);
            *components != before
        });
    }

    /// The state as it is now.
    pub fn now(&self) -> Components {
        self.0.borrow().clone()
    }

    /// Follows the changes.
    pub fn subscribe(&self) -> watch::Receiver<Components> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_nothing_is_down() {
        let health = Health::starting();
        assert!(!health.now().are_ready());

        health.update(|components| {
            components.region = State::Up;
            components.rules = State::Degraded("the last reload failed".to_owned());
            components.mesh = State::Up;
            components.server = State::Up;
        });
        assert!(health.now().are_ready());

        health.update(|components| components.region = State::Down("removed".to_owned()));
        assert!(!health.now().are_ready());
    }

    #[test]
    fn setting_the_same_state_again_wakes_nobody() {
        let health = Health::starting();
        let follower = health.subscribe();
        health.update(|components| components.rules = State::Down("starting".to_owned()));
        assert!(!follower.has_changed().unwrap());
        health.update(|components| components.rules = State::Up);
        assert!(follower.has_changed().unwrap());
    }
}
