//! The Rate Limit Service: turns a call into a decision, and the decision into an answer. All that
//! knows both the messages on the wire and the types of the decision is here.

use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit as WireUnit;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::{
    Code as WireCode, DescriptorStatus, RateLimit as WireLimit,
};
use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use hivemind_shared::decision::{Code, DecideError, Decision, Limiter, Status};
use hivemind_shared::descriptor::{Descriptor, Entry, LimitOverride};
use hivemind_shared::region::LoadRulesError;
use hivemind_shared::table::CountError;
use hivemind_shared::window::{Period, Unit};
use smallvec::SmallVec;

use super::calls::{CallCounts, Outcome};
use super::decision_log;
use super::dynamic_metadata;
use super::response_headers::HeaderNames;
use crate::config::RateLimiting;

/// Descriptors of one call that may bring a limit of their own. Each makes a counter that nobody has configured.
const REQUEST_LIMITS_MAX: usize = 100;

/// Descriptors and entries of one call that are kept without allocating; more is merely slower.
const DESCRIPTORS_INLINE: usize = 8;
const ENTRIES_INLINE: usize = 16;

thread_local! {
    /// Where this worker's decisions are made, one after the other.
    static DECISION: RefCell<Decision> = RefCell::default();
}

/// The way to the region decisions are made in; it follows when the region is replaced.
#[derive(Clone, Debug)]
pub struct Decider(Arc<ArcSwap<Limiter>>);

impl Decider {
    /// Decides in this region from now on.
    pub fn new(limiter: Limiter) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(limiter)))
    }

    /// Moves to another region, in effect for the next call of every worker.
    pub fn replace(&self, limiter: Limiter) {
        self.0.store(Arc::new(limiter));
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RateLimitError {
    /// The caller's fault. Nothing was counted.
    #[error("rate limit domain must not be empty")]
    EmptyDomain,
    /// The caller's fault. Nothing was counted.
    #[error("rate limit descriptor list must not be empty")]
    EmptyDescriptorList,
    /// The caller's fault. Nothing was counted.
    #[error(
        "no more than {REQUEST_LIMITS_MAX} descriptors of a call may bring a limit of their own"
    )]
    TooManyRequestLimits,
    /// There are no rules yet; the caller's failure mode has to decide. Nothing was counted.
    #[error("no rate limit configuration loaded")]
    NoRules,
    /// The region could not decide; the caller's failure mode has to.
    #[error(transparent)]
    Undecided(DecideError),
}

impl From<DecideError> for RateLimitError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::NoRules(LoadRulesError::NonePublished) => Self::NoRules,
            error => Self::Undecided(error),
        }
    }
}

impl RateLimitError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::EmptyDomain => Outcome::EmptyDomain,
            Self::EmptyDescriptorList => Outcome::EmptyDescriptorList,
            Self::TooManyRequestLimits => Outcome::TooManyRequestLimits,
            Self::NoRules | Self::Undecided(DecideError::NoRules(_)) => Outcome::NoRules,
            Self::Undecided(DecideError::Uncounted(CountError::Full)) => Outcome::RegionFull,
            Self::Undecided(DecideError::Uncounted(CountError::Contended)) => Outcome::Contended,
        }
    }
}

impl From<RateLimitError> for tonic::Status {
    fn from(error: RateLimitError) -> Self {
        // The code envoyproxy/ratelimit gives whatever is wrong; its clients know no other.
        Self::unknown(error.to_string())
    }
}

impl ServiceSettings {
    /// Those that are configured.
    pub fn of(settings: &RateLimiting) -> Self {
        let names = || HeaderNames {
            limit: settings.limit_header.clone(),
            remaining: settings.remaining_header.clone(),
            reset: settings.reset_header.clone(),
        };
        Self {
            extras: Extras {
                headers: settings.response_headers.then(names),
                metadata: settings.response_dynamic_metadata,
            },
            request_limits: settings.request_limits,
        }
    }
}

/// The Rate Limit Service of one worker; cloning shares it.
#[derive(Clone, Debug)]
pub struct RateLimit(Arc<Parts>);

/// Behind one pointer of the worker's own, because the service is cloned for every call.
#[derive(Debug)]
struct Parts {
    decider: Decider,
    settings: Arc<ServiceSettings>,
    counts: Arc<CallCounts>,
}

/// How calls are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// What answers carry besides the statuses.
    extras: Extras,
    /// Whether a per-request override (`limit` of a descriptor) takes the place of the configured one.
    request_limits: bool,
}

/// What answers carry besides the statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extras {
    /// Response headers, under these names.
    headers: Option<HeaderNames>,
    /// Whether there is dynamic metadata.
    metadata: bool,
}

impl RateLimit {
    /// A service that decides by `decider` and says in `counts` what became of its calls.
    pub fn new(decider: Decider, settings: Arc<ServiceSettings>, counts: Arc<CallCounts>) -> Self {
        Self(Arc::new(Parts {
            decider,
            settings,
            counts,
        }))
    }

    /// What became of its calls.
    pub(super) fn counts(&self) -> &CallCounts {
        &self.0.counts
    }

    /// Counts the request and answers it, on the calling thread.
    ///
    /// # Errors
    ///
    /// [`RateLimitError`] says whose fault it is.
    pub fn answer(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, RateLimitError> {
        let answer = self.decide(request);
        self.counts().ended(match &answer {
            Ok(response) if response.overall_code() == WireCode::Ok => Outcome::Ok,
            Ok(_) => Outcome::OverLimit,
            Err(error) => {
                if decision_log::is_on() {
                    decision_log::failed(request, error);
                }
                error.outcome()
            }
        });
        answer
    }

    fn decide(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, RateLimitError> {
        if request.domain.is_empty() {
            return Err(RateLimitError::EmptyDomain);
        }
        if request.descriptors.is_empty() {
            return Err(RateLimitError::EmptyDescriptorList);
        }
        let request_limits = self.0.settings.request_limits;
        let brought = request.descriptors.iter().filter(|it| it.limit.is_some());
        if request_limits && brought.count() > REQUEST_LIMITS_MAX {
            return Err(RateLimitError::TooManyRequestLimits);
        }
        let entries: SmallVec<[Entry<'_>; ENTRIES_INLINE]> = request
            .descriptors
            .iter()
            .flat_map(|descriptor| &descriptor.entries)
            .map(|entry| Entry::new(&entry.key, &entry.value))
            .collect();
        let mut rest = entries.as_slice();
        let descriptors: SmallVec<[Descriptor<'_>; DESCRIPTORS_INLINE]> = request
            .descriptors
            .iter()
            .map(|descriptor| {
                let (own, others) = rest.split_at(descriptor.entries.len());
                rest = others;
                Descriptor {
                    entries: own,
                    hits_addend: descriptor.hits_addend,
                    limit: descriptor
                        .limit
                        .as_ref()
                        .filter(|_| request_limits)
                        .and_then(limit_override),
                }
            })
            .collect();

        DECISION.with_borrow_mut(|decision| {
            let limiter = self.0.decider.0.load();
            let domain = request.domain.as_bytes();
            limiter.decide(domain, &descriptors, request.hits_addend, decision)?;
            self.note(request, decision);
            if decision_log::is_on() {
                decision_log::decided(request, decision);
            }
            let mut response = response(decision);
            if self.0.settings.extras != Extras::default() {
                self.add_extras(request, decision, &mut response);
            }
            Ok(response)
        })
    }
}

impl RateLimit {
    /// Counts what the outcome alone does not say.
    fn note(&self, request: &RateLimitRequest, decision: &Decision) {
        if decision.is_shadowed() {
            self.counts().shadowed();
        }
        let has_limit = |status: &Status| status.limit.is_some() || status.rule.is_some();
        if !decision.statuses.iter().any(has_limit) {
            self.note_unlimited(request, decision);
        }
    }

    #[cold]
    fn note_unlimited(&self, request: &RateLimitRequest, decision: &Decision) {
        let domain = decision
            .rules()
            .and_then(|rules| rules.domain(request.domain.as_bytes()));
        if domain.is_none() {
            let descriptors = request.descriptors.len();
            self.counts().unknown_domain(&request.domain, descriptors);
        }
    }

    #[cold]
    fn add_extras(
        &self,
        request: &RateLimitRequest,
        decision: &Decision,
        response: &mut RateLimitResponse,
    ) {
        if let Some(names) = &self.0.settings.extras.headers {
            response.response_headers_to_add = names.describe(decision);
        }
        if self.0.settings.extras.metadata {
            response.dynamic_metadata = Some(dynamic_metadata::describe(request, decision));
        }
    }
}

/// The per-request override. Without a unit, without a length and above ten years it is none, and the
/// configured rule applies.
fn limit_override(limit: &RateLimitOverride) -> Option<LimitOverride> {
    // The two enums on the wire number units alike; only that of the answer has weeks.
    let unit = match WireUnit::try_from(limit.unit).ok()? {
        WireUnit::Unknown => return None,
        WireUnit::Second => Unit::Second,
        WireUnit::Minute => Unit::Minute,
        WireUnit::Hour => Unit::Hour,
        WireUnit::Day => Unit::Day,
        WireUnit::Week => Unit::Week,
        WireUnit::Month => Unit::Month,
        WireUnit::Year => Unit::Year,
    };
    let units = limit.unit_multiplier.unwrap_or(1);
    let seconds = u64::from(unit.seconds()) * u64::from(units);
    let period = Period::new(unit, units).ok();
    Some(LimitOverride {
        requests_per_unit: limit.requests_per_unit,
        // As many seconds as no rule may have can be the days of one.
        period: period.or_else(|| Period::of_seconds(seconds))?,
    })
}

fn wire_unit(unit: Unit) -> WireUnit {
    match unit {
        Unit::Second => WireUnit::Second,
        Unit::Minute => WireUnit::Minute,
        Unit::Hour => WireUnit::Hour,
        Unit::Day => WireUnit::Day,
        Unit::Week => WireUnit::Week,
        Unit::Month => WireUnit::Month,
        Unit::Year => WireUnit::Year,
    }
}

fn wire_code(code: Code) -> WireCode {
    match code {
        Code::Ok => WireCode::Ok,
        Code::OverLimit => WireCode::OverLimit,
    }
}

fn response(decision: &Decision) -> RateLimitResponse {
    let mut response = RateLimitResponse {
        overall_code: wire_code(decision.overall).into(),
        statuses: decision
            .statuses
            .iter()
            .map(|status| descriptor_status(decision, status))
            .collect(),
        ..RateLimitResponse::default()
    };
    if decision.overall == Code::OverLimit {
        make_refusal_nearest(decision, &mut response);
    }
    response
}

/// Says that nothing is left of a limit that refused more hits than it has left, where another limit has fewer
/// left: in its headers Envoy describes the first status with the fewest hits left, whatever refused the request.
#[cold]
fn make_refusal_nearest(decision: &Decision, response: &mut RateLimitResponse) {
    let Some((refusal, _)) = decision.nearest() else {
        return;
    };
    let with_limit = decision.statuses.iter().filter(|it| it.limit.is_some());
    let described = with_limit.min_by_key(|it| it.remaining);
    if described.is_some_and(|it| ptr::eq(it, refusal)) {
        return;
    }
    let mut statuses = decision.statuses.iter().zip(&mut response.statuses);
    if let Some((_, status)) = statuses.find(|(it, _)| ptr::eq(*it, refusal)) {
        status.limit_remaining = 0;
    }
}

fn descriptor_status(decision: &Decision, status: &Status) -> DescriptorStatus {
    DescriptorStatus {
        code: wire_code(status.code).into(),
        current_limit: status.limit.map(|limit| WireLimit {
            requests_per_unit: limit.requests_per_unit,
            unit: wire_unit(limit.period.unit()).into(),
            unit_multiplier: Some(limit.period.multiplier()).filter(|units| *units != 1),
            name: decision.limit_name(&limit).to_owned(),
        }),
        limit_remaining: status.remaining,
        duration_until_reset: status.limit.map(|_| prost_types::Duration {
            seconds: status.reset_s.into(),
            nanos: 0,
        }),
    }
}
