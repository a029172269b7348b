//! Why a reset was not done, as the caller gets it.

use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hivemind_shared::table::CountError;

use crate::mesh::NotForgiven;
use crate::server::error_answer::ErrorAnswer;

/// Why nothing was reset, or not all.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResetError {
    #[error(
        "resets are off: set admin.reset to true in the service file (or HIVEMIND_ADMIN_RESET, or \
         --admin-reset), and restart meshd"
    )]
    Off,
    #[error("the body is no reset: {0}")]
    Body(#[from] JsonRejection),
    #[error("a descriptor has entries: name one at least")]
    NoEntries,
    #[error(
        "nothing is counted for {descriptor} in domain {domain}: `GET /counters` and `hivectl ls` show \
         what is"
    )]
    NothingCounted { domain: String, descriptor: String },
    #[error("a web page asked for it: pages may not, use `hivectl reset` or a program of your own")]
    WebPage,
    #[error(
        "another meshd takes over from this one, and would not know of it: nothing was reset; try again \
         in a moment"
    )]
    HandedOver,
    #[error(
        "this host does not know yet what each of its peers has counted, and would forgive too few: try \
         again in a few seconds"
    )]
    NotJoined,
    #[error("meshd stops, or its mesh has died: nothing was reset; see /ready")]
    Ended,
    #[error(
        "the mesh does not answer in time: it may have reset this, or still do so; look at the counter, \
         and at /ready, before trying again"
    )]
    NoAnswer,
    #[error("not all was reset: {0}; try again")]
    Count(#[from] CountError),
}

impl ResetError {
    /// Whether something may have been reset all the same, or will be.
    pub(super) const fn is_unsure(&self) -> bool {
        matches!(self, Self::NoAnswer | Self::Count(_))
    }

    /// The status, and the word that programs tell it by.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Off => (StatusCode::FORBIDDEN, "off"),
            Self::Body(rejection) => (rejection.status(), "body"),
            Self::NoEntries => (StatusCode::BAD_REQUEST, "body"),
            Self::NothingCounted { .. } => (StatusCode::NOT_FOUND, "nothing_counted"),
            Self::WebPage => (StatusCode::FORBIDDEN, "web_page"),
            Self::HandedOver => (StatusCode::SERVICE_UNAVAILABLE, "handed_over"),
            Self::NotJoined => (StatusCode::SERVICE_UNAVAILABLE, "not_joined"),
            Self::Ended => (StatusCode::SERVICE_UNAVAILABLE, "ended"),
            Self::NoAnswer => (StatusCode::SERVICE_UNAVAILABLE, "no_answer"),
            Self::Count(_) => (StatusCode::SERVICE_UNAVAILABLE, "contended"),
        }
    }
}

impl From<NotForgiven> for ResetError {
    fn from(why: NotForgiven) -> Self {
        match why {
            NotForgiven::NotJoined => Self::NotJoined,
            NotForgiven::Rests => Self::HandedOver,
            NotForgiven::Ended => Self::Ended,
            NotForgiven::NoAnswer => Self::NoAnswer,
        }
    }
}

impl IntoResponse for ResetError {
    fn into_response(self) -> Response {
        let (status, error) = self.kind();
        let message = match &self {
            Self::Body(rejection) => format!("the body is no reset: {}", rejection.body_text()),
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
