//! `x-ratelimit-*` headers of draft 03, as a client of Envoy sees them: by the module, and by Envoy's own filter
//! with meshd behind it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hivemind_shared::window::Unit;
use hivemind_tests::harness::tools;
use serde_json::{Value, json};
use xtask::http;
use xtask::meshd::Meshd;
use xtask::proxy::{self, Proxy};
use xtask::site::{MODULE, RLS, Site};
use xtask::window;

/// Descriptors, in their order: a request has one for each header `x-KEY` that it carries.
const KEYS: [&str; 14] = [
    "tried_out",
    "last",
    "quota",
    "other_quota",
    "several_units",
    "plain",
    "sliding",
    "sliding_units",
    "bucket",
    "slow_bucket",
    "listed",
    "odd_name",
    "broken_name",
    "exempt",
];

const RULES: &str = r#"
domain: edge
descriptors:
  - {key: tried_out, shadow_mode: true, rate_limit: {unit: year, requests_per_unit: 0, name: tried-out}}
  - {key: last, rate_limit: {unit: year, requests_per_unit: 1}}
  - {key: quota, quota_mode: true, rate_limit: {unit: year, requests_per_unit: 1}}
  - {key: other_quota, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 2}}
  - {key: plain, rate_limit: {unit: day, requests_per_unit: 3, name: daily}}
  - {key: several_units, rate_limit: {unit: day, unit_multiplier: 3, requests_per_unit: 2}}
  - {key: sliding, rate_limit: {unit: day, requests_per_unit: 2, hivemind: {algorithm: sliding_window}}}
  - key: sliding_units
    rate_limit: {unit: day, unit_multiplier: 5, requests_per_unit: 2, hivemind: {algorithm: sliding_window}}
  - key: bucket
    rate_limit: {unit: hour, requests_per_unit: 2, name: smooth, hivemind: {algorithm: token_bucket, burst: 4}}
  - {key: slow_bucket, rate_limit: {unit: day, requests_per_unit: 7, hivemind: {algorithm: token_bucket, burst: 3}}}
  - key: listed
    rate_limits:
      - {unit: day, requests_per_unit: 1, name: burst}
      - {unit: year, requests_per_unit: 2, name: yearly}
  - {key: odd_name, rate_limit: {unit: day, requests_per_unit: 2, name: 'a "b";w=1'}}
  - {key: broken_name, rate_limit: {unit: day, requests_per_unit: 2, name: "a\r\nset-cookie: b"}}
  - {key: exempt, rate_limit: {unlimited: true}}
"#;

/// What a test may take, so that a day does not end in the middle of one.
const ROOM: Duration = Duration::from_secs(120);

const ENVOYS_FILTER: &str = "envoy.filters.http.ratelimit";

/// A host with the rules above.
async fn site() -> anyhow::Result<Site> {
    window::wait_for_room(Unit::Day, ROOM).await;
    Ok(Site::start(tools()?, RULES).await?)
}

/// How an Envoy with both ways in is started.
fn plan(site: &Site) -> anyhow::Result<proxy::Plan> {
    let mut bootstrap = site.bootstrap("both.yaml")?;
    let rate_limits: Value = KEYS
        .iter()
        .map(|key| {
            let action = json!({"header_name": header(key), "descriptor_key": key});
            json!({"actions": [{"request_headers": action}]})
        })
        .collect();
    bootstrap.route(RLS)?["rate_limits"] = rate_limits.clone();
    bootstrap.module_config()?["rate_limits"] = rate_limits;
    let mut plan = site.proxy_plan("envoy", bootstrap);
    plan.workers = 1;
    Ok(plan)
}

fn header(key: &str) -> String {
    format!("x-{}", key.replace('_', "-"))
}

/// What a response says about limits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    limit: Option<String>,
    remaining: Option<String>,
    reset_s: Option<u32>,
}

impl Answer {
    /// Whether it says the same. The answers are seconds apart.
    fn agrees_with(&self, other: &Self) -> bool {
        const APART_S: u32 = 60;
        let reset_agrees = match (self.reset_s, other.reset_s) {
            (Some(one), Some(two)) => one.abs_diff(two) <= APART_S,
            (one, two) => one == two,
        };
        let rest = |it: &Self| (it.status, it.limit.clone(), it.remaining.clone());
        reset_agrees && rest(self) == rest(other)
    }
}

/// Asks with descriptors of these keys, all of this value.
async fn ask(target: SocketAddr, keys: &[&str], value: &str) -> anyhow::Result<Answer> {
    let names: Vec<String> = keys.iter().map(|key| header(key)).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value)).collect();
    let response = http::get_with(target, "/", &headers).await?;
    let text = |name: &str| response.header(name).map(str::to_owned);
    let reset = text("x-ratelimit-reset").map(|reset| reset.parse());
    Ok(Answer {
        status: response.status.as_u16(),
        limit: text("x-ratelimit-limit"),
        remaining: text("x-ratelimit-remaining"),
        reset_s: reset.transpose().context("a reset that is no number")?,
    })
}

/// Puts the same request to both listeners, on counters of their own, so many times; hands back what they say.
async fn ask_both(proxy: &Proxy, keys: &[&str], times: u32) -> anyhow::Result<[Vec<Answer>; 2]> {
    let mut answers = [Vec::new(), Vec::new()];
    for (listener, answers) in [MODULE, RLS].into_iter().zip(&mut answers) {
        let target = proxy.listener(listener)?;
        let value = format!("{listener}-{}", keys.join("-"));
        for _ in 0..times {
            answers.push(ask(target, keys, &value).await?);
        }
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_module_and_envoys_own_filter_say_the_same_of_every_kind_of_limit() -> anyhow::Result<()>
{
    let site = site().await?;
    let proxy = site.start_proxy(&plan(&site)?).await?;
    for (keys, limit) in [
        (&["plain"][..], Some(r#"3, 3;w=86400;name="daily""#)),
        (&["several_units"], Some("2, 2;w=259200")),
        (&["sliding"], Some("2, 2;w=86400")),
        (&["sliding_units"], Some("2, 2;w=432000")),
        (&["bucket"], Some(r#"4, 4;w=7200;name="smooth""#)),
        (&["slow_bucket"], Some("3, 3;w=37029")),
        (&["listed"], Some(r#"1, 1;w=86400;name="burst""#)),
        (&["tried_out"], Some(r#"0, 0;w=31536000;name="tried-out""#)),
        (
            &["quota", "other_quota"],
            Some("1, 1;w=31536000, 2;w=86400"),
        ),
        (
            // The tightest comes first: Envoy describes the first limit with nothing left, whatever refuses.
            &["several_units", "plain", "bucket", "exempt"],
            Some(r#"2, 2;w=259200, 3;w=86400;name="daily", 4;w=7200;name="smooth""#),
        ),
        (&["odd_name"], Some("2, 2;w=86400;name=\"a \"b\";w=1\"")),
        // A name must not begin another header.
        (&["broken_name"], Some("2, 2;w=86400")),
        (&["exempt"], None),
        (&["sliding", "slow_bucket"], Some("2, 2;w=86400, 3;w=37029")),
    ] {
        let [module, service] = ask_both(&proxy, keys, 6).await?;
        assert_eq!(module[0].limit.as_deref(), limit, "{keys:?}");
        for (one, two) in module.iter().zip(&service) {
            assert!(one.agrees_with(two), "{keys:?}:\n{module:#?}\n{service:#?}");
        }
        let refuses = !["exempt", "tried_out"].contains(&keys[0]);
        assert_eq!(
            module[5].status,
            if refuses { 429 } else { 200 },
            "{keys:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_limits_is_described_by_the_one_that_refuses_for_the_longest()
-> anyhow::Result<()> {
    let site = site().await?;
    let proxy = site.start_proxy(&plan(&site)?).await?;
    for answers in ask_both(&proxy, &["listed"], 3).await? {
        let limits: Vec<_> = answers.iter().map(|it| it.limit.as_deref()).collect();
        let (daily, yearly) = (
            Some(r#"1, 1;w=86400;name="burst""#),
            Some(r#"2, 2;w=31536000;name="yearly""#),
        );
        assert_eq!(limits, [daily, daily, yearly], "{answers:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_described_by_a_limit_that_refused() -> anyhow::Result<()> {
    let site = site().await?;
    let proxy = site.start_proxy(&plan(&site)?).await?;
    // A shadow rule, a limit that is used up by this request, and a quota of two, all with nothing left.
    let keys = ["tried_out", "last", "quota", "other_quota", "plain"];
    let target = proxy.listener(MODULE)?;
    for value in ["v", "v", "v"] {
        ask(target, &["plain"], value).await?;
    }
    let refusal = ask(target, &keys, "v").await?;
    assert_eq!(
        (refusal.status, refusal.remaining.as_deref()),
        (429, Some("0"))
    );
    assert!(
        refusal
            .limit
            .as_ref()
            .is_some_and(|it| it.starts_with("3, 0;w=")),
        "{refusal:?}"
    );
    assert!(
        refusal.reset_s.is_some_and(|it| it <= 86_400),
        "{refusal:?}"
    );

    // Envoy's own filter describes the first with as few left. With what refused before it, it is right.
    let target = proxy.listener(RLS)?;
    let refusal = ask(target, &keys, "v").await?;
    assert_eq!(refusal.status, 429);
    assert!(
        refusal
            .limit
            .as_ref()
            .is_some_and(|it| it.starts_with("0, 0;w=")),
        "{refusal:?}"
    );
    let refusal = ask(target, &["plain", "listed"], "v").await?;
    assert!(
        refusal
            .limit
            .as_ref()
            .is_some_and(|it| it.starts_with("3, 3;w=")),
        "{refusal:?}"
    );
    Ok(())
}

/// Where it matters which limit refused, the headers of the service take the place of Envoy's.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_service_describe_a_limit_that_refused_also_through_envoy()
-> anyhow::Result<()> {
    window::wait_for_room(Unit::Day, ROOM).await;
    let site = Site::new(tools()?, RULES).await?;
    let mut settings = site.meshd_plan().clone();
    settings.rate_limiting = [
        ("response_headers", json!(true)),
        ("limit_header", json!("x-ratelimit-limit")),
        ("remaining_header", json!("x-ratelimit-remaining")),
        ("reset_header", json!("x-ratelimit-reset")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    let meshd = Meshd::start(&settings, site.dir()).await?;
    let mut plan = plan(&site)?;
    plan.bootstrap = plan.bootstrap.with_endpoint("meshd", meshd.grpc())?;
    plan.bootstrap.filter(RLS, ENVOYS_FILTER)?["enable_x_ratelimit_headers"] = json!("OFF");
    let proxy = site.start_proxy(&plan).await?;
    let target = proxy.listener(RLS)?;
    for _ in 0..3 {
        ask(target, &["plain"], "v").await?;
    }
    let keys = ["tried_out", "last", "quota", "other_quota", "plain"];
    let refusal = ask(target, &keys, "v").await?;
    assert_eq!(refusal.status, 429);
    assert_eq!(refusal.limit.as_deref(), Some("3"));
    assert_eq!(refusal.remaining.as_deref(), Some("0"));
    assert!(
        refusal.reset_s.is_some_and(|it| it <= 86_400),
        "{refusal:?}"
    );
    Ok(())
}
