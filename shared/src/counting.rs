//! How the hits of a limit are counted.

use crate::token_bucket::TokenBucket;
use crate::window::Period;

/// How the hits of a limit are counted, as far as a counter depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// In windows of a period, whatever the limit is.
    Windows(Period),
    /// As tokens taken from a bucket, in windows of its own; one that fills at another rate is another one.
    Tokens(TokenBucket),
}

impl Counting {
    /// The windows that the hits are counted in.
    pub const fn period(&self) -> Period {
        match self {
            Self::Windows(period) => *period,
            Self::Tokens(bucket) => bucket.window(),
        }
    }
}

impl<P: Into<Period>> From<P> for Counting {
    fn from(period: P) -> Self {
        Self::Windows(period.into())
    }
}
