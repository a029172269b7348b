//! Which counters a descriptor's hits are in, for tools.

use super::key;
use crate::counting::Counting;
use crate::descriptor::Entry;
use crate::fingerprint::KeyHasher;
use crate::rules::{Lookup, Rule, RuleId, RuleSet};
use crate::table::Key;
use crate::window::Unit;

/// The keys of all counters that requests with such a descriptor may have counted in: one for each limit of
/// the rule that applies to it, and one for each unit, for limits that requests brought along.
pub fn keys_of(
    rules: &RuleSet,
    hasher: &KeyHasher,
    domain: &[u8],
    entries: &[Entry<'_>],
) -> Vec<Key> {
    let mut bytes = Vec::new();
    let mut keys: Vec<Key> = Unit::ALL
        .iter()
        .map(|unit| {
            let counting = Counting::from(*unit);
            let bytes = key::write(&mut bytes, domain, entries, counting, |_| None);
            Key {
                fingerprint: hasher.fingerprint(bytes),
                period: counting.period(),
            }
        })
        .collect();
    if let Lookup::Rule(first) = rules.find(domain, entries) {
        for id in rules.limits_from(first) {
            let Some(counting) = rules.rule(id).and_then(Rule::counting) else {
                continue;
            };
            let bytes = key::write(&mut bytes, domain, entries, counting, |level| {
                rules.shared_value(id, level)
            });
            let key = Key {
                fingerprint: hasher.fingerprint(bytes),
                period: counting.period(),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

/// Whether a key is that of a counter of this descriptor, by the rules, or under a limit that a request brought
/// along.
pub fn is_key_of(
    key: &Key,
    rules: &RuleSet,
    hasher: &KeyHasher,
    domain: &[u8],
    entries: &[Entry<'_>],
) -> bool {
    let mut bytes = Vec::new();
    let mut is_it = |counting, rule: Option<RuleId>| {
        let bytes = key::write(&mut bytes, domain, entries, counting, |level| {
            rules.shared_value(rule?, level)
        });
        hasher.fingerprint(bytes) == key.fingerprint
    };
    if is_it(Counting::Windows(key.period), None) {
        return true;
    }
    let Lookup::Rule(first) = rules.find(domain, entries) else {
        return false;
    };
    rules.limits_from(first).any(|id| {
        let counting = rules.rule(id).and_then(Rule::counting);
        counting
            .is_some_and(|counting| counting.period() == key.period && is_it(counting, Some(id)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::source::{Options, parse};
    use crate::yaml::Source;

    const RULES: &str = "
domain: edge
descriptors:
  - key: user
    rate_limits:
      - {unit: hour, requests_per_unit: 3}
      - {unit: minute, unit_multiplier: 5, requests_per_unit: 3}
  - key: bucket
    rate_limit: {unit: hour, requests_per_unit: 3, hivemind: {algorithm: token_bucket}}
  - key: path
    value: /files/*
    share_threshold: true
    rate_limit: {unit: hour, requests_per_unit: 7}
";

    #[test]
    fn each_key_of_a_descriptor_is_one_and_no_other() {
        let files = [Source::new("rules.yaml", RULES)];
        let rules = parse(&files, &Options::default()).unwrap().rules;
        let hasher = KeyHasher::new(&[7; 16]);
        let is_of = |key: &Key, domain: &str, entries: &[Entry<'_>]| {
            is_key_of(key, &rules, &hasher, domain.as_bytes(), entries)
        };
        for (name, value) in [
            ("user", "ann"),
            ("bucket", "ann"),
            ("path", "/files/*"),
            ("x", ""),
        ] {
            let entries = [Entry::new(name, value)];
            let keys = keys_of(&rules, &hasher, b"edge", &entries);
            assert!(keys.len() >= Unit::ALL.len());
            for key in keys {
                assert!(is_of(&key, "edge", &entries), "{name} {:?}", key.period);
                assert!(!is_of(&key, "other", &entries));
                assert!(!is_of(&key, "edge", &[Entry::new(name, "bob")]));
                assert!(!is_of(&key, "edge", &[entries[0], Entry::new("", "")]));
                let period = Unit::Second.into();
                let is_other = key.period != period;
                assert!(!(is_other && is_of(&Key { period, ..key }, "edge", &entries)));
            }
        }
    }
}
