//! What a request asks about: a domain and descriptors, borrowed from wherever the request lives.

#[cfg(feature = "yaml")]
pub mod text;

use crate::window::Period;

/// One `key: value` pair of a descriptor, compared bytewise.
///
/// Values come from headers, so they are bytes, not text: nothing here requires UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry<'a> {
    /// The entry's key, `remote_address` for example.
    pub key: &'a [u8],
    /// The entry's value; empty is a value like any other.
    pub value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// An entry of two strings.
    pub fn new(
        key: &'a (impl AsRef<[u8]> + ?Sized),
        value: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Self {
            key: key.as_ref(),
            value: value.as_ref(),
        }
    }
}

/// A per-request override (`RateLimitDescriptor.limit` of the Rate Limit Service).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// Hits allowed in one window.
    pub requests_per_unit: u32,
    /// Length of the window.
    pub period: Period,
}

/// A descriptor: the entries that are matched against the rules, and what the request adds to them.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor<'a> {
    /// The entries, in request order; order matters for matching and for the counter's identity.
    pub entries: &'a [Entry<'a>],
    /// This descriptor's own addend; it wins over the request's, and 0 reads without counting.
    pub hits_addend: Option<u64>,
    /// A limit that takes the place of the configured one.
    pub limit: Option<LimitOverride>,
}

impl<'a> Descriptor<'a> {
    /// A descriptor of these entries, with neither an addend nor a limit of its own.
    pub fn new(entries: &'a [Entry<'a>]) -> Self {
        Self {
            entries,
            hits_addend: None,
            limit: None,
        }
    }
}
