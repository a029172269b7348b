//! The admin port, for operators:
//!
//! * `GET /` this list
//! * `GET /config` the settings in force, and where each comes from
//! * `GET /rules` the rules in force, and where each is written
//! * `GET /rlconfig` the rules in force, as envoyproxy/ratelimit lists them
//! * `GET /rules/status` when rules were loaded, and what came of the last attempt
//! * `GET /peers` how the mesh is, and who is in it
//! * `GET /metrics` numbers for Prometheus
//! * `GET /workers` gRPC connections of each worker
//! * `GET /counters` the live counters, hottest first
//! * `GET /reset` whether counters can be reset, and how
//! * `POST /reset` resets the counters of a descriptor
//! * `GET /log-level` what is logged
//! * `POST /log-level` changes it

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::counters::{self, Counters};
use super::log_level::{self, LogLevels};
use super::metrics::{self, Metrics};
use super::peers;
use super::reset::{self, Resets};
use super::rule_lists;
use super::workers::Workers;
use crate::rules_source::{RulesState, RulesStatus};

/// The endpoints with what each is for, as `/` shows them.
const ENDPOINTS: [(&str, &str); 11] = [
    ("/", "this list"),
    (
        "/config",
        "the settings in force, and where each comes from",
    ),
    ("/rules", "the rules in force, and where each is written"),
    (
        "/rlconfig",
        "the rules in force, as envoyproxy/ratelimit lists them",
    ),
    (
        "/rules/status",
        "when rules were loaded, and what came of the last attempt",
    ),
    ("/peers", "how the mesh is, and who is in it"),
    ("/metrics", "numbers for Prometheus"),
    ("/workers", "gRPC connections of each worker"),
    (
        "/counters",
        "the live counters, hottest first; ?domain=, ?prefix=, ?top=",
    ),
    ("/reset", "whether counters can be reset, and how"),
    (
        "/log-level",
        "what is logged; POST {\"level\":\"debug\"} changes it, with admin.log_level",
    ),
];

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The configuration as a service file.
    pub config: Arc<str>,
    /// The rules and how their last reload went.
    pub rules: Arc<RulesState>,
    /// The workers of the Rate Limit Service.
    pub workers: Arc<Workers>,
    /// Region and mesh, in numbers and as they tell it themselves.
    pub metrics: Metrics,
    /// The counters.
    pub counters: Counters,
    /// What a reset of them needs.
    pub resets: Resets,
    /// What is logged.
    pub log_levels: LogLevels,
}

/// The endpoints of the admin port.
pub fn router(admin: Admin) -> Router {
    let metrics = metrics::router(admin.metrics.clone());
    let counters = counters::router(admin.counters.clone());
    let resets = reset::router(admin.resets.clone());
    let log_levels = log_level::router(admin.log_levels.clone());
    Router::new()
        .route("/", get(|| async { endpoints() }))
        .route(
            "/config",
            get(|State(admin): State<Admin>| async move { admin.config.to_string() }),
        )
        .route(
            "/rules",
            get(|State(admin): State<Admin>| async move {
                rule_lists::readable(&admin.rules.rules())
            }),
        )
        .route(
            "/rlconfig",
            get(|State(admin): State<Admin>| async move {
                rule_lists::of_the_reference(&admin.rules.rules())
            }),
        )
        .route("/rules/status", get(rules_status))
        .route(
            "/peers",
            get(|State(admin): State<Admin>| async move {
                peers::answer(admin.metrics.mesh.as_ref()).await
            }),
        )
        .route("/workers", get(workers))
        .with_state(admin)
        .merge(metrics)
        .merge(counters)
        .merge(resets)
        .merge(log_levels)
}

fn endpoints() -> String {
    let mut out = String::new();
    for (path, what) in ENDPOINTS {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{path:15} {what}");
    }
    out
}

/// What `/rules/status` says.
#[derive(Serialize)]
struct RulesAnswer {
    /// 16 hexadecimal digits, the same wherever the same rules are in force.
    hash: String,
    #[serde(flatten)]
    status: RulesStatus,
}

async fn rules_status(State(admin): State<Admin>) -> Json<RulesAnswer> {
    Json(RulesAnswer {
        hash: admin.rules.hash().to_string(),
        status: admin.rules.status(),
    })
}

/// What `/workers` says of one worker.
#[derive(Serialize)]
struct WorkerStatus {
    worker: usize,
    open_connections: usize,
}

async fn workers(State(admin): State<Admin>) -> Json<Vec<WorkerStatus>> {
    let open = admin.workers.open_connections().into_iter().enumerate();
    Json(
        open.map(|(worker, open_connections)| WorkerStatus {
            worker,
            open_connections,
        })
        .collect(),
    )
}
