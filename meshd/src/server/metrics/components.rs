//! How the components are.

use std::fmt;

use super::families::Families;
use crate::server::health::{Components, State};

/// Writes a sample for each state of each component, so that one that was never met can be alerted on.
pub(super) fn encode(components: &Components, families: &mut Families<'_>) -> fmt::Result {
    families.gauge(
        "hivemind_component_state",
        "1 for the state a component is in, 0 for the others. meshd is ready while none is down.",
        components.named().flat_map(|(component, state)| {
            State::NAMES.map(|name| {
                let labels = [("component", component), ("state", name)];
                (labels, u32::from(name == state.name()))
            })
        }),
    )
}
