//! The module in a real Envoy, asked over HTTP. One Envoy has the routes, and one meshd the rules, of all
//! cases.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use xtask::proxy::{Plan, Proxy};
use xtask::upstream::Upstream;
use xtask::wait::PATIENCE;

use super::case::{Case, Step};
use super::daemon::Daemon;
use super::routes::{LISTENER, Routes, obstacle};
use super::run::{Answer, Backend, Refusal};
use super::summary::Summary;
use crate::harness;

/// Asks the module in an Envoy.
#[derive(Debug)]
pub struct ModuleBackend {
    connection: SendRequest<Empty<Bytes>>,
    routes: Routes,
    answered: Decided,
    // Dropped in this order: Envoy before what it needs.
    proxy: Proxy,
    upstream: Upstream,
    _daemon: Daemon,
}

/// How many requests were decided in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Within their limits.
    pub ok: u64,
    /// Over a limit.
    pub over_limit: u64,
}

impl ModuleBackend {
    /// Starts a meshd with the rules of all cases that have steps, and an Envoy with routes for those
    /// that headers can carry.
    ///
    /// # Errors
    ///
    /// With their own words when meshd or Envoy does not start.
    pub async fn start(cases: &[Case]) -> anyhow::Result<Self> {
        let tools = harness::tools()?;
        let daemon = Daemon::start(&with_defaults(cases), &BTreeMap::new()).await?;
        let upstream = Upstream::start().await?;
        let routes = Routes::new(cases.iter().filter(|case| inapplicable(case).is_none()));
        let bootstrap = routes.bootstrap(&daemon.scratch.region(), upstream.address());
        let mut plan = Plan::new("envoy", &tools.envoy, bootstrap);
        plan.module_dir = Some(tools.binaries.module_dir.clone());
        let proxy = Proxy::start(&plan, daemon.scratch.dir()).await?;
        let stream = TcpStream::connect(proxy.listener(LISTENER)?).await?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the connection, and what breaks it comes out at the requests.
        tokio::spawn(driver);
        Ok(Self {
            connection,
            routes,
            answered: Decided::default(),
            proxy,
            upstream,
            _daemon: daemon,
        })
    }

    /// What came back to the requests sent so far.
    pub fn answered(&self) -> Decided {
        self.answered
    }

    /// What the module has counted in Envoy's stats. A request it was not asked about is not in there.
    ///
    /// # Errors
    ///
    /// When Envoy does not tell.
    pub async fn decided(&self) -> anyhow::Result<Decided> {
        Ok(Decided {
            ok: harness::module_stat(&self.proxy, "ok").await?,
            over_limit: harness::module_stat(&self.proxy, "over_limit").await?,
        })
    }

    /// How many requests the service behind Envoy has seen.
    pub fn passed(&self) -> usize {
        self.upstream.answered()
    }

    async fn send(&mut self, step: &Step) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let request: Request<Empty<Bytes>> = self.routes.request(step)?;
        let exchange = async {
            self.connection.ready().await?;
            let response = self.connection.send_request(request).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head.status, head.headers, body.collect().await?.to_bytes()))
        };
        timeout(PATIENCE, exchange)
            .await
            .context("no answer in time")?
    }
}

impl Backend for ModuleBackend {
    fn inapplicable(&self, case: &Case) -> Option<&'static str> {
        inapplicable(case)
    }

    async fn prepare(&mut self, _: &Case) -> anyhow::Result<()> {
        // The rules are loaded, and no other case has its domains.
        Ok(())
    }

    async fn ask(&mut self, step: &Step) -> Result<Answer, Refusal> {
        let refusal = |code: String, message: String| Refusal { code, message };
        let (status, headers, body) = self
            .send(step)
            .await
            .map_err(|error| refusal("NO_ANSWER".to_owned(), format!("{error:#}")))?;
        let answer = answer(status, &headers).map_err(|error| {
            let body = String::from_utf8_lossy(&body);
            refusal(status.to_string(), format!("{error:#}: {headers:?} {body}"))
        })?;
        let counted = match answer.overall.as_str() {
            OK => &mut self.answered.ok,
            _ => &mut self.answered.over_limit,
        };
        *counted += 1;
        Ok(answer)
    }

    async fn pass(&mut self, time: Duration) {
        // Time is what these cases are about, and the module's clock cannot be set.
        tokio::time::sleep(time).await;
    }

    async fn refuse(&mut self, _: &Case) -> anyhow::Result<String> {
        Err(anyhow!("{NO_FILES}"))
    }
}

/// The one meshd behind the module has the defaults.
const OTHER_SETTINGS: &str = "the meshd beside the module has the default settings";

const OK: &str = "OK";

const OVER_LIMIT: &str = "OVER_LIMIT";

const NO_FILES: &str = "meshd refuses files, before a module sees their rules";

fn inapplicable(case: &Case) -> Option<&'static str> {
    if case.expect_invalid.is_some() {
        Some(NO_FILES)
    } else if !case.settings.is_empty() {
        Some(OTHER_SETTINGS)
    } else {
        obstacle(case)
    }
}

fn with_defaults(cases: &[Case]) -> Vec<Case> {
    let has_none = |case: &&Case| case.settings.is_empty();
    cases.iter().filter(has_none).cloned().collect()
}

/// What a response says about the decision.
fn answer(status: StatusCode, headers: &HeaderMap) -> anyhow::Result<Answer> {
    let is_limited = headers.contains_key("x-envoy-ratelimited");
    let overall = match (status, is_limited) {
        (StatusCode::OK, false) => OK,
        (StatusCode::TOO_MANY_REQUESTS, true) => OVER_LIMIT,
        _ => bail!("not an answer of the module"),
    };
    Ok(Answer {
        overall: overall.to_owned(),
        // Envoy's headers do not tell them apart, nor what a service would add.
        statuses: None,
        headers: None,
        metadata: None,
        summary: Some(Summary::read(headers)?),
    })
}
