//! What a worker thread keeps from one request to the next: the decoded rules, the region as it last
//! saw it, and memory. One desk for each attachment, so that many routes share one.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;
use hivemind_shared::clock::{Clock, CoarseClock};
use hivemind_shared::decision::{Code, Decision};

use crate::attachment::{Attachment, State};
use crate::config::Policy;
use crate::descriptors::Buffers;
use crate::fired::Fired;
use crate::headers::{self, XRateLimit};

thread_local! {
    /// The desks of this worker; hardly ever more than one.
    static DESKS: RefCell<Vec<Desk>> = const { RefCell::new(Vec::new()) };
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has no descriptors, so nothing was asked.
    NotAsked,
    /// It is within its limits. With headers for its response, if those are wanted.
    Within(Option<XRateLimit>),
    /// It is over a limit.
    Over {
        /// Seconds until all the limits it is over begin anew.
        retry_after_s: u32,
        /// Headers for its response, if those are wanted.
        headers: Option<XRateLimit>,
        /// The rule that refused it.
        fired: Option<Fired>,
    },
    /// It could not be decided, for this cause.
    Failed(&'static str),
}

/// One attachment, as one thread sees it.
struct Desk {
    attachment: Weak<Attachment>,
    state: Cache<Arc<ArcSwap<State>>, Arc<State>>,
    decision: Decision,
    buffers: Buffers,
}

/// Decides a request by a policy and the region it names, on this thread's desk.
#[inline]
pub(crate) fn decide(
    policy: &Policy,
    attachment: &Arc<Attachment>,
    request: &impl EnvoyHttpFilter,
) -> Verdict {
    DESKS.with_borrow_mut(|desks| {
        let of_this = |desk: &Desk| desk.attachment.as_ptr() == Arc::as_ptr(attachment);
        match desks.iter_mut().find(|desk| of_this(desk)) {
            Some(desk) => desk.decide(policy, attachment, request),
            None => new_desk(desks, attachment).decide(policy, attachment, request),
        }
    })
}

/// Sets up a desk, and clears away those whose attachment no configuration uses any more.
#[cold]
fn new_desk<'d>(desks: &'d mut Vec<Desk>, attachment: &Arc<Attachment>) -> &'d mut Desk {
    desks.retain(|desk| desk.attachment.strong_count() > 0);
    desks.push_mut(Desk {
        attachment: Arc::downgrade(attachment),
        state: Cache::new(Arc::clone(attachment.state())),
        decision: Decision::new(),
        buffers: Buffers::default(),
    })
}

impl Desk {
    #[inline]
    fn decide(
        &mut self,
        policy: &Policy,
        attachment: &Attachment,
        request: &impl EnvoyHttpFilter,
    ) -> Verdict {
        let Self {
            state,
            decision,
            buffers,
            ..
        } = self;
        buffers.with_descriptors(&policy.rate_limits, request, |descriptors| {
            // Also without a region: what is not limited cannot fail to be.
            if descriptors.is_empty() {
                return Verdict::NotAsked;
            }
            let now_s = CoarseClock.now_s();
            attachment.look(now_s);
            let limiter = match &**state.load() {
                State::Attached(limiter) => limiter,
                State::Detached(error) => {
                    attachment.report(error.cause(), error, now_s);
                    return Verdict::Failed(error.cause());
                }
            };
            match limiter.decide(&policy.domain, descriptors, 0, decision) {
                Ok(()) => Verdict::of(decision, policy.answers.x_ratelimit_headers),
                Err(error) => {
                    attachment.report(error.cause(), &error, now_s);
                    Verdict::Failed(error.cause())
                }
            }
        })
    }
}

impl Verdict {
    #[inline]
    fn of(decision: &Decision, with_headers: bool) -> Self {
        let headers = if with_headers {
            headers::draft_03(decision)
        } else {
            None
        };
        match decision.overall {
            Code::Ok => Self::Within(headers),
            Code::OverLimit => Self::Over {
                retry_after_s: headers::retry_after_s(decision),
                headers,
                fired: Fired::of(decision),
            },
        }
    }
}
