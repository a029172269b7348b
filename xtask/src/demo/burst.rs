//! The bursts of requests the demo sends.

use std::time::Duration;

use anyhow::bail;
use hivemind_shared::window::Unit;

use crate::load::{Load, Report};
use crate::proxy::Proxy;
use crate::site::{MODULE, RLS, Site};
use crate::table::grouped;
use crate::{say, window};

/// How many connections one path of a burst uses.
const CONNECTIONS: usize = 8;

/// How often a burst is sent anew because its window ended under it.
const ATTEMPTS: usize = 3;

/// The time a small burst surely needs.
const SMALL_BURST: Duration = Duration::from_secs(5);

/// The request header `envoy/*.yaml` makes a descriptor of, and that descriptor's key.
const HEADER: &str = "x-user";
const KEY: &str = "user";

/// Requests of one user over one path or both.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    user: &'static str,
    /// The user's limit in `config/ratelimit.yaml`.
    pub(super) limit: usize,
    pub(super) unit: Unit,
    module_requests: usize,
    rls_requests: usize,
    /// Time left in the window before we begin.
    room: Duration,
    /// Whether any user name has this limit, so that another one starts from zero.
    any_user: bool,
}

/// What came of a burst.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) burst: Burst,
    pub(super) user: String,
    /// By path; a path that was not used is missing.
    pub(super) paths: Vec<(&'static str, usize, Report)>,
    /// What the region says.
    pub(super) counted: u64,
    /// What reached the service behind Envoy.
    pub(super) reached: usize,
}

impl Burst {
    /// Every burst of the demo. The last one sends `requests` over each path.
    pub(super) fn all(requests: usize) -> [Self; 4] {
        let small = |user, module_requests, rls_requests| Self {
            user,
            limit: 5,
            unit: Unit::Minute,
            module_requests,
            rls_requests,
            room: SMALL_BURST,
            any_user: true,
        };
        let large_s = 30 + requests as u64 / 500;
        [
            small("alice", 10, 0),
            small("bob", 0, 10),
            small("carol", 3, 3),
            Self {
                user: "batch",
                limit: 1_000,
                unit: Unit::Hour,
                module_requests: requests,
                rls_requests: requests,
                room: Duration::from_secs(large_s.min(1_800)),
                any_user: false,
            },
        ]
    }

    /// Sends the burst within one window.
    pub(super) async fn send(self, site: &Site, proxy: &Proxy) -> anyhow::Result<Outcome> {
        for attempt in 1..=ATTEMPTS {
            let user = match attempt {
                1 => self.user.to_owned(),
                _ => format!("{}-{attempt}", self.user),
            };
            window::wait_for_room(self.unit, self.room).await;
            let window = window::now(self.unit);
            let outcome = self.send_once(user, site, proxy).await?;
            if window == window::now(self.unit) {
                return Ok(outcome);
            }
            if !self.any_user {
                break;
            }
            say!(
                "the {} ended meanwhile; once more, with another user",
                self.unit
            );
        }
        bail!(
            "a {} ended while {} sent requests, so there is nothing to check; run the demo again, \
             with fewer --requests if that happens often",
            self.unit,
            self.user
        );
    }

    async fn send_once(&self, user: String, site: &Site, proxy: &Proxy) -> anyhow::Result<Outcome> {
        let through = |requests: usize, path: &str| {
            (requests > 0).then(|| format!("{} through the {path}", grouped(requests as u64)))
        };
        let parts = [
            through(self.module_requests, "module"),
            through(self.rls_requests, "service"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        say!("{user} sends {}", parts.join(" and "));
        let load = |listener| -> anyhow::Result<Load> {
            let load = Load::new(proxy.listener(listener)?).connections(CONNECTIONS);
            Ok(load.header(HEADER, &user)?)
        };
        let reached_before = site.upstream().answered();
        let (module, rls) = (load(MODULE)?, load(RLS)?);
        let (module, rls) =
            tokio::join!(module.run(self.module_requests), rls.run(self.rls_requests));
        let paths = [
            ("module", self.module_requests, module),
            ("service", self.rls_requests, rls),
        ];
        Ok(Outcome {
            burst: self.clone(),
            paths: paths.into_iter().filter(|(_, sent, _)| *sent > 0).collect(),
            counted: site.counted(KEY, &user)?,
            reached: site.upstream().answered() - reached_before,
            user,
        })
    }
}

impl Outcome {
    /// Requests sent, over both paths.
    pub(super) fn sent(&self) -> usize {
        self.paths.iter().map(|(_, sent, _)| sent).sum()
    }

    /// What came back, over both paths.
    pub(super) fn report(&self) -> Report {
        let mut total = Report::default();
        for (_, _, report) in &self.paths {
            total.add(report);
        }
        total
    }

    /// How many requests the rules let pass.
    pub(super) fn promised(&self) -> usize {
        self.burst.limit.min(self.sent())
    }
}
