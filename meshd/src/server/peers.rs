//! `/peers`: how the mesh is and who is in it, for `hivectl peers` and people.

use axum::Json;
use axum::response::{IntoResponse, Response};
use hivemind_mesh::status::Status;
use serde::Serialize;

use crate::mesh::MeshHandle;

/// What `/peers` says.
#[derive(Serialize)]
#[serde(tag = "mesh", rename_all = "lowercase")]
enum Answer<'a> {
    /// There is no mesh by configuration.
    Off { reason: &'static str },
    /// It has not said anything yet.
    Starting,
    /// It runs.
    On(&'a Status),
}

/// Answers with the state of the mesh as it is now.
pub(super) async fn answer(mesh: Option<&MeshHandle>) -> Response {
    let Some(mesh) = mesh else {
        let reason =
            "mesh.bind is not loopback, and neither mesh.key_file nor mesh.insecure is set";
        return Json(Answer::Off { reason }).into_response();
    };
    let status = mesh.status().await;
    let answer = status.as_deref().map_or(Answer::Starting, Answer::On);
    Json(answer).into_response()
}
