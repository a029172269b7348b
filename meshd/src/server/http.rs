//! The HTTP port:
//!
//! * any method `/healthcheck` `OK`, or status 500: for load balancers
//! * `GET /ready` status 200 or 503, and how each component is
//! * any method `/live` `OK`: meshd runs and answers
//! * `GET /metrics` numbers for Prometheus
//! * any method `/json` one call of the Rate Limit Service as JSON

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde::Serialize;

use super::health::{Components, Health};
use super::json;
use super::metrics::{self, Metrics};
use super::rate_limit::RateLimit;

/// The endpoints of the HTTP port. Any method where envoyproxy/ratelimit takes any.
pub fn router(health: Health, rate_limit: RateLimit, metrics: Metrics) -> Router {
    let calls = Router::new()
        .route("/json", any(json::should_rate_limit))
        .layer(DefaultBodyLimit::max(json::BODY_SIZE_MAX))
        .with_state(rate_limit);
    Router::new()
        .route("/healthcheck", any(healthcheck))
        .route("/live", any(|| async { "OK" }))
        .route("/ready", get(ready))
        .with_state(health)
        .merge(calls)
        .merge(metrics::router(metrics))
}

/// `OK`, or status 500 without a body: for load balancers set up for envoyproxy/ratelimit.
async fn healthcheck(State(health): State<Health>) -> Response {
    if health.now().are_ready() {
        "OK".into_response()
    } else {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// What `/ready` says.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    components: Components,
}

/// Status 200 or 503, and which part is how.
async fn ready(State(health): State<Health>) -> Response {
    let components = health.now();
    let ready = components.are_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, components })).into_response()
}
