//! Costs that Envoy knows only when a stream is done: it asks with 0 hits and reports them afterwards.

use std::net::SocketAddr;

use hivemind_tests::harness::{HEADER, ask, site};
use serde_json::json;
use xtask::http::{self, Response};
use xtask::site::{MODULE, RLS, Site};
use xtask::wait::{PATIENCE, until_ok};

/// The header of the requests below that says what they cost.
const COST: &str = "x-cost";

const RULES: &str = "
domain: edge
descriptors:
  - {key: user, value: bucket, rate_limit: {unit: day, requests_per_unit: 100, hivemind: {algorithm: token_bucket}}}
  - {key: user, value: sliding, rate_limit: {unit: day, requests_per_unit: 100, hivemind: {algorithm: sliding_window}}}
  - {key: user, value: uncounted, rate_limit: {unit: day, requests_per_unit: 100, hivemind: {count_denied: false}}}
  - {key: user, value: bounded, rate_limit: {unit: day, requests_per_unit: 100, hivemind: {algorithm: token_bucket, debt: 30}}}
";

/// One request that costs so much.
async fn spend(target: SocketAddr, user: &str, cost: &str) -> anyhow::Result<Response> {
    Ok(http::get_with(target, "/", &[(HEADER, user), (COST, cost)]).await?)
}

/// Envoy ignores the answer to a report, and nobody waits for one.
async fn charged(site: &Site, user: &str, hits: u64) -> anyhow::Result<()> {
    let is_charged = async || match site.counted("user", user) {
        Ok(counted) if counted == hits => Ok(()),
        Ok(counted) => Err(format!("{counted}")),
        Err(error) => Err(error.to_string()),
    };
    until_ok(format!("{hits} hits of {user}"), PATIENCE, is_charged).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_cost_is_charged_when_it_is_done_and_refuses_the_next_one()
-> anyhow::Result<()> {
    let site = site(RULES).await?;
    let mut bootstrap = site.bootstrap("both.yaml")?;
    let actions = json!([{"request_headers": {"header_name": HEADER, "descriptor_key": "user"}}]);
    // In the `rate_limits` of a route, Envoy passes over `hits_addend`.
    bootstrap.filter(RLS, "envoy.filters.http.ratelimit")?["rate_limits"] = json!([
        {"actions": actions, "hits_addend": {"number": 0}},
        {
            "actions": actions,
            "hits_addend": {"format": "%REQ(x-cost)%"},
            "apply_on_stream_done": true,
        },
    ]);
    let mut plan = site.proxy_plan("envoy", bootstrap);
    plan.workers = 2;
    let proxy = site.start_proxy(&plan).await?;
    let (service, module) = (proxy.listener(RLS)?, proxy.listener(MODULE)?);
    for user in ["bucket", "sliding", "uncounted"] {
        assert_eq!(spend(service, user, "60").await?.status, 200, "{user}");
        charged(&site, user, 60).await?;
        // It does not fit any more, and nobody could know beforehand.
        assert_eq!(spend(service, user, "60").await?.status, 200, "{user}");
        charged(&site, user, 120).await?;
        for _ in 0..3 {
            assert_eq!(ask(service, user).await?.status, 429, "{user}");
            assert_eq!(ask(module, user).await?.status, 429, "{user}");
        }
        assert_eq!(site.counted("user", user)?, 120, "{user}");
    }
    assert_eq!(spend(service, "bounded", "5000").await?.status, 200);
    charged(&site, "bounded", 130).await?;
    assert_eq!(ask(service, "bounded").await?.status, 429);
    Ok(())
}
