//! Keeps web pages from the HTTP ports: those of other sites, and those whose own name was made to lead
//! here. Browsers tell both in the head of a request, and let no page change it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hivemind_shared::yaml::printable;
use tracing::{debug, warn};

use super::host_names::HostNames;
use super::http_port::Caller;

/// How often a refusal is logged as a warning; what comes in between is logged for debugging alone.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What load balancers and supervisors ask under whatever name: it tells nothing but whether meshd runs and is ready.
const OPEN_TO_ALL_NAMES: [&str; 2] = ["/healthcheck", "/live"];

/// Refuses requests of web pages; cloning shares it.
#[derive(Clone, Debug)]
pub struct WebGuard(Arc<Guard>);

#[derive(Debug)]
struct Guard {
    names: HostNames,
    warned: Mutex<Option<Instant>>,
}

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(
        "this port does not answer web pages of other sites: the request has the Origin '{0}', which \
         is not the address that it asks"
    )]
    Origin(String),
    #[error(
        "this port is not asked under the name '{0}': web pages can have names lead here. Ask by address, \
         or name the host in server.allowed_hosts"
    )]
    Host(String),
}

impl WebGuard {
    /// Lets requests for these names through.
    pub fn new(names: HostNames) -> Self {
        Self(Arc::new(Guard {
            names,
            warned: Mutex::default(),
        }))
    }

    /// The router, with requests of web pages refused before they reach it.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), check))
    }
}

async fn check(State(WebGuard(guard)): State<WebGuard>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN_TO_ALL_NAMES.contains(&path) {
        return next.run(request).await;
    }
    let Err(refusal) = guard.names.check(request.headers()) else {
        return next.run(request).await;
    };
    let caller = request.extensions().get::<ConnectInfo<Caller>>();
    guard.log(
        caller.map(|ConnectInfo(Caller(address))| *address),
        path,
        &refusal,
    );
    refusal.into_response()
}

impl Guard {
    fn log(&self, caller: Option<SocketAddr>, path: &str, refusal: &Refusal) {
        let path = printable(path);
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|at| now.duration_since(at) < WARNING_INTERVAL) {
            return debug!(?caller, path, %refusal, "a request was refused: it may come from a web page");
        }
        *warned = Some(now);
        warn!(?caller, path, %refusal, "a request was refused: it may come from a web page");
    }
}

impl HostNames {
    /// Checks what a browser says of the page that asks, and of the name it asks for.
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        for origin in headers.get_all(ORIGIN) {
            let authority = origin
                .to_str()
                .ok()
                .and_then(|origin| Some(origin.split_once("://")?.1));
            let is_own = authority.zip(host).is_some_and(|(authority, host)| {
                !authority.is_empty() && authority.as_bytes().eq_ignore_ascii_case(host.as_bytes())
            });
            if !is_own {
                return Err(Refusal::Origin(printable(&String::from_utf8_lossy(
                    origin.as_bytes(),
                ))));
            }
        }
        // HTTP/1.0 has none. Every browser sends one, and only one.
        for host in host.into_iter().chain(hosts) {
            if !host.to_str().is_ok_and(|host| self.allow(host)) {
                return Err(Refusal::Host(printable(&String::from_utf8_lossy(
                    host.as_bytes(),
                ))));
            }
        }
        Ok(())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::Host(_) => StatusCode::MISDIRECTED_REQUEST,
        };
        (status, format!("{self}\n")).into_response()
    }
}
