//! `/log-level` on the admin port: what is logged, and `POST` or `PUT` to change it while meshd runs.
//!
//! It can only be changed where `admin.log_level` is true, and every change is logged. Web pages are kept from it as
//! from [`reset`](super::reset).

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tracing::{Level, enabled, warn};

use super::error_answer::ErrorAnswer;
use super::http_port::Caller;
use crate::config::LogLevel;
use crate::telemetry::log::LogControl;

/// Largest body that is read.
const BODY_BYTES_MAX: usize = 1 << 10;

/// What a change needs.
#[derive(Clone, Debug)]
pub struct LogLevels {
    /// Whether `admin.log_level` is true.
    pub is_on: bool,
    /// What is logged.
    pub log: LogControl,
}

/// What is to be logged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    level: String,
}

/// What is logged.
#[derive(Serialize)]
struct Answer {
    level: &'static str,
    /// What `RUST_LOG` says besides; `null` once the level was changed.
    rust_log: Option<String>,
    /// Whether it can be changed.
    admin_log_level: bool,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
enum LogLevelError {
    #[error(
        "the log level cannot be changed: set admin.log_level to true in the service file (or \
         HIVEMIND_ADMIN_LOG_LEVEL, or --admin-log-level), and restart meshd"
    )]
    Off,
    #[error("the body is no log level: {0}")]
    Body(#[from] JsonRejection),
    #[error("there is no such level: it is {}", LogLevel::WORDS)]
    Unknown,
    #[error(
        "a web page asked for it: pages may not, use `hivectl log-level` or a program of your own"
    )]
    WebPage,
}

/// The endpoint. Its callers' addresses have to be known.
pub(super) fn router(levels: LogLevels) -> Router {
    Router::new()
        .route("/log-level", get(show).post(change).put(change))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(levels)
}

async fn show(State(levels): State<LogLevels>) -> Json<Answer> {
    Json(levels.answer())
}

async fn change(
    State(levels): State<LogLevels>,
    ConnectInfo(Caller(caller)): ConnectInfo<Caller>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Response {
    match levels.asked_for(&headers, body) {
        Ok(level) => {
            // It is to be seen, unless nothing is at either level.
            let is_seen = enabled!(Level::WARN);
            let from = levels.log.in_force().level.name();
            let note = || warn!(%caller, from, to = level.name(), "log level changed");
            if is_seen {
                note();
            }
            levels.log.set(level);
            if !is_seen {
                note();
            }
            Json(levels.answer()).into_response()
        }
        Err(error) => {
            warn!(%caller, %error, "a change of the log level was refused");
            error.into_response()
        }
    }
}

impl LogLevels {
    /// The level that is asked for.
    fn asked_for(
        &self,
        headers: &HeaderMap,
        body: Result<Json<Request>, JsonRejection>,
    ) -> Result<LogLevel, LogLevelError> {
        if headers.contains_key(ORIGIN) {
            return Err(LogLevelError::WebPage);
        }
        if !self.is_on {
            return Err(LogLevelError::Off);
        }
        let Json(request) = body?;
        LogLevel::of_name(&request.level).ok_or(LogLevelError::Unknown)
    }

    fn answer(&self) -> Answer {
        let in_force = self.log.in_force();
        Answer {
            level: in_force.level.name(),
            rust_log: in_force.rust_log,
            admin_log_level: self.is_on,
        }
    }
}

impl IntoResponse for LogLevelError {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::Off => (StatusCode::FORBIDDEN, "off"),
            Self::Body(rejection) => (rejection.status(), "body"),
            Self::Unknown => (StatusCode::BAD_REQUEST, "body"),
            Self::WebPage => (StatusCode::FORBIDDEN, "web_page"),
        };
        let message = match &self {
            Self::Body(rejection) => format!("the body is no log level: {}", rejection.body_text()),
            other => other.to_string(),
        };
        ErrorAnswer {
            status,
            error,
            message,
        }
        .into_response()
    }
}
