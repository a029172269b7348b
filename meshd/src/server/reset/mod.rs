//! `POST /reset` on the admin port: the hits that are counted for a descriptor count no longer, on any host.
//!
//! It is off unless `admin.reset` is true, but for dry runs, and every use is logged. Web pages are kept from having a browser on this
//! host send it: the body has to be declared as JSON, which pages of other sites may not do, and there must be no
//! `Origin`, which browsers add to every POST, also to one of a page whose name was made to lead here.

mod error;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hivemind_shared::clock::{Clock, CoarseClock};
use hivemind_shared::decision::keys_of;
use hivemind_shared::descriptor::{Entry as DescriptorEntry, text};
use hivemind_shared::region::{Forgiven, Label, Region};
use hivemind_shared::table::Key;
use hivemind_shared::yaml::printable;
use serde::{Deserialize, Serialize};
use tracing::warn;

use self::error::ResetError;
use crate::mesh::MeshHandle;
use crate::region_owner::RegionOwner;
use crate::rules_source::RulesState;
use crate::server::http_port::Caller;
use crate::value_series::ValueSeries;

/// Largest body that is read.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What a reset needs.
#[derive(Clone, Debug)]
pub struct Resets {
    /// Whether `admin.reset` is true.
    pub is_on: bool,
    /// Whose counters.
    pub owner: Arc<RegionOwner>,
    /// The rules in force, which say what a descriptor's counters are.
    pub rules: Arc<RulesState>,
    /// Who tells the other hosts; none when they are told nothing.
    pub mesh: Option<MeshHandle>,
    /// Numbers by request value, which follow the counters; none when there are none.
    pub values: Option<Arc<ValueSeries>>,
}

/// Whose hits are to be forgiven.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Request {
    domain: String,
    entries: Vec<Entry>,
    /// Whether only to say what would be done.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    #[serde(default)]
    value: String,
}

/// What was done.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    request: Request,
    /// Of a dry run: whether it may be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_reset: Option<bool>,
    counters: Vec<ResetCounter>,
}

/// A counter in a window.
#[derive(Serialize)]
struct ResetCounter {
    unit: &'static str,
    unit_multiplier: u32,
    window_start_unix_s: u64,
    before: u64,
    after: u64,
}

/// The endpoint. Its callers' addresses have to be known.
pub(super) fn router(resets: Resets) -> Router {
    Router::new()
        .route("/reset", get(how).post(reset))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(resets)
}

/// Whether counters can be reset, and how.
async fn how(State(resets): State<Resets>) -> String {
    if !resets.is_on {
        return format!("{}\n", ResetError::Off);
    }
    let body = r#"{"domain":"edge","entries":[{"key":"user","value":"ann"}]}"#;
    format!(
        "POST {body} here, as content-type application/json, or use `hivectl reset edge user=ann`\n"
    )
}

/// Resets the counters of a descriptor, and says what they were.
async fn reset(
    State(resets): State<Resets>,
    ConnectInfo(Caller(caller)): ConnectInfo<Caller>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Response {
    let answer = if headers.contains_key(ORIGIN) {
        Err(ResetError::WebPage)
    } else {
        // On its own: what is done is logged, though whoever asked may hang up meanwhile.
        let asked = tokio::spawn(async move { resets.reset(caller, body).await });
        asked.await.unwrap_or(Err(ResetError::Ended))
    };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => {
            if !error.is_unsure() {
                warn!(%caller, %error, "a reset was refused");
            }
            error.into_response()
        }
    }
}

impl Resets {
    async fn reset(
        &self,
        caller: SocketAddr,
        body: Result<Json<Request>, JsonRejection>,
    ) -> Result<Answer, ResetError> {
        // Whoever may not reset anything is told no more than that, unless it is a dry run that is asked for.
        let is_dry = matches!(&body, Ok(Json(request)) if request.dry_run);
        if !self.is_on && !is_dry {
            return Err(ResetError::Off);
        }
        let Json(request) = body?;
        if request.entries.is_empty() {
            return Err(ResetError::NoEntries);
        }
        let (request, keys) = self.find(request).await?;
        // As late as can be: it is the newcomer's region by then, and its mesh that peers hear.
        if self.owner.rests() {
            return Err(ResetError::HandedOver);
        }
        let forgiven = if request.dry_run {
            self.look(&keys).await?
        } else {
            let done = self.forgive(keys).await;
            if let Err(error) = &done
                && error.is_unsure()
            {
                log_unsure(caller, &request, error);
            }
            done?
        };
        if forgiven.is_empty() {
            return Err(ResetError::NothingCounted {
                domain: printable(&request.domain),
                descriptor: request.descriptor(),
            });
        }
        if !request.dry_run {
            log(caller, &request, &forgiven);
        }
        Ok(Answer {
            admin_reset: request.dry_run.then_some(self.is_on),
            request,
            counters: forgiven.iter().map(ResetCounter::of).collect(),
        })
    }

    /// Finds the keys of a descriptor's counters, on another thread: it looks at every slot.
    async fn find(&self, request: Request) -> Result<(Request, Vec<Key>), ResetError> {
        let (region, rules) = (self.owner.region(), self.rules.rules());
        let values = self.values.clone();
        let found = tokio::task::spawn_blocking(move || {
            // Which of the hits were over is not to be seen any more once they are forgiven.
            if let Some(values) = values {
                values.catch_up();
            }
            let entries = request.entries();
            let domain = request.domain.as_bytes();
            let mut keys = keys_of(&rules, region.hasher(), domain, &entries);
            keys.extend(labelled(&region, &Label::of(domain, &entries)));
            keys.sort_unstable_by_key(|key| (key.period.code(), key.fingerprint));
            keys.dedup();
            (request, keys)
        });
        // It ends with the runtime alone.
        found.await.map_err(|_| ResetError::Ended)
    }

    /// What would be forgiven.
    async fn look(&self, keys: &[Key]) -> Result<Vec<Forgiven>, ResetError> {
        if let Some(mesh) = &self.mesh {
            mesh.can_forgive().await?;
        }
        let region = self.owner.region();
        let look = |key| region.forgivable(key, &CoarseClock);
        Ok(keys.iter().flat_map(look).collect())
    }

    async fn forgive(&self, keys: Vec<Key>) -> Result<Vec<Forgiven>, ResetError> {
        if let Some(mesh) = &self.mesh {
            return Ok(mesh.forgive(keys).await?);
        }
        let forgive = |region: &Region| {
            let mut forgiven = Vec::new();
            for key in &keys {
                forgiven.extend(region.forgive(key, &CoarseClock)?);
            }
            Ok(forgiven)
        };
        let done = self.owner.while_owning(forgive);
        done.unwrap_or(Err(ResetError::HandedOver))
    }
}

/// Keys of counters whose readable names are these, such as rules from before left behind.
fn labelled(region: &Region, label: &Label) -> Vec<Key> {
    region
        .counters(CoarseClock.now_s())
        .filter(|counter| counter.label.as_ref() == Some(label))
        .map(|counter| Key {
            fingerprint: counter.fingerprint,
            period: counter.period,
        })
        .collect()
}

impl Request {
    fn entries(&self) -> Vec<DescriptorEntry<'_>> {
        self.entries
            .iter()
            .map(|entry| DescriptorEntry::new(&entry.key, &entry.value))
            .collect()
    }

    /// The descriptor for people.
    fn descriptor(&self) -> String {
        let entries = self.entries.iter();
        text::descriptor(entries.map(|entry| (&*entry.key, &*entry.value)))
    }
}

impl ResetCounter {
    fn of(forgiven: &Forgiven) -> Self {
        let period = forgiven.window.period();
        Self {
            unit: period.unit().name(),
            unit_multiplier: period.multiplier(),
            window_start_unix_s: forgiven.window.start_s(),
            before: forgiven.before,
            after: forgiven.after,
        }
    }
}

/// Leaves a trace of who reset what.
fn log(caller: SocketAddr, request: &Request, forgiven: &[Forgiven]) {
    for counter in forgiven {
        warn!(
            %caller,
            domain = printable(&request.domain),
            descriptor = %request.descriptor(),
            period = %counter.window.period(),
            window_start_unix_s = counter.window.start_s(),
            before = counter.before,
            after = counter.after,
            "counter reset"
        );
    }
}

/// Leaves a trace of who asked for what may have been done or not, or will be.
fn log_unsure(caller: SocketAddr, request: &Request, error: &ResetError) {
    warn!(
        %caller,
        %error,
        domain = printable(&request.domain),
        descriptor = %request.descriptor(),
        "a reset did not end in time: some or all counters may be reset all the same"
    );
}
