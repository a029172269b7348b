//! A hash of rules by which hosts see whether they have the same ones.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use hivemind_shared::rules::{RuleSet, content};

/// The first 64 bits of the SHA-256 of what rules say, wherever they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulesHash(u64);

impl RulesHash {
    /// The hash of a set.
    pub fn of(rules: &RuleSet) -> Self {
        let hash = digest(&SHA256, &content(rules));
        let first = hash.as_ref().first_chunk().copied();
        Self(u64::from_be_bytes(first.unwrap_or_default()))
    }

    /// The hash as a number, as peers are told it.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// As 16 hexadecimal digits.
impl fmt::Display for RulesHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hivemind_shared::rules::source::{Options, parse};
    use hivemind_shared::yaml::Source;

    /// Every host has to find this one, whatever its version.
    #[test]
    fn the_hash_of_a_set_is_the_same_in_every_version() {
        let text = "
domain: edge
descriptors:
  - key: user
    value: a*
    share_threshold: true
    rate_limits:
      - {unit: hour, unit_multiplier: 2, requests_per_unit: 5, name: five}
      - {unit: day, requests_per_unit: 9, hivemind: {algorithm: token_bucket, burst: 4}}
    metadata: {team: edge}
";
        let rules = parse(&[Source::new("any.yaml", text)], &Options::default());
        let hash = RulesHash::of(&rules.expect("good rules").rules);
        assert_eq!(hash.to_string(), "e8a164ac33c82057");
        assert_eq!(
            RulesHash::of(&RuleSet::default()).to_string(),
            "0760ae12b3d2ddec"
        );
    }
}
