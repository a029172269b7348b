//! A single rule.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::counting::Counting;
use crate::token_bucket::TokenBucket;
use crate::window::Period;

/// Names a rule within its [`RuleSet`](super::RuleSet); it means nothing in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub(super) u32);

impl RuleId {
    /// The rule's place in file order, from 0.
    pub fn index(self) -> u32 {
        self.0
    }
}

/// How much a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleLimit {
    /// So many hits in each window; 0 refuses every request.
    Limited {
        /// Hits allowed in one window.
        requests_per_unit: u32,
        /// Length of the window.
        period: Period,
    },
    /// Any number of hits, none of them counted.
    Unlimited,
}

/// As people say it: `5 per minute`, or `unlimited`.
impl fmt::Display for RuleLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited {
                requests_per_unit,
                period,
            } => write!(f, "{requests_per_unit} per {period}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// How a rule's hits are held against its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The hits of the window that the clock is in.
    #[default]
    FixedWindow,
    /// Those, and of the window before the share that lies within one length of now: as if its hits had
    /// come evenly. Refused hits are not counted.
    SlidingWindow,
    /// The tokens of a bucket that the limit flows into evenly. Refused hits take none.
    TokenBucket {
        /// Tokens in a full bucket: hits that may come at once.
        burst: NonZeroU32,
    },
}

impl Algorithm {
    /// The names of all algorithms, as rules write them.
    pub const NAMES: [&'static str; 3] = ["fixed_window", "sliding_window", "token_bucket"];

    /// The algorithm as rules write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindow => "sliding_window",
            Self::TokenBucket { .. } => "token_bucket",
        }
    }
}

/// What holds for all rules of a set, and for requests that no rule is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Modes {
    /// Requests that are over pass all the same; the status of each descriptor stays as it is.
    pub shadow: bool,
    /// Every descriptor is a quota, also one that no limit applies to: a request is refused only when
    /// all of its descriptors are over.
    pub quota: bool,
    /// Limits that do not say whether they count what is refused do not, those that requests bring along among
    /// them.
    pub denied_uncounted: bool,
}

/// Where a rule is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file, as problems name it.
    pub file: Arc<str>,
    /// The line its descriptor begins on, from 1; 0 for a rule that was not read from a file.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A limit and everything that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How much it allows.
    pub limit: RuleLimit,
    /// Its name, for answers and for [`Self::replaces`]; empty when it has none, and not unique.
    pub name: Arc<str>,
    /// Names of rules that do not apply to a request this one applies to.
    pub replaces: Box<[Arc<str>]>,
    /// How hits are held against the limit.
    pub algorithm: Algorithm,
    /// Whether hits of a request that is refused, by this rule or by another one, are counted all the same.
    pub count_denied: bool,
    /// The `debt` that it says, if it does: see [`Self::debt`].
    pub debt: Option<u32>,
    /// Whether it only counts and never refuses.
    pub shadow_mode: bool,
    /// Whether it is one of several quotas, of which all have to be used up to refuse a request.
    pub quota_mode: bool,
    /// Whether its statistics are kept under the values of the request's entries.
    pub detailed_metric: bool,
    /// A JSON object that answers carry when the rule let the request pass.
    pub metadata: Option<Arc<str>>,
    /// Which of the region's statistics counters are its own ([`assign_stats`](super::assign_stats)).
    pub stats_index: u32,
    /// Where it is written.
    pub origin: Origin,
    pub(super) place: Place,
}

/// What a rule knows of the set it stands in. Filled in when the set is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The node whose limit it is.
    pub(super) node: u32,
    /// Levels above it.
    pub(super) depth: usize,
    /// Bit per level from the top, set where the pattern stands for the value in the counter's key.
    pub(super) shared_levels: u64,
    /// Bit per level from the top, set where `value_to_metric` was asked for.
    pub(super) metric_value_levels: u64,
    /// How many limits of the same descriptor come before it.
    pub(super) nth: u8,
    /// Whether the rule after it is a further limit of the same descriptor.
    pub(super) has_next: bool,
    /// Hits up to which its limit is not near.
    pub(super) near_threshold: u32,
}

impl Rule {
    /// Whether `other` does not apply to a request that this rule applies to.
    ///
    /// A rule without a name is never replaced. That an unlimited rule is not replaced either is for
    /// the decision to see to.
    pub fn replaces(&self, other: &Self) -> bool {
        !other.name.is_empty() && self.replaces.contains(&other.name)
    }

    /// Whether its hits are counted only if it admits them: whether they are is to be known before they
    /// are added.
    pub fn is_gated(&self) -> bool {
        !self.count_denied || self.algorithm != Algorithm::FixedWindow
    }

    /// Hits beyond its limit that a cost may be charged which does not fit: what it says, or else its limit, of a
    /// token bucket what flows in within a unit or its `burst`, whichever is more. 0 of a rule that counts all hits.
    pub fn debt(&self) -> u32 {
        let RuleLimit::Limited {
            requests_per_unit,
            period,
        } = self.limit
        else {
            return 0;
        };
        if !self.is_gated() {
            return 0;
        }
        let most = match self.algorithm {
            Algorithm::TokenBucket { burst } => {
                TokenBucket::debt_max(requests_per_unit, period, burst)
            }
            Algorithm::FixedWindow | Algorithm::SlidingWindow => u32::MAX - requests_per_unit,
        };
        let usual = requests_per_unit.max(self.allowed());
        self.debt.unwrap_or(usual).min(most)
    }

    /// How its hits are counted; `None` when they are not.
    pub fn counting(&self) -> Option<Counting> {
        match (self.token_bucket(), self.limit) {
            (Some(bucket), _) => Some(Counting::Tokens(bucket)),
            (None, RuleLimit::Limited { period, .. }) => Some(Counting::Windows(period)),
            (None, RuleLimit::Unlimited) => None,
        }
    }

    /// The bucket whose tokens its hits take; `None` for rules of another algorithm.
    pub fn token_bucket(&self) -> Option<TokenBucket> {
        match (self.algorithm, self.limit) {
            (
                Algorithm::TokenBucket { burst },
                RuleLimit::Limited {
                    requests_per_unit,
                    period,
                },
            ) => TokenBucket::with_debt(requests_per_unit, period, burst, self.debt()).ok(),
            _ => None,
        }
    }

    /// Hits that it allows at once: its limit, or the tokens in a full bucket; 0 of an unlimited one.
    pub fn allowed(&self) -> u32 {
        match (self.algorithm, self.limit) {
            (Algorithm::TokenBucket { burst }, _) => burst.get(),
            (
                _,
                RuleLimit::Limited {
                    requests_per_unit, ..
                },
            ) => requests_per_unit,
            (_, RuleLimit::Unlimited) => 0,
        }
    }

    /// Hits up to which its limit is not near, by the [`NearLimitRatio`](super::NearLimitRatio) of its set.
    #[inline]
    pub fn near_threshold(&self) -> u32 {
        self.place.near_threshold
    }

    /// How many limits of the same descriptor come before it.
    pub fn position(&self) -> usize {
        self.place.nth.into()
    }

    /// Levels, as bits from the lowest for the first entry, at which all values that match the rule's
    /// pattern share one counter (`share_threshold`). The text that stands for the value there is
    /// [`RuleSet::shared_value`](super::RuleSet::shared_value).
    pub fn shared_levels(&self) -> u64 {
        self.place.shared_levels
    }

    /// Whether statistics are wanted by the values of requests (`detailed_metric`, or `value_to_metric` at
    /// any of its levels).
    pub fn wants_value_metrics(&self) -> bool {
        self.limit != RuleLimit::Unlimited
            && (self.detailed_metric || self.place.metric_value_levels != 0)
    }

    /// Levels, as bits from the lowest for the first entry, whose requested value belongs into the
    /// rule's statistics (`value_to_metric`).
    pub fn metric_value_levels(&self) -> u64 {
        self.place.metric_value_levels
    }
}
