//! The Rate Limit Service of a running meshd, asked over gRPC. One meshd has the rules of all cases.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use hivemind_proto::envoy::r#type::v3::RateLimitUnit;
use tonic::transport::{Channel, Endpoint};
use xtask::meshd::Plan;
use xtask::process::Process;
use xtask::wait::PATIENCE;

use super::case::{Case, Descriptor, Limit, Step};
use super::daemon::{Daemon, write_rules};
use super::run::{Answer, AnswerLimit, AnswerStatus, Backend, Refusal};
use crate::harness;

/// The exit status of a program whose rules are wrong.
const RULES_REFUSED: i32 = 65;

/// Asks one meshd for each group of cases with the same settings.
#[derive(Debug)]
pub struct ServiceBackend {
    sites: Vec<Site>,
    /// The one that has the present case.
    current: usize,
}

#[derive(Debug)]
struct Site {
    settings: BTreeMap<String, bool>,
    client: RateLimitServiceClient<Channel>,
    daemon: Daemon,
}

impl ServiceBackend {
    /// Starts them with the rules of all their cases that have steps.
    ///
    /// # Errors
    ///
    /// With meshd's own words when it does not start.
    pub async fn start(cases: &[Case]) -> anyhow::Result<Self> {
        let mut groups: BTreeMap<&BTreeMap<String, bool>, Vec<Case>> = BTreeMap::new();
        for case in cases {
            groups.entry(&case.settings).or_default().push(case.clone());
        }
        let mut sites = Vec::new();
        for (settings, cases) in groups {
            let daemon = Daemon::start(&cases, settings).await?;
            let channel = Endpoint::from_shared(format!("http://{}", daemon.meshd.grpc()))?
                .connect()
                .await?;
            sites.push(Site {
                settings: settings.clone(),
                client: RateLimitServiceClient::new(channel),
                daemon,
            });
        }
        Ok(Self { sites, current: 0 })
    }
}

impl Backend for ServiceBackend {
    fn inapplicable(&self, _: &Case) -> Option<&'static str> {
        None
    }

    async fn prepare(&mut self, case: &Case) -> anyhow::Result<()> {
        // The rules are loaded, and no other case has its domains.
        let has_it = |site: &Site| site.settings == case.settings;
        self.current = self
            .sites
            .iter()
            .position(has_it)
            .context("no such meshd")?;
        Ok(())
    }

    async fn ask(&mut self, step: &Step) -> Result<Answer, Refusal> {
        let request = RateLimitRequest {
            domain: step.domain.clone(),
            descriptors: step.descriptors.iter().map(wire_descriptor).collect(),
            hits_addend: step.hits_addend,
        };
        match self.sites[self.current]
            .client
            .should_rate_limit(request)
            .await
        {
            Ok(response) => Ok(answer(response.get_ref())),
            Err(status) => Err(Refusal {
                code: format!("{:?}", status.code()).to_uppercase(),
                message: status.message().to_owned(),
            }),
        }
    }

    async fn pass(&mut self, time: Duration) {
        // Time is what these cases are about, and meshd's clock cannot be set.
        tokio::time::sleep(time).await;
    }

    async fn refuse(&mut self, case: &Case) -> anyhow::Result<String> {
        let dir = self.sites[0].daemon.scratch.file(&case.name);
        let rules = dir.join("rules");
        fs::create_dir_all(&rules)?;
        write_rules(&rules, "refused", &case.config)?;
        let region = dir.join("region");
        let mut plan = Plan::new(&harness::tools()?.binaries.meshd, &region, rules);
        plan.merge_domains = case.merge_domains;
        let mut process = Process::start("meshd", &mut plan.command(&dir)?, dir.join("log"))?;
        let status = process
            .end(PATIENCE)
            .await
            .context("meshd accepts the rules")?;
        let said = process.output();
        if status.code() != Some(RULES_REFUSED) {
            bail!("meshd ends with {status}:\n{said}");
        }
        ensure!(!region.exists(), "meshd made a region for rules it refuses");
        Ok(said)
    }
}

fn wire_descriptor(descriptor: &Descriptor) -> RateLimitDescriptor {
    let entry = |(key, value): &(String, String)| Entry {
        key: key.clone().into(),
        value: value.clone().into(),
    };
    RateLimitDescriptor {
        entries: descriptor.entries.iter().map(entry).collect(),
        limit: descriptor.limit.as_ref().map(wire_limit),
        hits_addend: descriptor.hits_addend,
    }
}

fn wire_limit(limit: &Limit) -> RateLimitOverride {
    let unit = limit.unit.as_deref().and_then(RateLimitUnit::from_str_name);
    RateLimitOverride {
        requests_per_unit: limit.requests_per_unit,
        unit: unit.unwrap_or(RateLimitUnit::Unknown).into(),
        unit_multiplier: limit.unit_multiplier,
    }
}

fn answer(response: &RateLimitResponse) -> Answer {
    Answer {
        overall: response.overall_code().as_str_name().to_owned(),
        statuses: Some(response.statuses.iter().map(answer_status).collect()),
        headers: Some(
            response
                .response_headers_to_add
                .iter()
                .map(|header| (header.key.clone(), header.value.clone()))
                .collect(),
        ),
        metadata: Some(metadata(response)),
        // What an Envoy makes of the answer.
        summary: None,
    }
}

/// The field `metadata` of the dynamic metadata.
fn metadata(response: &RateLimitResponse) -> serde_json::Value {
    let fields = response.dynamic_metadata.as_ref().map(|it| &it.fields);
    let field = fields.and_then(|fields| fields.get("metadata"));
    field.map_or_else(|| serde_json::json!({}), json)
}

fn json(value: &prost_types::Value) -> serde_json::Value {
    use prost_types::value::Kind;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        // Whole numbers are written without a point in the cases.
        #[allow(
            clippy::cast_possible_truncation,
            reason = "compared with the original"
        )]
        Some(Kind::NumberValue(number)) if f64::from(*number as i32) == *number => {
            (*number as i32).into()
        }
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(fields)) => fields
            .fields
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn answer_status(status: &DescriptorStatus) -> AnswerStatus {
    let unit_name = |unit: i32| {
        Unit::try_from(unit)
            .map_or("?", |unit| unit.as_str_name())
            .to_owned()
    };
    AnswerStatus {
        code: Code::try_from(status.code)
            .map_or("?", |code| code.as_str_name())
            .to_owned(),
        limit: status.current_limit.as_ref().map(|limit| AnswerLimit {
            requests_per_unit: limit.requests_per_unit,
            unit: unit_name(limit.unit),
            unit_multiplier: limit.unit_multiplier.unwrap_or(1),
            name: limit.name.clone(),
        }),
        remaining: status.limit_remaining,
        reset_s: status
            .duration_until_reset
            .as_ref()
            .map(|duration| u32::try_from(duration.seconds).unwrap_or(u32::MAX)),
    }
}
