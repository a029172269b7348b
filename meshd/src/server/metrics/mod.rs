//! `/metrics`: numbers for Prometheus and its like, put together at each scrape from what the region and
//! the mesh say of themselves. SPECIFICATION.md has the catalogue.

mod calls;
mod components;
mod connections;
mod families;
mod grpc;
mod mesh;
mod process;
mod ratelimit_compat;
mod region;
mod reloads;
mod rules;
mod stat_name;
mod values;
mod xds;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hivemind_mesh::status::Status;
use hivemind_shared::region::Region;
use hivemind_shared::rules::RuleSet;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;
use tracing::error;

use self::families::Families;
use self::process::Process;
use self::reloads::LastReloads;
use crate::mesh::MeshHandle;
use crate::region_owner::RegionOwner;
use crate::reload::ReloadStatus;
use crate::rules_source::xds::XdsStatus;
use crate::rules_source::{Loads, RulesHash, RulesState};
use crate::server::calls::Calls;
use crate::server::connections::Connections;
use crate::server::health::{Components, Health};
use crate::server::one_at_a_time::OneAtATime;
use crate::server::tls::Tls;
use crate::value_series::{Shown, ValueSeries};

/// Media type of OpenMetrics, which a scraper has to ask for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Media type of the older text format, for everybody else.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The components' states.
    pub health: Health,
    /// The region's.
    pub owner: Arc<RegionOwner>,
    /// The rules', and the management server's.
    pub rules: Arc<RulesState>,
    /// Numbers by request value; none when there are to be no series of them.
    pub values: Option<Arc<ValueSeries>>,
    /// Whether numbers of rules are shown under the names of envoyproxy/ratelimit as well.
    pub ratelimit_compat: bool,
    /// The mesh's; none when it is off.
    pub mesh: Option<MeshHandle>,
    /// How reloads of the key file go; none without one.
    pub key_reloads: Option<Arc<ReloadStatus>>,
    /// What became of calls.
    pub calls: Arc<Calls>,
    /// The ports'.
    pub connections: Arc<Connections>,
    /// TLS on the gRPC port; none when it is off.
    pub tls: Option<Arc<Tls>>,
    /// With many series a scrape is large.
    pub scrapes: OneAtATime,
}

/// The endpoint.
pub fn router(metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
}

async fn scrape(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    let wants_open_metrics = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accepted| accepted.to_str().ok())
        .any(|accepted| accepted.contains("application/openmetrics-text"));
    let status = match &metrics.mesh {
        Some(mesh) => mesh.status().await,
        None => None,
    };
    let scrapes = metrics.scrapes.clone();
    let rendered = scrapes.answer(move || {
        let (region, rules) = metrics.owner.region_and_rules();
        let scrape = Scrape {
            components: metrics.health.now(),
            reloads: LastReloads {
                rules: metrics.rules.loads().last,
                tls: metrics.tls.as_ref().map(|tls| tls.last_reload()),
                key_file: metrics.key_reloads.map(|reloads| reloads.last()),
            },
            process: Process::read(),
            live_keys: metrics.owner.live_keys(),
            region,
            rules: rules.unwrap_or_default(),
            values: metrics.values.map(|values| values.show()),
            loads: metrics.rules.loads(),
            rules_hash: metrics.rules.hash(),
            ratelimit_compat: metrics.ratelimit_compat,
            xds: metrics.rules.status().xds,
            mesh: status,
            calls: metrics.calls,
            connections: metrics.connections,
            tls: metrics.tls,
        };
        render(scrape, wants_open_metrics)
    });
    match rendered.await.unwrap_or(Err(fmt::Error)) {
        Ok(text) => {
            let media_type = if wants_open_metrics {
                OPEN_METRICS
            } else {
                PROMETHEUS_TEXT
            };
            ([(CONTENT_TYPE, media_type)], text).into_response()
        }
        Err(error) => {
            error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn render(scrape: Scrape, as_open_metrics: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut out = String::new();
    if as_open_metrics {
        text::encode(&mut out, &registry)?;
    } else {
        prometheus_text::encode(&mut out, &registry)?;
    }
    Ok(out)
}

/// What one scrape shows.
#[derive(Debug)]
struct Scrape {
    components: Components,
    reloads: LastReloads,
    /// None where `/proc` cannot be read.
    process: Option<Process>,
    region: Arc<Region>,
    live_keys: Option<u64>,
    /// As they are published in it: they know which of its sums are theirs.
    rules: Arc<RuleSet>,
    /// None when there are to be no series by value.
    values: Option<Shown>,
    loads: Loads,
    rules_hash: RulesHash,
    ratelimit_compat: bool,
    /// None where rules come from files.
    xds: Option<XdsStatus>,
    /// None while the mesh is off or has not begun: its metrics have no samples then.
    mesh: Option<Arc<Status>>,
    calls: Arc<Calls>,
    connections: Arc<Connections>,
    /// None when it is off.
    tls: Option<Arc<Tls>>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        components::encode(&self.components, &mut families)?;
        region::encode(&self.region, self.live_keys, &mut families)?;
        let rules = &*self.rules;
        rules::encode(&self.region, rules, self.loads, &mut families)?;
        reloads::encode(&self.reloads, &mut families)?;
        rules::encode_hash(self.rules_hash, &mut families)?;
        values::encode(self.values.as_ref(), &mut families)?;
        if self.ratelimit_compat {
            let values = self.values.as_ref();
            ratelimit_compat::encode(&self.region, rules, values, self.loads, &mut families)?;
            ratelimit_compat::encode_calls(&self.calls, &mut families)?;
        }
        xds::encode(self.xds.as_ref(), &mut families)?;
        calls::encode(&self.calls, &mut families)?;
        connections::encode(&self.connections, &mut families)?;
        grpc::encode(self.tls.as_deref(), &mut families)?;
        mesh::encode(self.mesh.as_deref(), rules, &mut families)?;
        process::encode(self.process.as_ref(), &mut families)
    }
}

#[cfg(test)]
mod tests;
