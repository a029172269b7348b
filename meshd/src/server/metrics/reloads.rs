//! How the last reloads went.

use std::fmt;

use super::families::Families;
use crate::reload::LastReload;

/// The last reload of everything that is reloaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastReloads {
    pub(super) rules: LastReload,
    /// None without TLS.
    pub(super) tls: Option<LastReload>,
    /// None without a key file.
    pub(super) key_file: Option<LastReload>,
}

/// Writes them; what is not reloaded, or was not yet, has no sample.
pub(super) fn encode(reloads: &LastReloads, families: &mut Families<'_>) -> fmt::Result {
    let named = [
        ("rules", Some(reloads.rules)),
        ("tls", reloads.tls),
        ("key_file", reloads.key_file),
    ];
    let named = || {
        let there = named.into_iter();
        there.filter_map(|(config, reload)| Some(([("config", config)], reload?)))
    };
    families.gauge(
        "hivemind_config_last_reload_successful",
        "1 when the last attempt to load it was successful, 0 when it failed.",
        named().filter_map(|(labels, reload)| Some((labels, u32::from(reload.successful?)))),
    )?;
    families.gauge(
        "hivemind_config_last_reload_success_timestamp_seconds",
        "When it was last loaded successfully, Unix time.",
        named().filter_map(|(labels, reload)| Some((labels, reload.success_unix_ms? as f64 / 1e3))),
    )
}
