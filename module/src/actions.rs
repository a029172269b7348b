//! What makes descriptors of a request: Envoy's `rate_limits`, compiled.

use crate::header_matcher::HeaderMatcher;

/// One descriptor, if all of its actions have something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// One entry each, in this order.
    pub(crate) actions: Box<[Action]>,
}

/// What one entry of a descriptor comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The first value of a request header.
    RequestHeaders {
        /// The header's name, in lower case.
        header: Box<str>,
        /// The entry's key.
        key: Box<[u8]>,
        /// Whether a missing header costs only this entry, not the descriptor.
        skip_if_absent: bool,
    },
    /// The downstream address that Envoy trusts, without its port.
    RemoteAddress,
    /// A constant.
    GenericKey {
        /// The entry's key.
        key: Box<[u8]>,
        /// The entry's value.
        value: Box<[u8]>,
    },
    /// A constant, if the request's headers match.
    HeaderValueMatch {
        /// The entry's key.
        key: Box<[u8]>,
        /// The entry's value.
        value: Box<[u8]>,
        /// Whether matching is what is wanted, or not matching.
        expect_match: bool,
        /// Conditions that must all hold for a match.
        matchers: Box<[HeaderMatcher]>,
    },
}
