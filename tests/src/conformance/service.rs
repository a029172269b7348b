//! The Rate Limit Service of a running meshd, asked over gRPC. One meshd has the rules of all cases.

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
use super::run::{Answer, AnswerStatus, Backend, Refusal};
use crate::harness;

/// The exit status of a program whose rules are wrong.
const RULES_REFUSED: i32 = 65;

/// Asks a meshd.
#[derive(Debug)]
pub struct ServiceBackend {
    client: RateLimitServiceClient<Channel>,
    daemon: Daemon,
}

impl ServiceBackend {
    /// Starts a meshd with the rules of all cases that have steps.
    ///
    /// # Errors
    ///
    /// With meshd's own words when it does not start.
    pub async fn start(cases: &[Case]) -> anyhow::Result<Self> {
        let daemon = Daemon::start(cases).await?;
        let channel = Endpoint::from_shared(format!("http://{}", daemon.meshd.grpc()))?
            .connect()
            .await?;
        Ok(Self {
            client: RateLimitServiceClient::new(channel),
            daemon,
        })
    }
}

impl Backend for ServiceBackend {
    fn inapplicable(&self, _: &Case) -> Option<&'static str> {
        None
    }

    async fn prepare(&mut self, _: &Case) -> anyhow::Result<()> {
        // The rules are loaded, and no other case has its domains.
        Ok(())
    }

    async fn ask(&mut self, step: &Step) -> Result<Answer, Refusal> {
        let request = RateLimitRequest {
            domain: step.domain.clone(),
            descriptors: step.descriptors.iter().map(wire_descriptor).collect(),
            hits_addend: step.hits_addend,
        };
        match self.client.should_rate_limit(request).await {
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
        let dir = self.daemon.scratch.file(&case.name);
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
    }
}

fn answer(response: &RateLimitResponse) -> Answer {
    Answer {
        overall: response.overall_code().as_str_name().to_owned(),
        statuses: Some(response.statuses.iter().map(answer_status).collect()),
        headers: Some(response.response_headers_to_add.len()),
        has_metadata: Some(response.dynamic_metadata.is_some()),
        // What an Envoy makes of the answer.
        summary: None,
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
        limit: status.current_limit.as_ref().map(|limit| {
            (
                limit.requests_per_unit,
                unit_name(limit.unit),
                limit.name.clone(),
            )
        }),
        remaining: status.limit_remaining,
        reset_s: status
            .duration_until_reset
            .as_ref()
            .map(|duration| u32::try_from(duration.seconds).unwrap_or(u32::MAX)),
    }
}
