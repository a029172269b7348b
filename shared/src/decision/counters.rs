//! Which counters a descriptor's hits are in, for tools.

use super::key;
use crate::counting::Counting;
use crate::descriptor::Entry;
use crate::fingerprint::KeyHasher;
use crate::rules::{Lookup, Rule, RuleSet};
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
