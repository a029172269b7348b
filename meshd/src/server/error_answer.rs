//! Why the admin port did not do what it was asked to, as the caller gets it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An error in JSON.
#[derive(Debug)]
pub(super) struct ErrorAnswer {
    pub(super) status: StatusCode,
    /// The word that programs tell it by.
    pub(super) error: &'static str,
    pub(super) message: String,
}

#[derive(Serialize)]
struct Body {
    error: &'static str,
    message: String,
}

impl IntoResponse for ErrorAnswer {
    fn into_response(self) -> Response {
        let Self {
            status,
            error,
            message,
        } = self;
        (status, Json(Body { error, message })).into_response()
    }
}
