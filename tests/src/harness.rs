//! Setting up a host, and asking it things.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hivemind_shared::window::Unit;
use xtask::artifacts::Profile;
use xtask::http::{self, Response};
use xtask::load::{HeaderError, Load};
use xtask::proxy::Proxy;
use xtask::site::{Site, Tools};
use xtask::window;

/// The header the bootstraps make a descriptor of.
pub const HEADER: &str = "x-user";

/// The key of that descriptor.
pub const KEY: &str = "user";

/// What a test may take, so that a day does not end in the middle of one.
const ROOM: Duration = Duration::from_secs(120);

/// The programs under test, built and fetched by the first test of a process that asks.
///
/// # Errors
///
/// When they cannot be built or fetched; the same for every test.
pub fn tools() -> anyhow::Result<&'static Tools> {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    TOOLS
        .get_or_init(|| Tools::prepare(Profile::Dev).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

/// A host with these rules, meshd running, at a time when no day is about to end.
///
/// # Errors
///
/// With meshd's own words when it does not start.
pub async fn site(rules: &str) -> anyhow::Result<Site> {
    window::wait_for_room(Unit::Day, ROOM).await;
    Ok(Site::start(tools()?, rules).await?)
}

/// Rules that give each user this many requests a day.
pub fn per_user(requests_per_day: u32) -> String {
    format!(
        "domain: edge\n\
         descriptors:\n\
         \x20 - key: {KEY}\n\
         \x20   rate_limit: {{unit: day, requests_per_unit: {requests_per_day}}}\n"
    )
}

/// Requests of this user to a listener.
///
/// # Errors
///
/// When the user's name cannot stand in a header.
pub fn load(target: SocketAddr, user: &str) -> Result<Load, HeaderError> {
    Load::new(target).header(HEADER, user)
}

/// One request of this user to a listener.
///
/// # Errors
///
/// When there is no answer.
pub async fn ask(target: SocketAddr, user: &str) -> anyhow::Result<Response> {
    Ok(http::get_with(target, "/", &[(HEADER, user)]).await?)
}

/// Envoy's stats of our module, without what stands before `hivemind.` in their names.
///
/// # Errors
///
/// When Envoy does not tell.
pub async fn module_stats(proxy: &Proxy) -> anyhow::Result<BTreeMap<String, u64>> {
    let stats = proxy.stats("hivemind").await?;
    let short = |name: &str| {
        name.split_once("hivemind.")
            .map(|(_, name)| name.to_owned())
    };
    Ok(stats
        .iter()
        .filter_map(|(name, value)| Some((short(name)?, *value)))
        .collect())
}

/// The value of one of our module's stats.
///
/// # Errors
///
/// When Envoy does not tell, and when there is no such stat.
pub async fn module_stat(proxy: &Proxy, name: &str) -> anyhow::Result<u64> {
    let stats = module_stats(proxy).await?;
    stats
        .get(name)
        .copied()
        .with_context(|| format!("no stat hivemind.{name} in {stats:?}"))
}
