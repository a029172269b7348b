//! `GET /counters` on the admin port: the live counters, hottest first, as `hivectl ls --json` has them.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hivemind_shared::clock::{Clock, CoarseClock};
use hivemind_shared::listing::{Listing, ListingJson, Wanted};
use serde::Deserialize;

use super::one_at_a_time::OneAtATime;
use crate::region_owner::RegionOwner;

/// Counters that are listed when nobody says how many.
const TOP_DEFAULT: usize = 100;

/// Counters that are listed at most.
const TOP_MAX: usize = 10_000;

/// Whose counters are listed.
#[derive(Clone, Debug)]
pub struct Counters {
    /// The region.
    pub owner: Arc<RegionOwner>,
    /// Where it is.
    pub path: PathBuf,
    /// A listing looks at every slot.
    pub listings: OneAtATime,
}

/// Which counters are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    domain: Option<String>,
    prefix: Option<String>,
    top: Option<usize>,
}

/// The endpoint.
pub(super) fn router(counters: Counters) -> Router {
    Router::new()
        .route("/counters", get(list))
        .with_state(counters)
}

async fn list(
    State(counters): State<Counters>,
    question: Result<Query<Question>, QueryRejection>,
) -> Response {
    let question = match question {
        Ok(Query(question)) => question,
        Err(rejection) => return wrong(&rejection.body_text()),
    };
    let top = question.top.unwrap_or(TOP_DEFAULT);
    if top > TOP_MAX {
        return wrong("that is too large a number for top");
    }
    let listings = counters.listings.clone();
    let listed = listings.answer(move || {
        let region = counters.owner.region();
        let wanted = Wanted {
            domain: question.domain.as_deref(),
            prefix: question.prefix.as_deref(),
            top: Some(top),
        };
        let listing = Listing::of(&region, CoarseClock.now_s(), &wanted);
        serde_json::to_string(&ListingJson::of(&listing, &region, &counters.path))
    });
    match listed.await {
        Some(Ok(json)) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        // It ends with the runtime alone, and a listing is always JSON.
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Says what can be asked for.
fn wrong(problem: &str) -> Response {
    let message = format!(
        "{problem}\nask with domain=DOMAIN, prefix=KEY=VALUE,… (how the descriptor begins) and \
         top=N (up to {TOP_MAX}, {TOP_DEFAULT} if it is not said)\n"
    );
    (StatusCode::BAD_REQUEST, message).into_response()
}
